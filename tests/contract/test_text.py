"""No text a policy can write raises, hangs or is lost."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.play import ALL_IDS, make, plain, play_oracle, replay
from tir_gym import Completion, ToolCall
from tir_gym.core.transcript import Source

TAGS = [
    *('<call name="python">', "</call>", '<arg name="code">', "</arg>", "<answer>", "</answer>", "<think>", "</think>"),
    *("<message>", "</message>", "<finish>", "<result>", "```python\n", "```", "\\boxed{", "}", "[["),
    *('{"role":"assistant"', "<|im_end|>", "\ud800", "\udfff", "\x00", "\u202e", "9" * 50),
]
hostile_text = st.lists(st.one_of(st.text(max_size=20), st.sampled_from(TAGS)), max_size=12).map("".join)
any_text = st.one_of(st.text(st.characters(), max_size=200), hostile_text)


@pytest.fixture(scope="module")
def environments():
    made = {env_id: make(env_id, max_turns=3) for env_id in ALL_IDS}
    yield made
    for env in made.values():
        env.close()


@pytest.mark.parametrize("env_id", ALL_IDS)
@given(texts=st.lists(any_text, min_size=1, max_size=4))
def test_any_text_is_a_legal_action(environments, env_id, texts):
    env = environments[env_id]
    env.reset(seed=0)
    for text in texts:
        observation, reward, terminated, truncated, info = env.step(text)
        assert env.observation_space.contains(observation)
        assert info["valid"]
        assert 0.0 <= reward <= 1.0
        if terminated or truncated:
            break
        last = [entry for entry in env.transcript if entry.source is Source.POLICY][-1]
        assert last.text == text.encode("utf-8", "surrogatepass").decode("utf-8", "replace") or "\ufffd" in last.text
        ends = [0, *(end for span in last.spans for end in (span.start, span.end)), len(last.text)]
        assert ends == sorted(ends)


@pytest.mark.parametrize("env_id", ALL_IDS)
def test_surrogates_are_replaced_and_the_repair_is_recorded(env_id):
    env = make(env_id)
    env.reset(seed=0)
    *_, info = env.step("<think>\ud800</think>")
    assert "\ufffd" in [entry for entry in env.transcript if entry.source is Source.POLICY][-1].text
    assert info["format"]["repairs"] >= 1
    json.dumps(plain(info)).encode()
    env.close()


@pytest.mark.parametrize("env_id", ALL_IDS)
def test_an_overlong_completion_is_a_typed_error_and_runs_nothing(env_id):
    env = make(env_id, max_chars=100)
    texts = play_oracle(make(env_id), 0)
    env.reset(seed=0)
    *_, info = env.step(texts[0] + " " * 100)
    assert info["format"]["error"] == "overlong"
    assert info["calls"]["count"] == 0
    env.close()


@pytest.mark.parametrize("env_id", ALL_IDS)
def test_a_call_cut_by_length_is_never_run(env_id):
    env = make(env_id)
    whole = play_oracle(env, 0)[0]
    env.reset(seed=0)
    *_, info = env.step(Completion(whole[: len(whole) - 3], stop_reason="length"))
    assert info["calls"]["count"] <= whole.count("<call") - 1
    assert not info["format"]["ok"]
    env.close()


@pytest.mark.parametrize("env_id", ALL_IDS)
def test_text_message_and_tool_call_are_the_same_action(env_id):
    env = make(env_id)
    env.reset(seed=0)
    tool = env.episode.toolkits[env.episode.to_move].tools[0]
    schema = tool.parameters["properties"]
    arguments = {name: 7 if schema[name]["type"] == "integer" else "7" for name in tool.parameter_names}
    call = ToolCall(tool.name, arguments)
    function = {"name": tool.name, "arguments": json.dumps(arguments)}
    message = {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"type": "function", "id": "x", "function": function}],
    }
    logs = []
    for action in (env.setting.protocol.format(_calling(call)), message, [call], _calling(call)):
        env.reset(seed=0)
        observation, *_ = env.step(action)
        record = env.episode.calls[0]
        logs.append((record.tool, record.key, record.status, plain(observation) if isinstance(observation, str) else 0))
    env.reset(seed=0)
    observation, *_ = env.call(tool.name, arguments)
    assert logs[0] == logs[2] == logs[3]
    assert logs[0][:3] == logs[1][:3]
    assert env.episode.calls[0].key == logs[0][1]
    with pytest.raises(TypeError, match="completion"):
        env.step(3.14)
    env.close()


def _calling(call):
    from tir_gym import Action

    return Action(calls=(call,))


@pytest.mark.parametrize("env_id", ALL_IDS)
def test_finish_ends_the_episode_without_an_answer(env_id):
    env = make(env_id)
    env.reset(seed=0)
    _, reward, terminated, truncated, info = env.finish("enough")
    assert (reward, terminated, truncated, info["ended_by"]) == (0.0, True, False, "finish")
    assert not info["answer"]["given"]
    env.close()


@pytest.mark.parametrize("env_id", ALL_IDS)
def test_the_turn_limit_truncates(env_id):
    env = make(env_id, max_turns=2)
    policies = sum(not actor.scripted for actor in env.setting.domain.actors)
    turns = replay(env, 0, ["hm"] * (2 * policies + 1))[1:]
    ends = [turn[3] for turn in turns]
    assert not ends[0]
    assert ends[-1]
    assert turns[-1][4]["outcome"] == "truncated"
    assert turns[-1][4]["turn"] <= 2 * policies
    env.close()
