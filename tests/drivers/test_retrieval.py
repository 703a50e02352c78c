"""Searches of one step go to the retriever together; each episode sees what it would have seen alone."""

import math
from functools import partial

import pytest

import tir_gym
from tests.play import as_bytes, make
from tests.toys.archive.env import CardIndex
from tir_gym.core.tool import EnvError, Output

NUM = 5
SEARCH = '<call name="search"><arg name="query">{}</arg></call>'
ONE = CardIndex({f"town-{i}": f"founded in {1000 + i}" for i in range(9)})


@pytest.fixture
def asked(monkeypatch):
    """The batches that reached the one index of all episodes."""
    batches = []
    monkeypatch.setattr("tests.toys.archive.env.CardIndex", lambda cards: ONE)
    search = CardIndex.search
    monkeypatch.setattr(
        CardIndex, "search", lambda self, queries, k: batches.append(queries) or search(self, queries, k)
    )
    return batches


def test_a_step_of_many_episodes_is_one_search_without_repeats(asked):
    envs = tir_gym.make_vec("toy/Archive-v0", NUM)
    envs.reset(seed=[0] * NUM)
    observations, *_ = envs.step([SEARCH.format(f"town-{i % 3}") for i in range(NUM)])
    envs.close()
    assert asked == [["town-0", "town-1", "town-2"]]
    assert [f"founded in {1000 + i % 3}" in text for i, text in enumerate(observations)] == [True] * NUM


def test_searches_of_one_turn_are_asked_together(asked):
    env = make("toy/Archive-v0")
    env.reset(seed=0)
    observation, *_ = env.step(SEARCH.format("town-1") + SEARCH.format("town-2"))
    env.close()
    assert asked == [["town-1", "town-2"]]
    assert observation.index("founded in 1001") < observation.index("founded in 1002")


def test_a_batch_gives_what_single_episodes_give(asked):
    texts = [SEARCH.format(f"town-{i}") for i in range(NUM)]
    single = []
    for text in texts:
        env = make("toy/Archive-v0")
        env.reset(seed=3)
        single.append(as_bytes([env.step(text)[0]]))
        env.close()
    envs = tir_gym.make_vec("toy/Archive-v0", NUM)
    envs.reset(seed=[3] * NUM)
    observations, *_ = envs.step(texts)
    envs.close()
    assert [as_bytes([text]) for text in observations] == single


@pytest.mark.parametrize("error", [EnvError("the index is gone"), OSError("the index is gone")])
def test_a_failing_retriever_makes_the_episodes_that_asked_invalid(asked, monkeypatch, error):
    def fail(self, queries, k):
        raise error

    envs = tir_gym.make_vec("toy/Archive-v0", 2)
    envs.reset(seed=[0, 0])
    monkeypatch.setattr(CardIndex, "search", fail)
    _, rewards, terminated, truncated, infos = envs.step([SEARCH.format("x"), "<think>no call</think>"])
    envs.close()
    assert math.isnan(rewards[0])
    assert rewards[1] == 0
    assert (list(terminated), list(truncated)) == ([False, False], [True, False])
    final = infos["final_info"]
    assert (final["outcome"][0], bool(final["valid"][0])) == ("env_error", False)
    assert "the index is gone" in final["failure"][0]


def test_a_search_may_take_virtual_time(asked, monkeypatch):
    monkeypatch.setattr("tests.toys.archive.env.Output", partial(Output, latency_s=0.5))
    env = make("toy/Archive-v0")
    env.reset(seed=0)
    env.step(SEARCH.format("town-1") + SEARCH.format("town-2"))
    assert env.episode.clock == pytest.approx(0.7)  # side by side
    env.step(SEARCH.format("town-3"))
    assert env.episode.clock == pytest.approx(1.4)
    assert [record.latency_s for record in env.episode.calls] == pytest.approx([0.7] * 3)
    env.close()
