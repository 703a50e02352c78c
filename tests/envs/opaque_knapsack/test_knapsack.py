"""OpaqueKnapsack: what is hidden stays hidden, budgets hold, and the verdict is the share of the optimum."""

import itertools
import json
import random
import re
from collections import Counter

import pytest

import tir_gym
from tests.play import as_bytes, make, play_oracle, replay, text_of
from tir_gym.core.action import Action
from tir_gym.core.task import Gold
from tir_gym.core.verify import Answer, Evidence
from tir_gym.envs.opaque_knapsack.tasks import SIZES, best_choice, draw, make_tasks
from tir_gym.envs.opaque_knapsack.verify import KnapsackVerifier
from tir_gym.envs.opaque_knapsack.world import Inspection, Item, Shelf
from tir_gym.rollout.collect import play
from tir_gym.rollout.policies import Policy

ENV_ID = "tir/OpaqueKnapsack-v0"
ITEMS = {"AA2": Item(5, 10, "ruby"), "AA3": Item(5, 9, "ruby"), "AA4": Item(6, 8, "teal"), "AA5": Item(9, 20, "jade")}


@pytest.fixture(scope="module")
def env():
    env = make(ENV_ID, max_turns=50, difficulty=5)
    yield env
    env.close()


def inspect(env, *labels):
    observation, *_ = env.call("inspect", {"ids": list(labels)})
    return observation, env.episode.calls[-1]


def run(env, code):
    observation, *_ = env.call("python", {"code": code})
    return observation


def labels_of(env):
    return list(env.episode.task.data["items"])


# --- tasks -----------------------------------------------------------------------------------------------------------
def brute_force(items, capacity, at_most):
    best = (0, 0)
    for chosen in itertools.chain.from_iterable(itertools.combinations(items.values(), n) for n in range(len(items))):
        kinds = Counter(item.kind for item in chosen)
        if sum(item.weight for item in chosen) <= capacity and all(kinds[k] <= n for k, n in at_most.items()):
            best = max(best, (sum(item.value for item in chosen), -len(chosen)))
    return best


@pytest.mark.parametrize("seed", range(40))
def test_the_optimum_is_that_of_trying_everything(seed):
    rng = random.Random(seed)
    items = {f"AA{i}": Item(rng.randint(1, 20), rng.randint(1, 30), rng.choice("abcd")) for i in range(10)}
    capacity, at_most = rng.randint(0, 70), {"a": rng.randint(1, 2), "b": 1}
    value, chosen = best_choice(items, capacity, at_most)
    assert (value, -len(chosen)) == brute_force(items, capacity, at_most)
    assert sum(items[label].value for label in chosen) == value


@pytest.mark.parametrize("level", range(1, 11))
def test_a_shelf_is_of_its_levels_size_and_its_optimum_within_the_budget(level):
    size = next(size for size in SIZES if level in size.levels)
    for seed in range(30):
        task = draw(random.Random(seed), level)
        data = task.data
        chosen = task.gold.answer.split(", ")
        assert len(data["items"]) == size.items
        assert data["budget"] == size.items * 6 // 10 >= len(chosen)
        assert len(data["at_most"]) == size.limited
        assert len(set(data["at_most"].values()) & {1, 2}) == 1
        assert data["capacity"] == sum(item.weight for item in data["items"].values()) * 4 // 10
        assert all(1 <= item.weight <= 20 and 1 <= item.value <= 30 for item in data["items"].values())
        planned = [label for batch in task.gold.plan["inspect"] for label in batch]
        assert len(planned) == len(set(planned)) == data["budget"]
        assert set(chosen) <= set(planned) <= set(data["items"])
        assert max(map(len, task.gold.plan["inspect"])) <= data["per_turn"]


def test_both_limits_matter_in_most_tasks():
    weight = classes = 0
    for seed in range(200):
        task = make_tasks(None, "train", None).draw(seed)
        items, capacity, at_most = (task.data[key] for key in ("items", "capacity", "at_most"))
        weight += best_choice(items, 10_000, at_most)[0] > task.gold.data["optimum"]
        classes += best_choice(items, capacity, {})[0] > task.gold.data["optimum"]
    assert weight > 160
    assert classes > 100


@pytest.mark.parametrize("split", ["train", "validation", "test"])
def test_no_two_of_1000_prompts_and_no_two_answers_are_alike(split):
    tasks = [make_tasks(None, split, None).draw(seed) for seed in range(1_000)]
    assert len({task.content_hash for task in tasks}) == 1_000
    assert Counter(task.gold.answer for task in tasks).most_common(1)[0][1] == 1
    assert {task.difficulty for task in tasks} == set(range(1, 11))


def test_the_prompt_names_the_items_and_the_capacity_and_nothing_hidden(env):
    observation, _ = env.reset(seed=1)
    task = env.episode.task
    assert re.findall(r"\b[A-Z]{2}\d\b", task.prompt) == labels_of(env)
    assert f"at most {task.data['capacity']} " in task.prompt
    assert not {item.kind for item in task.data["items"].values()} & set(re.findall(r"\w+", observation))


def test_other_sources_are_refused():
    with pytest.raises(ValueError, match="generated tasks only"):
        make(ENV_ID, tasks="gsm8k:x")
    with pytest.raises(ValueError, match="interpreter='forgetful'"):
        make(ENV_ID, interpreter="forgetful")


# --- inspections -----------------------------------------------------------------------------------------------------
def test_an_inspection_reveals_its_items_the_rule_and_what_is_left(env):
    env.reset(seed=1)
    data, labels = env.episode.task.data, labels_of(env)
    observation, record = inspect(env, *labels[:3])
    shown = json.loads(observation[observation.index("{") : observation.rindex("}") + 1])
    assert shown["items"] == {
        label: {"weight": item.weight, "value": item.value, "class": item.kind}
        for label, item in list(data["items"].items())[:3]
    }
    assert shown["at_most"] == data["at_most"]
    assert (shown["inspections_left"], shown["left_this_turn"]) == (data["budget"] - 3, 1)
    assert record.facts == {"labels": labels[:3], "left": data["budget"] - 3}
    assert env.episode.world.seen == set(labels[:3])


@pytest.mark.parametrize(
    ("pick", "error", "words"),
    [
        (lambda labels: ["nothing"], "refused", "no item 'nothing'"),
        (lambda labels: [labels[0].lower()], "refused", "no item"),
        (lambda labels: [labels[0], labels[0]], "refused", "given twice"),
        (lambda labels: labels[:5], "budget", "4 of them this turn"),
        (lambda labels: [], "type_mismatch", "ids"),
    ],
)
def test_a_refusal_says_why_reveals_nothing_and_costs_nothing(env, pick, error, words):
    env.reset(seed=1)
    observation, record = inspect(env, *pick(labels_of(env)))
    assert words in observation
    assert record.error == error
    assert "weight" not in observation
    assert env.episode.world.inspections == ()


def test_the_limit_of_a_turn_holds_over_all_its_calls_and_is_new_in_the_next(env):
    env.reset(seed=1)
    labels = labels_of(env)
    call = '<call name="inspect"><arg name="ids" type="json">{}</arg></call>'
    env.step("\n".join(call.format(json.dumps(labels[i : i + 2])) for i in (0, 2, 4)))
    assert [record.error for record in env.episode.calls] == ["", "", "budget"]
    assert env.episode.world.left(1) == (8, 0)
    inspect(env, *labels[4:8])
    assert env.episode.world.inspections == (
        *(Inspection(1, tuple(labels[:2])), Inspection(1, tuple(labels[2:4])), Inspection(2, tuple(labels[4:8]))),
    )


def test_a_label_seen_before_counts_again_until_the_budget_is_spent(env):
    env.reset(seed=1)
    labels = labels_of(env)
    for left in (8, 4, 0):
        assert f'"inspections_left": {left}' in inspect(env, *labels[:4])[0]
    observation, record = inspect(env, labels[5])
    assert record.error == "budget"
    assert "the budget is spent" in observation
    assert env.episode.world.seen == set(labels[:4])


@pytest.mark.parametrize("interpreter", ["persistent", "stateless"])
def test_code_inspects_within_the_same_limits(interpreter):
    env = make(ENV_ID, interpreter=interpreter, difficulty=5)
    env.reset(seed=1)
    labels = labels_of(env)
    greedy = f"""
found = {{}}
for label in {labels!r}:
    try:
        found |= inspect([label])["items"]
    except ToolError as refusal:
        print("refused:", refusal)
        break
print(len(found), sorted(found) == {sorted(labels[:4])!r})
"""
    observation = run(env, greedy)
    assert "refused: budget" in observation
    assert "4 True" in observation
    assert env.episode.world.seen == set(labels[:4])
    assert [call.tool for call in env.episode.calls] == ["python", *["inspect"] * 5]
    kept = run(env, "len(found)")
    assert ("NameError" in kept) == (interpreter == "stateless")
    assert ("[defined so far" in kept) == (interpreter == "stateless")
    env.close()


def test_the_interpreter_knows_nothing_of_items_that_were_not_inspected(env):
    env.reset(seed=1)
    seen, *_, secret = labels_of(env)
    hunt = f"""
import gc
shown = inspect([{seen!r}])
def holders(*letters):
    needle = "".join(letters)
    return sum(needle in o for o in gc.get_objects() if isinstance(o, (dict, list, tuple, set)))
print(holders(*{list(seen)!r}) > 0, holders(*{list(secret)!r}))
"""
    assert "True 0" in run(env, hunt)


# --- the verdict -----------------------------------------------------------------------------------------------------
def judge(answer, seen=tuple(ITEMS), capacity=16, at_most=None, calls=()):
    shelf = Shelf(ITEMS, 10, 4)
    for label in seen:
        shelf.inspect(0, [label])
    task = make_tasks(None, "train", 1).draw(0)
    data = {"items": ITEMS, "capacity": capacity, "at_most": {"ruby": 1} if at_most is None else at_most}
    public = type(task)("t", "p", data=data)
    evidence = Evidence(public, None if answer is None else Answer(answer), calls, shelf, (), "answer")
    return KnapsackVerifier().score(evidence, Gold("AA2, AA5", None, {"optimum": 30}))


@pytest.mark.parametrize(
    ("answer", "value"), [("AA2, AA5", 30), ("AA5,AA2", 30), (" AA5 ", 20), ("AA2\n, AA4", 18), ("AA4", 8)]
)
def test_the_score_is_the_share_of_the_optimum(answer, value):
    score = judge(answer)
    assert score.value == value / 30
    assert score.evidence == {"value": value, "optimum": 30, "name_errors": 0}


@pytest.mark.parametrize(
    ("answer", "options", "reason"),
    [
        (None, {}, "no answer"),
        ("", {}, "no item is called ''"),
        ("AA2, AA5,", {}, "no item is called ''"),
        ("AA2 AA5", {}, "no item"),
        ("aa2", {}, "no item"),
        ("AA2, AA5.", {}, "no item"),
        ("the answer is AA2", {}, "no item"),
        ("AA2, AA2", {}, "twice"),
        ("AA2, AA3", {}, "class ruby"),
        ("AA2, AA4, AA5", {}, "weight of 20"),
        ("AA2, AA5", {"seen": ["AA2"]}, "AA5 was never inspected"),
        ("ZZ9", {}, "no item"),
    ],
)
def test_what_is_not_feasible_scores_nothing_and_says_why(answer, options, reason):
    score = judge(answer, **options)
    assert (score.value, score.valid) == (0.0, True)
    assert reason in score.reason
    assert score.evidence["value"] == 0


def test_a_class_that_is_not_limited_is_free():
    assert judge("AA2, AA3", at_most={"teal": 1}).value == 19 / 30
    assert judge("AA2, AA3", at_most={"ruby": 2}).value == 19 / 30


def test_the_right_answer_without_the_inspections_scores_nothing(env):
    env.reset(seed=1)
    *_, info = env.step(Action(answer=env.episode.task.gold.answer))
    assert info["answer"]["correct"] == 0.0
    assert "never inspected" in env.episode.score.reason


def test_the_inspections_and_a_worse_choice_score_a_share(env):
    env.reset(seed=1)
    label = labels_of(env)[0]
    inspect(env, label)
    _, reward, *_ = env.step(Action(answer=label))
    assert reward == env.episode.task.data["items"][label].value / env.episode.task.gold.data["optimum"]
    assert 0.0 < reward < 0.5


def test_the_verdict_counts_name_errors_and_is_not_moved_by_them(env):
    env.reset(seed=1)
    for code in ("lost", "1", "lost"):
        run(env, code)
    label = labels_of(env)[0]
    inspect(env, label)
    *_, info = env.step(Action(answer=label))
    assert env.episode.score.evidence["name_errors"] == 2
    assert info["answer"]["correct"] > 0.0


# --- policies --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("interpreter", ["persistent", "stateless"])
@pytest.mark.parametrize("level", range(1, 11))
def test_the_oracle_reaches_the_optimum_at_every_level(level, interpreter):
    env = make(ENV_ID, difficulty=level, interpreter=interpreter)
    for seed in range(10):
        play_oracle(env, seed)
        assert env.rewards[1] == 1.0
    env.close()


@pytest.mark.parametrize("protocol", ["xml", "openai", "python"])
def test_the_oracle_speaks_every_protocol(protocol):
    env = make(ENV_ID, protocol=protocol)
    for seed in range(5):
        texts = play_oracle(env, seed)
        assert env.rewards[1] == 1.0
        assert as_bytes(replay(env, seed, texts)) == as_bytes(replay(env, seed, texts))
    env.close()


class Lazy(Policy):
    """Inspects the first four items and takes them in order of value by weight."""

    def __init__(self, capacity):
        self._capacity = capacity

    def act(self, observation, info):
        if info["turn"] == 0:
            labels = re.findall(r"\b[A-Z]{2}\d\b", observation.rpartition("There are")[2])
            return [tir_gym.ToolCall("inspect", {"ids": labels[:4]})]
        shown = json.loads(observation[observation.index("{") : observation.rindex("}") + 1])
        items, room, chosen = shown["items"], self._capacity, []
        kinds = Counter(shown["at_most"])
        for label in sorted(items, key=lambda label: -items[label]["value"] / items[label]["weight"]):
            kind = items[label]["class"]
            if items[label]["weight"] <= room and (kind not in shown["at_most"] or kinds[kind] > 0):
                chosen.append(label)
                room -= items[label]["weight"]
                kinds[kind] -= 1
        return Action(answer=", ".join(chosen))


@pytest.mark.parametrize(("level", "most"), [(1, 0.65), (5, 0.45), (10, 0.35)])
def test_cheap_play_earns_a_small_share(level, most):
    env = make(ENV_ID, difficulty=level)
    total = 0.0
    for seed in range(60):
        play(env, lambda setting, task: Lazy(task.data["capacity"]), seed)
        total += env.rewards[1]
    assert 0.1 < total / 60 < most
    env.close()


# --- copies ----------------------------------------------------------------------------------------------------------
def test_forks_spend_their_own_budgets(env):
    env.reset(seed=1)
    labels = labels_of(env)
    inspect(env, *labels[:2])
    (twin,) = tir_gym.fork(env)
    inspect(env, *labels[2:6])
    inspect(twin, *labels[6:8])
    assert env.episode.world.seen == set(labels[:6])
    assert twin.episode.world.seen == {*labels[:2], *labels[6:8]}
    assert env.episode.world_diff == {"spent": [0, 6], "newly_seen": sorted(labels[:6])}
    twin.close()


def test_a_shelf_is_its_items_limits_and_inspections():
    shelf = Shelf(ITEMS, 6, 4)
    opening, digest = shelf.snapshot(), shelf.digest()
    assert shelf.take_writes() == b""
    shelf.inspect(1, ["AA2", "AA3"])
    twin = shelf.fork()
    assert shelf.take_writes() == twin.take_writes() == b'[[1,["AA2","AA3"]]]'
    assert shelf.take_writes() == b""
    assert (shelf.left(1), shelf.left(2)) == ((4, 2), (4, 4))
    with pytest.raises(ValueError, match="left in turn 1"):
        shelf.inspect(1, ["AA2", "AA3", "AA4"])
    again = shelf.snapshot()
    shelf.inspect(2, ["AA2", "AA3"])
    assert shelf.diff(again) == {"spent": [2, 4], "newly_seen": []}
    shelf.restore(opening)
    assert (shelf.digest(), shelf.diff(opening), shelf.take_writes()) == (digest, {}, b"")
    assert twin.seen == {"AA2", "AA3"}
    others = [Shelf(dict(list(ITEMS.items())[:3]), 6, 4), Shelf(ITEMS, 7, 4), Shelf(ITEMS, 6, 3), twin]
    assert len({digest, *(other.digest() for other in others)}) == 5


def test_the_first_observation_does_not_change_with_the_interpreter_but_for_the_tool(env):
    persistent, stateless = make(ENV_ID), make(ENV_ID, interpreter="stateless")
    first, second = text_of(persistent.reset(seed=1)[0]), text_of(stateless.reset(seed=1)[0])
    different = [pair for pair in zip(first.splitlines(), second.splitlines(), strict=True) if pair[0] != pair[1]]
    assert len(different) == 1
    assert "Variables stay" in different[0][0]
    assert "Nothing stays" in different[0][1]
    for made in (persistent, stateless):
        assert [tool.schema for tool in made.setting.domain.declared_tools("agent")] == made.tools
    persistent.close()
    stateless.close()
