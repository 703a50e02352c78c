"""What was tried by hand against rewards and graders, and what came of it: each attack fails."""

import json
import math
import random
import sys

import pytest

from tests.play import ALL_IDS, make, plain
from tests.rewards.views import answer, searched, view_of
from tir_gym.audit import Scene
from tir_gym.core.action import Action, ToolCall
from tir_gym.core.schema import EpisodeRecord
from tir_gym.core.transcript import CallErrorType
from tir_gym.core.view import GroupView
from tir_gym.envs.sql import match
from tir_gym.rewards import Product
from tir_gym.rewards.efficiency import Fathom, PixelReasoner
from tir_gym.rewards.format import SearchR1
from tir_gym.rollout import Rescorer, record_of
from tir_gym.rollout.collect import play
from tir_gym.rollout.policies import POLICIES
from tir_gym.rollout.rescore import RescoreError

ID = "toy/Archive-v0"
UNKNOWN = dict.fromkeys(range(20), CallErrorType.UNKNOWN_TOOL)


def calling(*calls):
    return Action(thought="I look.", calls=tuple(ToolCall(*call) for call in calls), raw="x")


# --- rewards for what did not happen ---
def test_calls_of_tools_that_do_not_exist_earn_no_bonus_for_searching():
    turn = calling(*(("search_urls", {"query": f"q{i}"}) for i in range(8)))
    pages = calling(*(("query_url", {"url": f"u{i}", "goal": f"g{i}"}) for i in range(12)))
    made, failed = (view_of([turn, pages, answer("?")], errors=errors) for errors in (None, UNKNOWN))
    assert Fathom().evaluate(made)["fathom"] == pytest.approx(0.1 + 0.2 + 0.2 * 12 / 16)
    assert Fathom().evaluate(failed)["fathom"] < 0.0


def test_calls_that_failed_satisfy_no_curiosity():
    group = GroupView("s", rollouts=4, correct=0, with_calls=0)
    made, failed = (searched("a", said="?", group=group, errors=errors) for errors in (None, UNKNOWN))
    assert PixelReasoner().evaluate(made)["pixelreasoner"] == pytest.approx(0.15)
    assert PixelReasoner().evaluate(failed)["pixelreasoner"] == 0.0


def test_every_number_printed_is_not_gold_found():
    said = {0: " ".join(map(str, range(1000)))}
    for kinds, earned in (({"search": "verification"}, 0.2), (None, 0.3)):
        view = searched("print(*range(1000))", said="?", gold="42")
        view = view_of([a.raw for a in view.actions], syntax="search_r1", gold="42", said=said, kinds=kinds)
        assert SearchR1().evaluate(view)["search_r1"] == pytest.approx(earned)


def test_two_faults_do_not_make_a_product():
    values = {"base": -1.0, "format": -1.0, "calls": 2.0}
    assert Product().total(values, {}) == -2.0
    assert Product().total(values | {"calls": -2.0}, {}) == -2.0
    assert Product().total(values | {"base": 0.0}, {}) == 0.0


# --- a grader kept busy ---
def test_wrong_numbers_in_many_columns_do_not_keep_the_grader_busy(monkeypatch):
    gold = [[(row * 31 + column * 17) % 97 / 7 for column in range(8)] for row in range(60)]
    found = [[cell + 0.5 for cell in row] for row in gold]
    compared = []
    whole = match._same_bag
    monkeypatch.setattr(match, "_same_bag", lambda *sides: bool(compared.append(sides)) or whole(*sides))
    assert match.differ(gold, found, ordered=False, permute=True) == "other rows"
    assert len(compared) <= 8 * 8 + 1  # each column with each; there are 8! orders of them
    assert match.differ(gold, [row[::-1] for row in gold], ordered=False, permute=True) == ""


def test_columns_that_hold_the_same_are_not_tried_in_every_order(monkeypatch):
    gold = [[(row + column) % 8 for column in range(8)] for row in range(8)]
    found = [[sorted(line[column] for line in gold)[row] for column in range(8)] for row in range(8)]
    compared = []
    whole = match._same_bag
    monkeypatch.setattr(match, "_same_bag", lambda *sides: bool(compared.append(sides)) or whole(*sides))
    assert match.differ(gold, found, ordered=False, permute=True) == "other rows"
    assert len(compared) <= 8 * 8 + 1 + 120


# --- a trajectory file that was tampered with ---
@pytest.fixture(scope="module")
def recorded():
    env = make(ID)
    play(env, POLICIES["oracle"], 2)
    record = json.loads(record_of(env).model_dump_json())
    env.close()
    return record


def program(*components, combine=None):
    terms = [{"$": "Term", "component": component} for component in components]
    return {"terms": terms, "combine": combine or {"$": "WeightedSum"}}


ITEM = {"$": "Item", "id": "x", "question": "?"}
TAMPERED = [
    ({"options": {"protocol": "os.system"}}, "no protocol is called"),
    ({"options": {"__class__": "os.system"}}, "takes no option"),
    ({"reward_program": program({"$": "os.system"})}, "knows no reward"),
    ({"reward_program": program({"$": "__import__", "name": "os"})}, "knows no reward"),
    ({"reward_program": program({"$": "SPEAR", "mode": "eval"})}, "mode='eval'"),
    ({"reward_program": program({"$": "Base"}, combine={"$": "Base"})}, "damaged"),
    ({"reward_program": program({"$": "Base"}, combine="abc")}, "damaged"),
    ({"reward_program": program({"$": "WeightedSum"})}, "does not fit"),
    (
        {"reward_program": program({"$": "Overlong", "count": "os.system"}), "reward_channels": ["overlong"]},
        "does not fit.*count='os.system' must be callable",
    ),
    (
        {
            "reward_program": program({"$": "Checklist", "items": [ITEM | {"rule": "__import__"}]}),
            "reward_channels": ["checklist"],
        },
        "no predicate '__import__'",
    ),
    ({"state": {"env_id": "antigravity:Foo-v0"}}, "no environment 'antigravity:Foo-v0'"),
    ({"state": {"task": {"id": "__import__('os')"}}}, "cannot be found"),
    ({"state": {"task": {"fingerprint": "x"}}}, "these are other tasks"),
]


def merged(data, change):
    return {
        **data,
        **{key: merged(data[key], new) if key in ("state", "task") else new for key, new in change.items()},
    }


@pytest.mark.parametrize(("change", "told"), TAMPERED)
def test_a_tampered_record_imports_nothing_runs_nothing_and_says_what_is_wrong(recorded, change, told):
    record = EpisodeRecord.model_validate_json(json.dumps(merged(recorded, change)))
    loaded = set(sys.modules)
    events: list[str] = []
    watch = [True]

    def hook(event, _):
        if watch and event in ("exec", "compile", "os.system", "subprocess.Popen", "socket.connect"):
            events.append(event)

    sys.addaudithook(hook)
    try:
        for way in ("__call__", "reward"):
            with Rescorer() as again, pytest.raises(RescoreError, match=told):
                getattr(again, way)(record)
    finally:
        watch.clear()
    assert {name for name in set(sys.modules) - loaded if not name.startswith("tir_gym")} == set()
    assert set(events) <= ({"exec", "compile"} if set(sys.modules) - loaded else set())


def test_a_tampered_item_that_cannot_be_evaluated_is_a_fault_and_no_number(recorded):
    item = ITEM | {"rule": "called", "parameters": [["tool", "search"], ["times", "x"]]}
    change = {"reward_program": program({"$": "Checklist", "items": [item]}), "reward_channels": ["checklist"]}
    record = EpisodeRecord.model_validate_json(json.dumps(merged(recorded, change)))
    with Rescorer() as again:
        for scored in (again(record), again.reward(record)):
            assert math.isnan(scored.total)
            assert scored.reward_faults["checklist"].startswith("TypeError")


@pytest.mark.parametrize("depth", [200_000])
def test_a_record_nested_without_end_is_refused_by_the_reader(recorded, depth):
    text = json.dumps({**recorded, "reward_program": {"terms": "DEEP"}}).replace('"DEEP"', "[" * depth + "]" * depth)
    with pytest.raises(ValueError, match="recursion"):
        EpisodeRecord.model_validate_json(text)


def test_nothing_of_the_record_but_the_answer_and_the_log_speaks_for_the_verdict(recorded):
    boast = {"outcome": "solved", "total": 1e9, "rewards": {"base": 1e9}, "answer": "no idea", "failure": "SOLVED"}
    record = EpisodeRecord.model_validate_json(json.dumps(recorded | boast))
    with Rescorer() as again:
        assert again(record).total == 0.0
        assert again(record, reverify=True).total == 1.0  # the turns say what was answered


# --- gold before the end ---
@pytest.mark.parametrize("env_id", ALL_IDS)
def test_neither_observation_nor_info_holds_gold_before_a_tool_is_asked_for_it(env_id):
    env = make(env_id)
    looked = False
    for seed in range(4):
        observation, info = env.reset(seed=seed)
        scene = Scene(env.setting, env.episode.task, random.Random(0))
        if len(scene.gold) < 3 or scene.gold in env.episode.task.prompt:
            continue
        looked = True
        nothing = scene.write(thought="?", calls=(ToolCall("reveal", {}),))
        for turn in ("", nothing, "<think>", "What is the answer?", nothing):
            told = {key: info[key] for key in info if key not in ("task", "seed", "state_digest")}
            assert json.dumps(scene.gold)[1:-1] not in json.dumps(plain([observation, told]))
            assert set(info["rewards"].values()) == {0.0}
            observation, _, _, _, info = env.step(turn)
    env.close()
    assert looked or env_id == "toy/Shapes-v0"
