"""What is written to disk reads back as it was."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.core.workshop import calls, make_setting, started, take
from tests.play import ALL_IDS, make, play_oracle
from tir_gym.core.action import Action, ParseError, ParseErrorType, Part, PartSpan, Repair, ToolCall
from tir_gym.core.interfaces import Done, RunStatus
from tir_gym.core.schema import SCHEMA, ActionData, EpisodeRecord, EpisodeState, RecordedRun, task_ref, verdict_of
from tir_gym.core.verify import Score
from tir_gym.drivers.env import ToolEnv
from tir_gym.rollout import record_of

TOYS = [env_id for env_id in ALL_IDS if env_id.startswith("toy/")]


@pytest.fixture(scope="module", params=TOYS)
def record(request):
    env = make(request.param, difficulty=2)
    play_oracle(env, 3)
    yield record_of(env, key="k", policy="oracle")
    env.close()


def test_a_record_goes_through_json_and_back(record):
    line = record.model_dump_json()
    assert "\n" not in line
    again = EpisodeRecord.model_validate_json(line)
    assert again.model_dump_json() == line
    assert again.state == record.state
    assert again.transcript == record.transcript
    assert again.calls == record.calls
    assert json.loads(line)["schema_id"] == SCHEMA == "tir_gym/episode/1"


def test_a_record_says_all_that_scoring_again_needs(record):
    data = json.loads(record.model_dump_json())
    assert data["options"] == {"difficulty": 2}
    assert data["state"]["task"].keys() >= {"set", "fingerprint", "id", "seed", "index", "split"}
    assert (data["outcome"], data["valid"], data["verdict"]["value"], data["total"]) == ("solved", True, 1.0, 1.0)
    assert data["reward_channels"] == ["base"]
    assert all(data[field] for field in ("version", "protocol", "transcript", "calls", "turns"))
    assert len(data["state"]["digest"]) == 32
    assert {span["part"] for entry in data["transcript"] for span in entry["spans"]} >= {"text", "call"}


def test_a_state_goes_through_json_and_back(record):
    again = EpisodeState.model_validate_json(record.state.model_dump_json())
    assert again == record.state
    assert hash(again.actions[0].raw) == hash(record.state.actions[0].raw)


def test_what_is_missing_is_null_in_json_and_nan_in_python():
    env = ToolEnv(make_setting(), None)
    env.reset(seed=0)
    unfinished = record_of(env)
    assert not unfinished.verdict.valid
    assert math.isnan(unfinished.verdict.value)
    env.step(Action(answer="x", raw="x"))
    line = record_of(env).model_dump_json()
    assert json.loads(line)["confidence"] is None
    assert math.isnan(EpisodeRecord.model_validate_json(line).confidence)
    assert "NaN" not in line + unfinished.model_dump_json()


@pytest.mark.parametrize("model", [EpisodeRecord, EpisodeState])
def test_unknown_fields_other_schemas_and_missing_fields_are_refused(record, model):
    data = json.loads((record if model is EpisodeRecord else record.state).model_dump_json())
    with pytest.raises(ValidationError, match="colour"):
        model.model_validate({**data, "colour": "red"})
    with pytest.raises(ValidationError, match="schema_id"):
        model.model_validate({**data, "schema_id": "tir_gym/episode/0"})
    state = data["state"] if model is EpisodeRecord else data
    del state["task"]["fingerprint"]
    with pytest.raises(ValidationError, match="fingerprint"):
        model.model_validate(data)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("transcript", 0, "source"), "nobody"),
        (("transcript", 0, "call"), 10_000),
        (("transcript", 0, "call"), -2),
        (("transcript",), []),
        (("state", "actions"), []),
        (("state", "actions", 0, "errors"), [["unheard_of", "", 0, 0]]),
        (("state", "actions", 0, "spans"), [["unheard_of", 0, 0]]),
        (("calls", 0, "status"), "unheard_of"),
        (("calls", 0, "error"), "unheard_of"),
        (("verdict", "value"), 1e308),
        (("verdict", "value"), None),
        (("turns",), -1),
    ],
)
def test_a_record_that_does_not_hang_together_is_refused(record, path, value):
    data = json.loads(record.model_dump_json())
    place = data
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    with pytest.raises(ValidationError):
        EpisodeRecord.model_validate_json(json.dumps(data))


def test_records_cannot_be_changed(record):
    with pytest.raises(ValidationError, match="frozen"):
        record.outcome = "failed"


short = st.text(max_size=5)
offsets = st.integers(0, 99)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | short,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(short, inner, max_size=2),
    max_leaves=5,
)
actions = st.builds(
    Action,
    thought=short,
    calls=st.lists(st.builds(ToolCall, short, st.dictionaries(short, json_values, max_size=2), short), max_size=2).map(
        tuple
    ),
    answer=st.none() | short,
    confidence=st.none() | st.floats(0, 1),
    message=st.none() | short,
    finish=st.none() | short,
    answer_origin=st.sampled_from(["text", "call"]),
    errors=st.lists(
        st.builds(ParseError, st.sampled_from(list(ParseErrorType)), short, offsets, offsets), max_size=2
    ).map(tuple),
    repairs=st.lists(st.builds(Repair, short, short), max_size=2).map(tuple),
    raw=short,
    spans=st.lists(st.builds(PartSpan, st.sampled_from(list(Part)), offsets, offsets), max_size=2).map(tuple),
)


@given(actions)
def test_every_action_comes_back_whole(action):
    again = ActionData.model_validate_json(ActionData.of(action).model_dump_json()).action()
    assert again == action
    assert [call.id for call in again.calls] == [call.id for call in action.calls]
    assert (again.raw, again.spans, again.repairs, again.answer_origin) == (
        action.raw,
        action.spans,
        action.repairs,
        action.answer_origin,
    )


@pytest.mark.parametrize("status", RunStatus)
def test_a_recorded_run_comes_back_without_what_was_measured(status):
    done = Done(9, status, "out", "err", "7", "E: e", "trace", state_lost=True)
    again = RecordedRun.model_validate_json(RecordedRun.of(4, done).model_dump_json())
    assert again.run == 4
    assert again.done() == Done(-1, status, "out", "err", "7", "E: e", "trace", state_lost=True)


def test_task_and_verdict_are_taken_from_the_episode():
    episode = started()
    assert task_ref(episode.setting.tasks, episode.task).model_dump() == {
        "set": "workshop",
        "fingerprint": "workshop-1",
        "id": "workshop/0",
        "seed": 0,
        "index": 0,
        "split": "train",
        "difficulty": 0,
        "family": "",
    }
    assert verdict_of(episode).reason == "not judged"
    take(episode, calls(raw="x", answer="nearly"))
    verdict = verdict_of(episode)
    assert (verdict.value, verdict.valid, verdict.reason) == (0.5, True, "'nearly' given")
    broken = started()
    (verify,) = broken.act(calls(raw="x", answer="x")).requests
    broken.feed(verify.id, Score(0.0, valid=False, reason="cannot tell"))
    assert (verdict_of(broken).valid, verdict_of(broken).reason) == (False, "cannot tell")
    assert math.isnan(verdict_of(broken).value)
