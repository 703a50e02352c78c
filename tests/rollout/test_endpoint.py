"""A model endpoint plays like any policy, against a real server; faults that pass are outlived, others are told."""

import base64
import json
import math
import signal
import socket
import threading
import traceback
import zlib
from types import SimpleNamespace

import numpy as np
import pytest

from tests.play import make
from tests.processes import check_nothing_left, footprint
from tests.rollout.model_server import ModelServer, scripted_model
from tir_gym.core.action import ToolCall
from tir_gym.rollout import (
    Endpoint,
    EndpointError,
    EndpointPolicy,
    EpisodesLeftOut,
    TrajectoryFile,
    collect,
    read_records,
)
from tir_gym.rollout.chat import data_url
from tir_gym.rollout.endpoint import _retry_after

MATH = "tir/MathCode-v0"
DESK = "toy/Helpdesk-v0"
KEY = "sk-very-secret-key"


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def endpoint(server, **settings):
    return Endpoint(server.url, "scripted", **{"backoff_s": 0.001, "timeout_s": 30.0, **settings})


def essence(record):
    """A record without who played it, what was measured and what labels calls."""
    data = json.loads(record.model_dump_json())
    del data["key"], data["policy"]
    for call in data["calls"]:
        del call["measured"]
    return data


def script_of(record):
    """A mark in the episode's first user message, and its completions as assistant messages."""
    own = [entry.text for entry in record.transcript if entry.source == "policy"]
    native = record.protocol == "openai"
    turns = [json.loads(text) if native else {"role": "assistant", "content": text} for text in own]
    prompt, *_ = [e.text for e in record.transcript if e.source in ("user", "env") and e.turn == 0]
    return prompt, turns


def oracle_scripts(env, seeds):
    played = list(collect(env, "oracle", seeds))
    return played, dict(map(script_of, played))


@pytest.fixture(params=["xml", "openai", "fenced"])
def maths(request):
    env = make(MATH, protocol=request.param)
    yield env
    env.close()


@pytest.fixture
def desk():
    env = make(DESK)
    yield env
    env.close()


def saying(*messages):
    """A model that says these in turn, whatever it is asked."""
    return lambda request: messages[sum(m["role"] == "assistant" for m in request["messages"])]


def says(text, **beside):
    return {"content": text, **beside}


BYE = says("<message>Goodbye!</message>")


# --- playing ----------------------------------------------------------------------------------------------------------
def test_a_model_that_says_what_the_oracle_says_plays_the_same_episodes(tmp_path, maths):
    played, scripts = oracle_scripts(maths, range(3))
    with ModelServer(scripted_model(scripts)) as server, TrajectoryFile(tmp_path / "a.jsonl") as file:
        again = list(collect(maths, endpoint(server), range(3), file))
    assert [essence(record) for record in again] == [essence(record) for record in played]
    assert [record.verdict.value for record in again] == [1.0] * 3
    assert len(server.requests) == sum(record.turns for record in played)
    assert set(server.keys) == {f"Bearer {KEY}"}
    assert KEY not in (tmp_path / "a.jsonl").read_text()
    for request in server.requests:
        assert request.get("stop", []) == list(maths.stop_strings[:4])
        assert request["model"] == "scripted"
    assert {record.policy for record in again} == {endpoint(server).name}


def test_tools_travel_natively_in_a_native_protocol_and_in_no_other(maths):
    _, scripts = oracle_scripts(maths, [0])
    with ModelServer(scripted_model(scripts)) as server:
        list(collect(maths, endpoint(server), [0]))
    last = server.requests[-1]["messages"]
    if maths.setting.protocol.native:
        assert server.requests[0]["tools"] == maths.tools
        assert last[0] == {"role": "system", "content": maths.setting.domain.instructions}
        assert [m["role"] for m in last] == ["system", "user", "assistant", "tool"]
        assert last[3]["tool_call_id"] == last[2]["tool_calls"][0]["id"]
        assert last[2]["content"] is None
    else:
        assert "tools" not in server.requests[0]
        assert [m["role"] for m in last] == ["system", "user", "assistant", "user"]
    sent = [m["content"] for m in last if m["role"] != "assistant"]
    assert all(isinstance(text, str) for text in sent)
    assert "id" not in last[0]


def test_a_dialogue_goes_to_the_actor_that_moves(desk):
    (played,) = collect(desk, "oracle", [0])
    _, turns = script_of(played)
    with ModelServer(saying(*turns)) as server:
        (again,) = collect(desk, endpoint(server), [0])
    assert essence(again) == essence(played)
    assert again.outcome == "solved"
    assert "My line is dead" in server.requests[0]["messages"][-1]["content"]


def test_images_are_sent_as_data_urls():
    env = make("toy/Shapes-v0")
    with ModelServer(saying(says("<answer>1</answer>"), says("<answer>1</answer>"))) as server:
        list(collect(env, endpoint(server), [0]))
    env.close()
    shown = [p for m in server.requests[0]["messages"] if isinstance(m["content"], list) for p in m["content"]]
    assert [p["type"] for p in shown].count("image_url") >= 1


def test_a_data_url_holds_the_pixels():
    pixels = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3)
    png = base64.b64decode(data_url(pixels).removeprefix("data:image/png;base64,"))
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    assert png[16:24] == bytes([0, 0, 0, 3, 0, 0, 0, 2])
    size = int.from_bytes(png[33:37], "big")
    rows = zlib.decompress(png[41 : 41 + size])
    assert rows == b"".join(b"\0" + row.tobytes() for row in pixels)


# --- one completion ---------------------------------------------------------------------------------------------------
def one_turn(env, message, **settings):
    """What the policy makes of one message."""
    _, info = env.reset(seed=0)
    with ModelServer(saying(message)) as server, EndpointPolicy(endpoint(server, **settings)) as policy:
        policy.begin(env)
        return policy.act("", info)


@pytest.mark.parametrize("keeps", [False, True])
def test_a_stop_string_that_closes_stays_and_one_that_opens_goes(desk, keeps):
    said = one_turn(desk, says("<think>x</think><message>Hello</message> and more", keeps_stops=keeps))
    assert said == "<think>x</think><message>Hello</message>"
    call = '<call name="required_channel">\n</call>'
    assert one_turn(desk, says(f'{call}\n<result call="1">made up', keeps_stops=keeps)) == call + "\n"


def test_a_stop_string_that_the_server_names_is_put_back(desk):
    named = {"delta": {}, "finish_reason": "stop", "stop_reason": "</message>"}
    assert one_turn(desk, says("<message>Hi</message>", choices=[named])) == "<message>Hi</message>"


def test_text_that_needs_no_stop_string_gets_none(desk):
    assert one_turn(desk, says("<think>I wonder</think>")) == "<think>I wonder</think>"


def test_a_completion_cut_for_length_inside_a_call_runs_nothing(desk):
    half = '<call name="required_channel">\n'
    said = one_turn(desk, says(half, finish_reason="length"))
    assert (said, said.stop_reason) == (half, "length")
    *_, info = desk.step(said)
    assert info["calls"]["count"] == 0
    assert info["format"]["error"] == "cut_call"


@pytest.mark.parametrize(("arguments", "error"), [('{"code": "print(', "cut_call"), ('{"code": "1"}', "")])
def test_a_native_call_cut_for_length_runs_only_if_it_is_whole(arguments, error):
    env = make(MATH, protocol="openai")
    call = {"id": "c", "type": "function", "function": {"name": "python", "arguments": arguments}}
    said = one_turn(env, {"tool_calls": [call], "finish_reason": "length"})
    *_, info = env.step(said)
    env.close()
    assert info["format"]["error"] == error
    assert info["calls"]["count"] == (0 if error else 1)


def test_native_text_cut_for_length_is_no_answer():
    env = make(MATH, protocol="openai")
    said = one_turn(env, {"reasoning_content": "Let me see", "content": "The answer is 1", "finish_reason": "length"})
    *_, info = env.step(said)
    env.close()
    assert info["format"]["error"] == "unclosed_tag"
    assert not info["answer"]["given"]


def test_native_calls_in_fragments_are_put_together():
    env = make(MATH, protocol="openai")
    calls = [
        {"id": f"c{i}", "type": "function", "function": {"name": "python", "arguments": json.dumps({"code": f"{i}+1"})}}
        for i in range(3)
    ]
    said = one_turn(env, {"reasoning_content": "Three at once.", "tool_calls": calls})
    env.step(said)
    played = env.get_state().actions[0].action()
    env.close()
    assert played.calls == tuple(ToolCall("python", {"code": f"{i}+1"}) for i in range(3))
    assert [call.id for call in played.calls] == ["c0", "c1", "c2"]
    assert played.thought == "Three at once."


def test_fragments_without_an_index_are_told_apart_by_their_ids():
    env = make(MATH, protocol="openai")
    pieces = [
        {"id": "a", "function": {"name": "python", "arguments": '{"code":'}},
        {"function": {"arguments": ' "1"}'}},
        {"id": "b", "function": {"name": "python", "arguments": '{"code": "2"}'}},
    ]
    said = one_turn(env, {"choices": [{"delta": {"tool_calls": [piece]}} for piece in pieces]})
    env.step(said)
    calls = env.get_state().actions[0].action().calls
    env.close()
    assert [(call.id, call.arguments["code"]) for call in calls] == [("a", "1"), ("b", "2")]


def test_reasoning_told_apart_is_thought(desk):
    desk.step(one_turn(desk, {"reasoning_content": "They are upset.", **BYE}))
    action = desk.get_state().actions[0].action()
    assert (action.thought, action.message) == ("They are upset.", "Goodbye!")


def test_tokens_and_log_probabilities_come_where_the_server_tells_both(desk):
    logprobs = {"content": [{"token": t, "logprob": p, "top_logprobs": []} for t, p in (("a", -0.5), ("b", -0.25))]}
    both = one_turn(desk, says("<think>", choices=[{"token_ids": [7, 8], "logprobs": logprobs}]), logprobs=True)
    assert (both.token_ids, both.logprobs) == ((7, 8), (-0.5, -0.25))
    one = one_turn(desk, says("<think>", choices=[{"logprobs": logprobs}]), logprobs=True)
    assert (one.token_ids, one.logprobs) == ((), ())


def test_settings_travel_with_the_request(desk):
    _, info = desk.reset(seed=0)
    with ModelServer(saying(BYE)) as server:
        asked = endpoint(server, temperature=0.25, max_tokens=7, logprobs=True, extra_body={"top_k": 3})
        with EndpointPolicy(asked) as policy:
            policy.begin(desk)
            policy.act("", info)
    (request,) = server.requests
    wanted = {"temperature": 0.25, "max_tokens": 7, "logprobs": True, "top_k": 3, "stream": True}
    assert wanted.items() <= request.items()


# --- faults -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("fault", ["429", "500", "reset", "cut", "garbage", "html", "error event"])
def test_a_fault_that_passes_is_outlived(desk, fault):
    with ModelServer(saying(BYE), faults=[fault, fault]) as server:
        (record,) = collect(desk, endpoint(server), [0])
    assert record.valid
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("fault", "cause"),
    [
        ("429", "HTTP 429"),
        ("500", "HTTP 500"),
        ("cut", "without a finish reason"),
        ("html", "content type text/html"),
        ("reset", "Connection error"),
        ("garbage", "JSONDecodeError"),
        ("error event", "the engine died"),
    ],
)
def test_a_fault_that_stays_leaves_the_episode_out(tmp_path, desk, fault, cause):
    with ModelServer(saying(BYE), faults=[fault] * 3) as server, TrajectoryFile(tmp_path / "a.jsonl") as file:
        asked = endpoint(server, max_retries=2)
        rollout = collect(desk, asked, range(3), file)
        played = [next(rollout), next(rollout)]
        with pytest.raises(EpisodesLeftOut, match=r"1 episode is left out.*seeds 0") as left_out:
            next(rollout)
        assert len(server.requests) == 3 + 2
        (failure,) = left_out.value.failures.values()
        assert isinstance(failure, EndpointError)
        for said in (server.url, "'scripted'", "3 attempts", cause):
            assert said in str(failure)
        assert KEY not in str(failure)
        assert [kept.key for kept in read_records(file.path)] == [record.key for record in played]
        resumed = list(collect(desk, asked, range(3), file))  # the server is well again
        assert [record.key.rpartition("/")[2] for record in resumed] == ["0"]


@pytest.mark.parametrize("fault", ["silent", "slow body"])
def test_a_server_that_says_nothing_new_is_left_at_the_deadline(desk, fault):
    with ModelServer(saying(BYE), faults=[fault]) as server:
        with pytest.raises(EpisodesLeftOut, match=r"the deadline of 2 s is over"):
            list(collect(desk, endpoint(server, deadline_s=2.0), [0]))
        assert len(server.requests) == 1
        server.faults.append(fault)
        (record,) = collect(desk, endpoint(server, timeout_s=2.0), [0])
    assert record.valid
    assert len(server.requests) == 3


def test_a_pause_past_the_deadline_is_not_made(desk):
    with ModelServer(saying(BYE), faults=["500"]) as server:
        with pytest.raises(EpisodesLeftOut, match="past the deadline"):
            list(collect(desk, endpoint(server, backoff_s=1000.0, deadline_s=14.0), [0]))
        assert len(server.requests) == 1


def test_the_pause_that_a_server_asks_for_is_the_one_made(desk):
    with ModelServer(saying(BYE), faults=["429"]) as server:  # asks for 0 seconds
        (record,) = collect(desk, endpoint(server, backoff_s=1000.0, deadline_s=60.0), [0])
        assert record.valid
        assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("said", "seconds"), [("7", 7.0), ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0), ("soon", None), ("", None)]
)
def test_a_pause_is_told_in_seconds_or_by_a_date(said, seconds):
    found = _retry_after(SimpleNamespace(headers={"retry-after": said}))
    assert math.isnan(found) if seconds is None else found == seconds


def test_an_endless_stream_ends_at_what_an_episode_takes():
    env = make(DESK, max_chars=5_000, max_turns=1)
    with ModelServer(saying(BYE), faults=["endless"]) as server:
        (record,) = collect(env, endpoint(server), [0])
    env.close()
    assert record.state.actions[0].action().errors[0].type == "overlong"


def test_a_refused_key_ends_the_rollout_at_once(desk):
    with ModelServer(saying(BYE), faults=["401"]) as server:
        with pytest.raises(EndpointError, match=r"HTTP 401.*\[key\]") as refused:
            list(collect(desk, endpoint(server), range(3)))
        assert len(server.requests) == 1
    assert KEY not in "".join(traceback.format_exception(refused.value))


@pytest.mark.parametrize("end", ["\n", " \r\n"])
def test_space_round_a_key_is_no_part_of_it(desk, monkeypatch, end):
    monkeypatch.setenv("OPENAI_API_KEY", KEY + end)
    with ModelServer(saying(BYE)) as server:
        list(collect(desk, endpoint(server), [0]))
        assert set(server.keys) == {f"Bearer {KEY}"}


@pytest.mark.parametrize("middle", ["\n", "\r\nX: y", "\u00e9", "\x1b"])
def test_a_key_that_no_header_can_hold_is_refused_and_not_quoted(desk, monkeypatch, middle):
    monkeypatch.setenv("OPENAI_API_KEY", f"{KEY}{middle}x")
    with pytest.raises(ValueError, match="OPENAI_API_KEY") as refused:
        list(collect(desk, Endpoint("http://127.0.0.1:9/v1", "m"), [0]))
    assert KEY not in "".join(traceback.format_exception(refused.value))


def test_a_bad_request_is_not_made_again_and_the_rest_goes_on(desk):
    with ModelServer(saying(BYE), faults=["400"]) as server:
        rollout = collect(desk, endpoint(server), range(2))
        assert next(rollout).valid
        with pytest.raises(EpisodesLeftOut, match="HTTP 400"):
            next(rollout)
        assert len(server.requests) == 2


# --- settings ---------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    "settings",
    [
        {"base_url": "localhost:8000"},
        {"base_url": "http://me:pass@host/v1"},
        {"base_url": "http://host/v1?token=secret"},
        {"timeout_s": 0.0},
        {"deadline_s": float("inf")},
        {"max_retries": -1},
        {"temperature": float("nan")},
        {"max_tokens": 0},
    ],
)
def test_settings_without_sense_are_refused_by_name(settings):
    (name,) = settings
    with pytest.raises(ValueError, match=name):
        Endpoint(**{"base_url": "http://host/v1", "model": "m", **settings})


def test_the_key_is_in_no_setting_and_the_name_says_what_changes_the_model():
    one = Endpoint("http://host/v1", "Org/Model")
    assert KEY not in repr(one)
    assert one.name.startswith("Org/Model-")
    assert one.name == Endpoint("http://other/v1", "Org/Model", timeout_s=5.0).name
    assert one.name != Endpoint("http://host/v1", "Org/Model", temperature=0.5).name


# --- ends -------------------------------------------------------------------------------------------------------------
def test_nothing_is_left_behind(desk):
    with ModelServer(saying(BYE)) as server:
        list(collect(desk, endpoint(server), [0]))
    before = footprint()
    with ModelServer(saying(BYE), faults=["500"]) as server, pytest.raises(EpisodesLeftOut):
        list(collect(desk, endpoint(server, max_retries=0), [0]))
    check_nothing_left(before)


def test_closing_ends_a_turn_that_waits(desk):
    _, info = desk.reset(seed=0)
    raised = []

    def wait(policy):
        try:
            policy.act("", info)
        except BaseException as error:
            raised.append(type(error).__name__)

    with ModelServer(saying(BYE), faults=["silent"]) as server:
        policy = EndpointPolicy(endpoint(server))
        policy.begin(desk)
        waiting = threading.Thread(target=wait, args=(policy,))
        waiting.start()
        assert server.asked.wait(30.0)
        policy.close()
        waiting.join()
    assert raised == ["CancelledError"]
    with pytest.raises(RuntimeError, match="closed"):
        policy.act("", info)


@pytest.mark.parametrize("concurrency", [1, 3])
def test_an_interrupt_ends_a_rollout_that_waits(tmp_path, desk, concurrency):
    before = threading.active_count()
    main = threading.main_thread().ident
    with ModelServer(saying(BYE), faults=["silent"] * 3) as server, TrajectoryFile(tmp_path / "a.jsonl") as file:

        def interrupt():
            server.asked.wait(30.0)
            signal.pthread_kill(main, signal.SIGINT)

        interrupter = threading.Thread(target=interrupt)
        interrupter.start()
        with pytest.raises(KeyboardInterrupt):
            list(collect(desk, endpoint(server), range(5), file, concurrency=concurrency))
        interrupter.join()
    assert threading.active_count() <= before
    assert list(read_records(file.path)) == []


def test_an_address_where_nothing_listens_is_named_before_anything_is_played():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/v1"
        with pytest.raises(ConnectionError, match="nothing answers at"):
            Endpoint(url, "m").check()
