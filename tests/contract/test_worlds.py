"""A world's copies, pictures and hashes agree with each other, and what changed is on record."""

import pytest

from tests.play import ALL_IDS, make, play_oracle, replay
from tir_gym.rollout import record_of


def with_a_world(env_id):
    env = make(env_id)
    env.reset(seed=0)
    env.close()
    return env.episode.world is not None


WORLDS = [env_id for env_id in ALL_IDS if with_a_world(env_id)]
pytestmark = pytest.mark.parametrize("env_id", WORLDS)


def test_the_same_seed_gives_the_same_world_and_another_seed_another(env_id):
    env = make(env_id)
    digests = [env.reset(seed=seed) and env.episode.world.digest() for seed in (1, 1, 2)]
    assert digests[0] == digests[1] != digests[2]
    env.close()


def test_fork_snapshot_restore_and_diff_agree_with_the_digest(env_id):
    env = make(env_id)
    texts = play_oracle(env, 3)
    env.reset(seed=3)
    world = env.episode.world
    opening, digest = world.snapshot(), world.digest()
    twin = world.fork()
    assert twin.digest() == digest
    assert world.diff(opening) == {}
    for text in texts:
        env.step(text)
    assert world.digest() != digest
    assert world.diff(opening)
    assert twin.digest() == digest
    world.restore(opening)
    assert world.digest() == digest
    assert world.diff(opening) == {}
    env.close()


def test_the_record_says_what_the_episode_changed(env_id):
    env = make(env_id)
    play_oracle(env, 4)
    record = record_of(env)
    assert record.world_diff == env.episode.world_diff != {}
    line = record.model_dump_json()
    assert type(record).model_validate_json(line).model_dump_json() == line
    env.close()


def test_an_opening_world_that_differs_differs_in_the_digest(env_id, monkeypatch):
    env = make(env_id)
    (_, before), *_ = replay(env, 5, [])
    world = type(env.episode.world)
    monkeypatch.setattr(world, "digest", lambda self: "another world")
    assert env.reset(seed=5)[1]["state_digest"] != before["state_digest"]
    env.close()
