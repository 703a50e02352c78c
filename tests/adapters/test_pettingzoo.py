"""An environment of two policies seen through PettingZoo."""

import warnings

import pytest
from pettingzoo.test import api_test, parallel_api_test

from tests.play import make, play_oracle
from tir_gym.adapters.pettingzoo import ActorsView, parallel_view
from tir_gym.rollout import oracle
from tir_gym.wrappers import MaskInvalid

ABOUT_ARRAYS = (
    "Observation is not a NumPy array",
    "Observation space for each agent probably should be gymnasium.spaces.box",
    "Action space for each agent probably should be gymnasium.spaces.box",
)
"""What PettingZoo's tests warn of in any environment of text."""

READER, WRITER = "reader_0", "writer_0"


@pytest.fixture
def env():
    made = make("toy/Handover-v0", max_turns=4)
    yield made
    made.close()


@pytest.fixture
def only_array_warnings():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for message in ABOUT_ARRAYS:
            warnings.filterwarnings("ignore", message)
        yield


@pytest.mark.usefixtures("only_array_warnings")
def test_it_passes_the_api_test(env):
    api_test(ActorsView(env), num_cycles=20)


@pytest.mark.usefixtures("only_array_warnings")
def test_it_passes_the_parallel_api_test(env):
    parallel_api_test(parallel_view(env), num_cycles=20)


@pytest.mark.usefixtures("only_array_warnings")
def test_wrapped_environments_pass_too(env):
    api_test(ActorsView(MaskInvalid(env)), num_cycles=20)


def test_its_agents_are_the_policies(env):
    view = ActorsView(env)
    assert view.possible_agents == [READER, WRITER]
    assert view.render_mode is None
    for agent in view.possible_agents:
        assert view.observation_space(agent) is view.observation_space(agent)
        assert view.action_space(agent) is view.action_space(agent)
    assert view.action_space(READER) is not view.action_space(WRITER)
    assert ActorsView(make("toy/Helpdesk-v0")).possible_agents == ["agent"]


def halves(env):
    """The oracle's course, split by whose turn it is: each half knows only what its own agent read."""
    return oracle("toy/Handover-v0", env.episode.task, env.setting)


def test_two_halves_of_an_oracle_play_a_whole_episode(env):
    view = ActorsView(env)
    view.reset(seed=11)
    policy = halves(env)
    moved, rewards = [], {}
    for agent in view.agent_iter(20):
        observation, reward, terminated, truncated, info = view.last()
        rewards[agent] = rewards.get(agent, 0.0) + reward
        if terminated or truncated:
            view.step(None)
            continue
        assert observation in view.observation_space(agent)
        assert observation["your_turn"] == 1
        assert [view.observe(other)["your_turn"] for other in view.agents if other != agent] == [0]
        moved.append(agent)
        view.step(policy.act(observation["text"], info))
    assert moved == [READER, READER, WRITER]
    assert rewards == {READER: 1.0, WRITER: 1.0}
    assert view.agents == []
    assert env.episode.outcome == "solved"


def test_the_parallel_view_plays_the_same_episode(env):
    view = parallel_view(env)
    observations, infos = view.reset(seed=11)
    policy = halves(env)
    totals = dict.fromkeys(view.agents, 0.0)
    while view.agents:
        (mover,) = [agent for agent in view.agents if observations[agent]["your_turn"]]
        actions = dict.fromkeys(view.agents, "not my turn")
        actions[mover] = policy.act(observations[mover]["text"], infos[mover])
        observations, rewards, terminations, truncations, infos = view.step(actions)
        totals = {agent: totals[agent] + rewards[agent] for agent in rewards}
    assert totals == {READER: 1.0, WRITER: 1.0}
    assert terminations == {READER: True, WRITER: True}
    assert not any(truncations.values())
    texts = [action.raw for action in env.get_state().actions]
    again = make("toy/Handover-v0", max_turns=4)
    assert texts == play_oracle(again, 11)
    assert env.episode.digest == again.episode.digest
    again.close()


def test_an_agent_gets_no_message_that_is_for_the_other(env):
    view = ActorsView(env)
    view.reset(seed=11)
    policy = halves(env)
    for _ in range(2):
        view.step(policy.act(view.observe(READER)["text"], view.infos[READER]))
    assert view.agent_selection == WRITER
    assert "The word is" in view.observe(WRITER)["text"]
    assert "The word is" in str(view.infos[WRITER]["messages"])
    assert view.infos[READER]["messages"] == []
    assert "The word is" not in view.observe(READER)["text"]
    view.infos[WRITER]["calls"]["count"] = 99
    assert view.infos[READER]["calls"]["count"] == 1


def test_an_episode_can_be_chosen_and_ends_by_the_turn_limit_for_both(env):
    view = ActorsView(env)
    view.reset(seed=11)
    task = view.infos[READER]["task"]["id"]
    view.reset(seed=12, options={"task_id": task})
    assert view.infos[READER]["task"]["id"] == task
    while not any(view.truncations.values()):
        view.step("<message>hm</message>")
    assert view.truncations == {READER: True, WRITER: True}
    for _ in range(2):
        with pytest.raises(ValueError, match="the only valid action is None"):
            view.step("more")
        view.step(None)
    assert view.agents == []
    view.reset(seed=11)
    assert view.agents == [READER, WRITER]


def test_rendering_and_closing_reach_the_environment():
    env = make("toy/Handover-v0", render_mode="ansi")
    view = ActorsView(env)
    view.reset(seed=1)
    assert view.render() == env.render()
    assert "bring the word" in view.render()
    view.close()


def test_images_are_refused():
    with pytest.raises(ValueError, match="toy/Shapes-v0 observes images"):
        ActorsView(make("toy/Shapes-v0"))
