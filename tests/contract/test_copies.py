"""Fork, checkpoint and replay: a copy goes on as the original would have."""

import gymnasium as gym
import pytest

import tir_gym
from tests.play import ALL_IDS, as_bytes, make, play_oracle, replay
from tir_gym.drivers.slot import ReplayMismatch
from tir_gym.envs.registration import domain_of
from tir_gym.wrappers import ForkRefused, MaskInvalid

pytestmark = pytest.mark.parametrize("env_id", ALL_IDS)


@pytest.fixture
def live(env_id):
    if any(kind.needs_programs for kind in domain_of(env_id).toolkits.values()):
        pytest.skip("its sessions start programs, so a copy is a replay: tests/tools/test_terminal.py")


@pytest.mark.usefixtures("live")
def test_forks_and_parent_go_on_independently(env_id):
    env = make(env_id)
    texts = play_oracle(env, 7)
    whole = replay(env, 7, texts)
    for cut in range(len(texts)):
        replay(env, 7, texts[:cut])
        left, right = tir_gym.fork(env, 2)
        assert left.episode.digest == env.episode.digest
        right.step("a detour")
        assert right.episode.digest != left.episode.digest
        rest = [left.step(text) for text in texts[cut:]]
        assert as_bytes(rest) == as_bytes(whole[cut + 1 :])
        assert as_bytes([env.step(text) for text in texts[cut:]]) == as_bytes(rest)
        left.close()
        right.close()
    env.close()


@pytest.mark.usefixtures("live")
def test_a_fork_outlives_its_parent(env_id):
    env = make(env_id)
    texts = play_oracle(env, 7)
    replay(env, 7, texts[:1])
    (twin,) = tir_gym.fork(env)
    env.close()
    for text in texts[1:]:
        result = twin.step(text)
    assert result[1] == 1.0
    twin.close()


@pytest.mark.usefixtures("live")
def test_a_checkpoint_is_restored_many_times(env_id):
    env = make(env_id)
    texts = play_oracle(env, 3)
    replay(env, 3, texts[:-1])
    with env.checkpoint() as checkpoint:
        ends = []
        for _ in range(3):
            ends.append(env.step(texts[-1]))
            env.restore(checkpoint)
            env.step("a detour")
            env.restore(checkpoint)
        ends.append(env.step(texts[-1]))
    assert len({as_bytes([end]) for end in ends}) == 1
    assert ends[0][1] == 1.0
    with pytest.raises(RuntimeError, match="closed"):
        env.restore(checkpoint)
    env.close()


def test_a_state_moves_to_another_environment_as_data(env_id):
    env = make(env_id)
    texts = play_oracle(env, 5)
    replay(env, 5, texts[:-1])
    data = env.get_state().model_dump_json()
    other = make(env_id)
    other.set_state(type(env.get_state()).model_validate_json(data))
    assert other.episode.digest == env.episode.digest
    assert as_bytes([other.step(texts[-1])]) == as_bytes([env.step(texts[-1])])
    env.close()
    other.close()


def test_a_replay_that_comes_out_otherwise_is_an_error(env_id):
    env = make(env_id)
    play_oracle(env, 5)
    state = env.get_state()
    with pytest.raises(ReplayMismatch, match="digest"):
        env.set_state(state.model_copy(update={"digest": "00" * 16}))
    wrong_set = state.task.model_copy(update={"fingerprint": "0"})
    with pytest.raises(ValueError, match="task set"):
        env.set_state(state.model_copy(update={"task": wrong_set}))
    with pytest.raises(ValueError, match="nowhere"):
        env.set_state(state.model_copy(update={"env_id": "nowhere"}))
    env.close()


def test_fork_copies_the_wrapper_stack(env_id):
    env = MaskInvalid(gym.make(env_id), value=-1.0)
    env.reset(seed=2)
    (twin,) = tir_gym.fork(env)
    assert [type(layer).__name__ for layer in layers(twin)] == [type(layer).__name__ for layer in layers(env)]
    assert twin.unwrapped is not env.unwrapped
    assert as_bytes([twin.step("hm")]) == as_bytes([env.step("hm")])
    assert twin.value == -1.0
    env.close()
    twin.close()


def layers(env):
    while isinstance(env, gym.Wrapper):
        yield env
        env = env.env
    yield env


class Counting(gym.Wrapper):
    def __init__(self, env):
        super().__init__(env)
        self.seen = []


class CountingForkable(Counting):
    def fork_around(self, env):
        twin = CountingForkable(env)
        twin.seen = list(self.seen)
        return twin


def test_a_foreign_wrapper_with_state_is_named(env_id):
    env = Counting(gym.make(env_id))
    env.reset(seed=0)
    with pytest.raises(ForkRefused, match="Counting holds state in seen"):
        tir_gym.fork(env)
    env.close()
    env = CountingForkable(gym.make(env_id))
    env.reset(seed=0)
    env.seen.append("x")
    (twin,) = tir_gym.fork(env)
    assert twin.seen == ["x"]
    assert twin.seen is not env.seen
    env.close()
    twin.close()
