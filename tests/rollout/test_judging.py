"""Items that a model judges: verdicts are written into the record, and a judge that fails leaves the item invalid."""

import json
import math

import pytest

from tests.play import make
from tests.rollout.model_server import ModelServer
from tir_gym.core.schema import EpisodeRecord
from tir_gym.rewards import Base, RewardProgram, Term
from tir_gym.rewards.checklist import Checklist, Item
from tir_gym.rollout import record_of, reward
from tir_gym.rollout.collect import play
from tir_gym.rollout.endpoint import Endpoint
from tir_gym.rollout.judging import MOST_SHOWN, ModelJudge, course_of, judge_items
from tir_gym.rollout.policies import POLICIES

ID = "toy/Archive-v0"
ITEMS = (
    Item("looked", "?", "called", (("tool", "search"),)),
    Item("polite", "Was it polite?", pass_condition="No rude word", weight=3.0),
)
PROGRAM = RewardProgram((Term(Base(), 0.0), Checklist(ITEMS)))


@pytest.fixture(scope="module")
def record():
    env = make(ID, rewards=PROGRAM)
    play(env, POLICIES["oracle"], 3)
    made = record_of(env)
    env.close()
    return made


def test_a_judged_item_is_invalid_until_it_is_judged_and_then_a_number_anywhere(record):
    assert math.isnan(record.rewards["checklist"])
    (yes,) = judge_items([record], lambda prompt: '{"pass": true}', items=ITEMS)
    (no,) = judge_items([record], lambda prompt: '{"pass": false}', items=ITEMS)
    loaded = EpisodeRecord.model_validate_json(yes.model_dump_json())
    assert loaded.judgements == {"polite": True}
    assert reward(loaded).rewards["checklist"] == 1.0
    assert reward(no).rewards["checklist"] == 0.25


@pytest.mark.parametrize(
    "said", ["", "PASS", '{"pass": 1}', '{"pass": true, "why": ""}', "[true]", '{"pass": true} ok']
)
def test_what_is_no_verdict_is_none(record, said):
    (judged,) = judge_items([record], lambda prompt: said, items=ITEMS)
    assert judged.judgements == {}
    assert math.isnan(reward(judged).rewards["checklist"])


def test_a_judge_that_raises_is_no_verdict(record):
    def broken(prompt):
        raise TimeoutError("too late")

    assert judge_items([record], broken, items=ITEMS) == [record]


def test_a_judge_sees_what_the_policy_did_and_nothing_that_others_said(record):
    asked = []
    judge_items([record], lambda prompt: asked.append(prompt) or '{"pass": true}', items=ITEMS)
    (prompt,) = asked
    assert "Was it polite?" in prompt
    assert "No rude word" in prompt
    shown = json.dumps(course_of(record))
    results = [entry.text for entry in record.transcript if entry.source == "tool"]
    assert results
    assert not any(json.dumps(text)[1:-1] in shown for text in results)


def test_a_model_is_asked_over_http(record):
    with ModelServer(lambda request: {"role": "assistant", "content": '{"pass": true}'}) as server:
        judge = ModelJudge(Endpoint(server.url, "judge", timeout_s=30.0))
        (judged,) = judge_items([record], judge, items=ITEMS)
    assert judged.judgements == {"polite": True}
    (request,) = server.requests
    assert (request["temperature"], request["model"]) == (0.0, "judge")


@pytest.mark.parametrize(
    "fault", ["400", "429", "500", "reset", "html", "silent", "cut", "garbage", "error event", "slow body", "endless"]
)
def test_a_judge_that_fails_hangs_or_never_ends_leaves_the_item_invalid_and_not_false(record, fault):
    with ModelServer(lambda request: {"role": "assistant", "content": '{"pass": true}'}, faults=[fault]) as server:
        judge = ModelJudge(Endpoint(server.url, "judge", timeout_s=5.0, deadline_s=0.5), retries=0)
        assert judge_items([record], judge, items=ITEMS) == [record]
    assert len(server.requests) <= 1
    assert math.isnan(reward(record).rewards["checklist"])


def test_a_fault_that_passes_is_asked_again(record):
    with ModelServer(lambda request: {"role": "assistant", "content": '{"pass": false}'}, faults=["500"]) as server:
        judge = ModelJudge(Endpoint(server.url, "judge", timeout_s=30.0, deadline_s=60.0), retries=1)
        (judged,) = judge_items([record], judge, items=ITEMS)
    assert judged.judgements == {"polite": False}
    assert reward(judged).rewards["checklist"] == 0.25


def test_one_item_that_fails_does_not_take_the_others_with_it(record):
    """The model gives a verdict on the one question and none on the other."""
    items = (*ITEMS, Item("short", "Was it short?"))

    def model(request):
        (message,) = request["messages"]
        polite = "Was it polite?" in message["content"]
        return {"role": "assistant", "content": '{"pass": true}' if polite else "I would not know."}

    with ModelServer(model) as server:
        judge = ModelJudge(Endpoint(server.url, "judge", timeout_s=30.0))
        (judged,) = judge_items([record], judge, items=items)
    assert judged.judgements == {"polite": True}
    assert len(server.requests) == 2


def test_a_policy_cannot_write_so_much_that_its_judge_fails():
    env = make(ID)
    env.reset(seed=3)
    env.step(f"<think>{'rude ' * 39_000}</think>")
    env.step("<think>end</think><answer>?</answer>")
    asked = []
    judge_items([record_of(env)], lambda prompt: asked.append(prompt) or "{}", items=ITEMS)
    env.close()
    assert len(asked[0]) < MOST_SHOWN + 2_000
    assert "characters left out" in asked[0]
    assert "end</think>" in asked[0]
