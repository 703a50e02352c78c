"""Rewards for wanted calls on public data: from the row through a played episode and its file to the number."""

import ast
import gzip
import json
import re
from dataclasses import replace

import pytest

from tests.play import make
from tests.rewards.backends import Bench, Rows
from tir_gym.core.action import ToolCall
from tir_gym.core.schema import EpisodeRecord
from tir_gym.core.task import Gold, Task
from tir_gym.drivers.env import ToolEnv
from tir_gym.rewards import Base, RewardProgram
from tir_gym.rewards.calls import BFCL, FTRL, FTRLTurns, MatchTIR, PlanF1, Tau2Actions, TLTraining, ToolRLCorrectness
from tir_gym.rewards.format import ToolRLFormat
from tir_gym.rollout import record_of, reward
from tir_gym.rollout.collect import play
from tir_gym.rollout.policies import POLICIES
from tir_gym.scoring.tool_calls import bfcl_check

ALL = pytest.param(1, marks=pytest.mark.soak, id="all")
"""Every row instead of some."""
MATCHING = (ToolRLCorrectness(), ToolRLFormat(), MatchTIR(), TLTraining(), PlanF1(), Tau2Actions())


# --- ToolRL -----------------------------------------------------------------------------------------------------------
def toolrl_tasks(path):
    tasks = []
    for number, row in enumerate(json.loads(path.read_text())):
        found = re.findall(r"Name: (\w+)\n.*?\nParameters: (\{.*?\})\n", row["system"], re.DOTALL)
        functions = {name: list(ast.literal_eval(parameters)) for name, parameters in found}
        for call in row["answer"]:  # one row's answer has an argument that its tool does not
            functions[call["name"]] = [*{**dict.fromkeys(functions[call["name"]]), **call["parameters"]}]
        calls = [{"name": call["name"], "arguments": call["parameters"]} for call in row["answer"]]
        tasks.append(Task(str(number), row["user"], data={"functions": functions}, gold=Gold(data={"calls": calls})))
    return tasks


def toolrl_turn(calls):
    lines = "\n".join(json.dumps({"name": name, "parameters": arguments}) for name, arguments in calls)
    return f"<think>They ask for it.</think>\n<tool_call>\n{lines}\n</tool_call>"


@pytest.mark.parametrize("every", [10, ALL])
def test_toolrls_rows_earn_what_its_formula_says(shared_data, every):
    tasks = toolrl_tasks(shared_data / "toolrl" / "api_bank_level1_first100.json")
    bench = Bench("toolrl", tasks, RewardProgram((Base(), *MATCHING)), "toolrl")
    for task in tasks[::every]:
        (gold,) = task.gold.data["calls"]
        name, arguments, n = gold["name"], gold["arguments"], len(gold["arguments"])
        right = bench.play(task.id, toolrl_turn([(name, arguments)])).rewards
        assert (right["calls.toolrl"], right["format.toolrl"]) == (3.0, 1.0)
        assert (
            right["calls.matchtir"] == right["calls.tl_training"] == right["calls.tau2"] == right["plan.tool_f1"] == 1.0
        )
        twice = bench.play(task.id, toolrl_turn([(name, arguments)] * 2)).rewards
        assert twice["calls.toolrl"] == pytest.approx(6 * (0.5 + 1 + n) / (2 + n) - 3)
        assert twice["calls.matchtir"] == pytest.approx(0.5)
        if n:
            first, *_ = arguments
            other = bench.play(task.id, toolrl_turn([(name, {**arguments, first: "something else"})])).rewards
            assert other["calls.toolrl"] == pytest.approx(6 * (1 + 1 + n - 1) / (2 + n) - 3)
            assert other["calls.matchtir"] == pytest.approx((1 + 1 + n - 1) / (2 + n))
            assert (other["calls.tl_training"], other["calls.tau2"]) == (-0.25, 0.0)
            less = bench.play(
                task.id, toolrl_turn([(name, {k: v for k, v in arguments.items() if k != first})])
            ).rewards
            assert less["calls.toolrl"] == pytest.approx(6 * (1 + (n - 1) / n + n - 1) / (2 + n) - 3)
            assert (less["calls.tl_training"], less["plan.argument_name_f1"] < 1) == (-0.5, True)
            more = bench.play(task.id, toolrl_turn([(name, {**arguments, "colour": 1})])).rewards
            assert more["calls.tl_training"] == -0.8
        unknown = bench.play(task.id, toolrl_turn([("Nothing", arguments)])).rewards
        assert (unknown["calls.toolrl"], unknown["calls.tl_training"], unknown["calls.matchtir"]) == (-3.0, -2.0, 0.0)
        broken = bench.play(task.id, "<think>Hm.</think>\n<tool_call>\n{name}\n</tool_call>").rewards
        assert (broken["calls.toolrl"], broken["format.toolrl"]) == (-3.0, 0.0)
    bench.close()


# --- BFCL -------------------------------------------------------------------------------------------------------------
def bfcl_tasks(folder, kind):
    def rows(name):
        return [json.loads(line) for line in (folder / name).read_text().splitlines() if line.strip()]

    questions, answers = (rows(f"BFCL_v4_{kind}{part}.first100.json") for part in ("", ".answers"))
    tasks = []
    for question, answer in zip(questions, answers, strict=True):
        assert question["id"] == answer["id"]
        schemas = {f["name"]: f["parameters"] for f in question["function"]}
        wanted = [
            {"name": name, "allowed": allowed} for call in answer["ground_truth"] for name, allowed in call.items()
        ]
        functions = {name: list(schema["properties"]) for name, schema in schemas.items()}
        gold = Gold(data={"bfcl": wanted, "functions": schemas})
        tasks.append(
            Task(question["id"], question["question"][0][0]["content"], data={"functions": functions}, gold=gold)
        )
    return tasks


def first_allowed(values):
    """The first value that BFCL accepts; of an object, its first values in turn; of an array, likewise."""
    value = next(value for value in values if value != "")
    if isinstance(value, dict):
        return {name: first_allowed(inner) for name, inner in value.items() if set(map(str, inner)) != {""}}
    if isinstance(value, list):
        return [first_allowed([item]) if isinstance(item, dict) else item for item in value]
    return value


def accepted(wanted, schemas):
    """Calls that BFCL accepts, without what they can do without."""
    calls = []
    for call in wanted:
        required = schemas[call["name"]]["required"]
        needed = {name: values for name, values in call["allowed"].items() if "" not in values or name in required}
        calls.append((call["name"], {name: first_allowed(values) for name, values in needed.items()}))
    return calls


def hermes_turn(calls):
    return "\n".join(
        f"<tool_call>{json.dumps({'name': name, 'arguments': arguments})}</tool_call>" for name, arguments in calls
    )


@pytest.mark.parametrize("every", [10, ALL])
@pytest.mark.parametrize("kind", ["simple_python", "multiple", "parallel"])
def test_bfcls_rows_accept_their_answers_and_nothing_else(shared_data, kind, every):
    tasks = bfcl_tasks(shared_data / "bfcl", kind)
    bench = Bench(f"bfcl/{kind}", tasks, RewardProgram((Base(), BFCL())), "hermes")
    for task in tasks[::every]:
        wanted, schemas = task.gold.data["bfcl"], task.gold.data["functions"]
        gold = [(call["name"], call["allowed"]) for call in wanted]
        right = accepted(wanted, schemas)
        name, arguments = right[0]
        required = schemas[name]["required"][0]
        wrong = {
            "wrong_count": right[1:],
            "wrong_func_name": [("nothing", arguments), *right[1:]],
            "missing_required": [(name, {k: v for k, v in arguments.items() if k != required}), *right[1:]],
            "unexpected_param": [(name, {**arguments, "colour": 1}), *right[1:]],
            "type_error:simple": [(name, {**arguments, required: None}), *right[1:]],
        }
        for good in (right, right[::-1]):
            assert bench.play(task.id, hermes_turn(good)).rewards["calls.bfcl"] == 1.0, task.id
        for code, calls in wrong.items():
            fault = bfcl_check([ToolCall(*call) for call in calls], gold, schemas)
            assert fault.endswith(code if len(gold) == 1 or code == "wrong_count" else "cannot_find_match"), task.id
            if calls:
                assert bench.play(task.id, hermes_turn(calls)).rewards["calls.bfcl"] == 0.0, task.id
    bench.close()


# --- tau2-bench -------------------------------------------------------------------------------------------------------
def tau2_cases(folder, domain):
    """Tasks of tau2-bench, and for each the action lists that its own evaluator judged, with the verdicts."""
    told = {row["id"]: row for row in json.loads((folder / "tau2" / domain / "tasks.json").read_text())}
    judged = json.loads(gzip.decompress((folder / "tau2_parity" / f"parity_{domain}.json.gz").read_bytes()))["tasks"]
    functions, tasks, cases = {}, [], []
    for row in judged:
        actions = told[row["task_id"]]["evaluation_criteria"].get("actions") or []
        calls = [{"name": action["name"], "arguments": action["arguments"]} for action in actions]
        variants = [v for v in row["variants"] if v.get("action_checks")]
        for call in [*calls, *(action for variant in variants for action in variant["actions"])]:
            functions.setdefault(call["name"], set()).update(call["arguments"])
        data = {"calls": calls, "compare": [action.get("compare_args") for action in actions]}
        tasks.append(Task(row["task_id"], "?", gold=Gold(data=data)))
        cases += [(row["task_id"], variant) for variant in variants]
    known = {name: sorted(parameters) for name, parameters in functions.items()}
    return [replace(task, data={"functions": known}) for task in tasks], cases


@pytest.mark.parametrize(("domain", "every"), [("mock", 3), ("airline", 9), ("retail", 40)])
def test_actions_are_judged_as_tau2s_own_evaluator_judges_them(shared_data, domain, every):
    tasks, cases = tau2_cases(shared_data, domain)
    bench = Bench(f"tau2/{domain}", tasks, RewardProgram((Base(), Tau2Actions())), "hermes")
    verdicts = []
    for task_id, variant in cases[::every]:
        made = [ToolCall(action["name"], action["arguments"]) for action in variant["actions"]]
        record = bench.play(task_id, made) if made else bench.play(task_id, "")
        verdicts.append(float(all(variant["action_checks"])))
        assert record.rewards["calls.tau2"] == verdicts[-1], (task_id, variant["variant"])
    assert len(verdicts) > 20
    assert 0 < sum(verdicts) < len(verdicts)
    bench.close()


# --- FTRL -------------------------------------------------------------------------------------------------------------
def test_hidden_sub_answers_are_found_in_what_the_tools_really_said():
    plain = make("toy/Archive-v0", rewards=RewardProgram((Base(), FTRL(), FTRLTurns())))
    task = plain.setting.tasks.task(0, 0)
    town = task.data["cards"][task.gold.plan].removeprefix("born in ")
    hidden = {"sub_answers": {"search": [town, str(task.gold.answer)]}}
    rows = Rows("archive", [replace(task, gold=replace(task.gold, data=hidden))])
    env = ToolEnv(replace(plain.setting, tasks=rows), None)
    for policy, f1, turns in (("oracle", 1.0, 3.0), ("null", 0.0, -0.5 * 8)):
        play(env, POLICIES[policy], 3)
        record = record_of(env)
        assert record.rewards["calls.ftrl"] == f1
        loaded = EpisodeRecord.model_validate_json(record.model_dump_json())
        assert reward(loaded, setting=env.setting).model_dump_json() == record.model_dump_json()
        assert record.rewards["calls.ftrl_turns"] == turns
    env.close()
