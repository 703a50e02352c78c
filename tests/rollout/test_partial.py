"""An episode that is broken off between two turns goes on elsewhere as if nothing had been."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tir_gym
from tests.play import make, play_oracle
from tests.rollout.play_partial import CODEC, completion, play_on
from tir_gym.core.schema import EpisodeRecord
from tir_gym.core.view import GroupView
from tir_gym.drivers.slot import ReplayMismatch
from tir_gym.rollout import PartialEpisode, TokenRecorder, TokenRollout, record_of
from tir_gym.rollout.record import RecordedGroup

MATH, LEDGER = "tir/MathCode-v0", "toy/Ledger-v0"
CALL = '<call name="python"><arg name="code">{}</arg></call>'


def begun(env, seed, texts=()):
    _, info = env.reset(seed=seed)
    recorder = TokenRecorder(CODEC, info, env.tools, episode="a", group="g")
    play_on(env, recorder, texts)
    return recorder


def as_plain(record):
    """A record without what was measured, which is different each time."""
    data = record.model_dump(mode="json")
    for call in data["calls"]:
        del call["measured"]
    return data


def through_json(partial):
    return PartialEpisode.model_validate_json(partial.model_dump_json())


@pytest.mark.parametrize(
    ("env_id", "options"),
    [(LEDGER, {}), (LEDGER, {"protocol": "openai"}), ("toy/Helpdesk-v0", {}), ("toy/Shapes-v0", {})],
)
def test_an_episode_goes_on_in_another_environment_from_any_of_its_turns(env_id, options):
    env, other = make(env_id, **options), make(env_id, **options)
    texts = play_oracle(env, 5)
    unbroken = begun(env, 5, texts)
    record = as_plain(record_of(env))
    for at in range(len(texts)):
        here = begun(env, 5, texts[:at])
        partial = through_json(PartialEpisode.of(env, here))
        there = partial.resume(other, CODEC)
        assert there.prompt == here.prompt
        play_on(other, there, texts[at:])
        assert there.rollout.data() == unbroken.rollout.data()
        assert there.rollout.pixels.keys() == unbroken.rollout.pixels.keys()
        assert as_plain(record_of(other)) == record
    env.close()
    other.close()


PROGRAMS = [CALL.format(code) for code in ("x = 40; print(x)", "x += 2; print(x)", "print(x * 10)")]


@pytest.mark.parametrize(
    ("env_id", "options", "texts", "told_at_the_end"),
    [
        (LEDGER, {}, ["hm", '<call name="list_accounts"></call>', "<answer>1</answer>"], "list_accounts"),
        (MATH, {"call_timeout_s": 600.0}, [*PROGRAMS, "<answer>1</answer>"], "420"),
    ],
)
def test_an_episode_and_its_interpreter_go_on_in_another_process(env_id, options, texts, told_at_the_end):
    env = make(env_id, **options)
    unbroken = begun(env, 5, texts)
    record = as_plain(record_of(env))
    half = begun(env, 5, texts[:-2])
    partial = PartialEpisode.of(env, half)
    env.close()
    given = {"env_id": env_id, "options": options, "partial": partial.model_dump_json(), "texts": texts[-2:]}
    done = subprocess.run(
        [sys.executable, "-m", "tests.rollout.play_partial"],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    (row,), (whole,) = TokenRollout.of(told["rollout"]).rows(), unbroken.rollout.rows()
    for name in ("ids", "roles", "logprobs", "versions", "turn_start", "turn_end", "turn_reward"):
        assert np.array_equal(getattr(row, name), getattr(whole, name)), name
    assert (row.episode, row.group, row.reward) == (whole.episode, whole.group, whole.reward)
    assert as_plain(EpisodeRecord.model_validate_json(told["record"])) == record
    assert told_at_the_end in str(record["transcript"])


@pytest.mark.parametrize("backend", ["inline", "process"])
def test_an_episode_of_a_vector_environment_goes_on_alone(backend):
    envs = tir_gym.make_vec(MATH, 2, backend=backend)
    _, infos = envs.reset(seed=[1, 2])
    said = completion(CALL.format("y = 41"))
    info = {key: infos[key][1] for key in ("messages", "context_version")}
    recorder = TokenRecorder(CODEC, info)
    _, rewards, _, _, infos = envs.step([said, said])
    recorder.step(said, rewards[1], {key: infos[key][1] for key in ("messages", "context_version", "outcome")})
    partial = through_json(PartialEpisode.of(envs, recorder, 1))
    envs.send([CALL.format("while True: pass")], [1])
    with pytest.raises(ValueError, match="slot 1 is at a turn"):
        PartialEpisode.of(envs, recorder, 1)
    envs.close()
    env = make(MATH)
    there = partial.resume(env, CODEC)
    play_on(env, there, [CALL.format("print(y + 1)")])
    assert "42" in env.transcript[-1].text
    assert "42" in CODEC.tokenizer.decode(there.prompt)
    env.close()


def test_its_rewards_are_computed_from_what_it_was_begun_with():
    env, other = make(LEDGER), make(LEDGER)
    view = GroupView(snapshot="s1", rollouts=8, correct=2)
    env.set_progress(3, 10)
    env.set_groups(RecordedGroup(view))
    partial = through_json(PartialEpisode.of(env, begun(env, 5)))
    other.set_progress(9, 10)
    partial.resume(other, CODEC)
    assert other.began_with == env.began_with
    assert other.began_with[0] == view
    env.close()
    other.close()


def test_what_does_not_fit_is_refused():
    env, other = make(LEDGER), make("toy/Helpdesk-v0")
    partial = PartialEpisode.of(env, begun(env, 5, ["hm"]))
    with pytest.raises(ValueError, match="this environment is 'toy/Helpdesk-v0'"):
        partial.resume(other, CODEC)
    state = partial.state.model_copy(update={"digest": "00"})
    with pytest.raises(ReplayMismatch):
        partial.model_copy(update={"state": state}).resume(env, CODEC)
    with pytest.raises(ValueError, match="schema_id"):
        PartialEpisode.model_validate_json(partial.model_dump_json().replace("partial/1", "partial/9"))
    env.close()
    other.close()
