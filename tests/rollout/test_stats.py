"""Statistics against values worked out by other means: by hand, by enumeration, by simulation."""

import itertools
import math
import random
import statistics

import pytest

from tests.play import make
from tir_gym.rollout import collect, record_of
from tir_gym.rollout.stats import GROUPS, Z95, normal, pass_at_k, summarise, wilson


@pytest.fixture(scope="module")
def record():
    env = make("tir/MathCode-v0")
    (played,) = collect(env, "oracle", [0])
    env.close()
    return played


def scored(record, value, *, task="t0", policy="p", valid=True, outcome=None, difficulty=1):
    """The record with another verdict, task and policy."""
    ref = record.state.task.model_copy(update={"id": task, "difficulty": difficulty})
    verdict = record.verdict.model_copy(update={"value": value, "valid": valid})
    return record.model_copy(
        update={
            "verdict": verdict,
            "valid": valid,
            "policy": policy,
            "outcome": outcome or ("solved" if value == 1.0 else "failed"),
            "state": record.state.model_copy(update={"task": ref}),
        }
    )


# --- intervals -------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [(0, 10, 0.0, 0.2775), (10, 10, 0.7225, 1.0), (81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605)],
)
def test_wilson_gives_published_values(successes, n, low, high):
    # 81/263 and 15/148: Newcombe, "Two-sided confidence intervals for the single proportion" (1998), method 3
    assert wilson(successes, n) == pytest.approx((low, high), abs=6e-5)


def test_wilson_solves_its_equation():
    for n in (1, 7, 50):
        for successes in range(n + 1):
            p = successes / n
            for bound in wilson(successes, n):
                if 1e-6 < bound < 1 - 1e-6:
                    assert abs(p - bound) == pytest.approx(Z95 * math.sqrt(bound * (1 - bound) / n), abs=1e-9)


def test_normal_is_mean_and_standard_error():
    scores = [0.0, 0.5, 1.0, 0.75, 0.25]
    half = 1.96 * statistics.stdev(scores) / math.sqrt(5)
    assert normal(scores) == pytest.approx((0.5 - half, 0.5 + half), abs=1e-4)
    assert normal([0.9, 1.0, 1.0])[1] == 1.0
    assert all(map(math.isnan, normal([0.5])))
    assert all(map(math.isnan, wilson(0, 0)))


# --- pass@k ----------------------------------------------------------------------------------------------------------
def test_pass_at_k_is_the_share_of_draws_with_a_correct_one():
    for n in range(1, 7):
        for correct in range(n + 1):
            for k in range(1, n + 1):
                draws = list(itertools.combinations(range(n), k))
                share = sum(min(draw) < correct for draw in draws) / len(draws)
                assert pass_at_k(n, correct, k) == pytest.approx(share)


def test_pass_at_k_is_unbiased():
    rng = random.Random(0)
    p, n, k = 0.3, 5, 2
    mean = statistics.fmean(pass_at_k(n, sum(rng.random() < p for _ in range(n)), k) for _ in range(20_000))
    assert mean == pytest.approx(1 - (1 - p) ** k, abs=0.01)


@pytest.mark.parametrize(("n", "correct", "k"), [(3, 4, 1), (3, 1, 4), (3, 1, 0), (3, -1, 1)])
def test_pass_at_k_refuses_what_is_not_defined(n, correct, k):
    with pytest.raises(ValueError, match="not defined"):
        pass_at_k(n, correct, k)


def test_pass_at_goes_as_far_as_every_task_has_rollouts(record):
    values = {"a": [1, 0, 0, 0], "b": [0, 0, 0], "c": [1, 1, 1, 1]}
    records = [scored(record, float(v), task=task) for task, vs in values.items() for v in vs]
    (summary,) = summarise(records)
    assert summary.tasks == 3
    assert summary.pass_at == pytest.approx({1: (1 / 4 + 0 + 1) / 3, 2: (1 / 2 + 0 + 1) / 3})
    (once,) = summarise([*records, scored(record, 1.0, task="d")])
    assert once.pass_at == {}


def test_policies_do_not_share_a_task_in_pass_at_k(record):
    (summary,) = summarise(scored(record, float(p == "good"), policy=p) for p in ("good", "bad") for _ in range(2))
    assert summary.tasks == 2
    assert summary.pass_at == {1: 0.5, 2: 0.5}


# --- summaries -------------------------------------------------------------------------------------------------------
def test_invalid_and_unfinished_episodes_enter_no_mean(record):
    bad = scored(record, math.nan, valid=False, outcome="env_error")
    cut = scored(record, math.nan, valid=False, outcome="failed").model_copy(update={"outcome": ""})
    (summary,) = summarise([scored(record, 1.0), scored(record, 0.0), bad, cut])
    assert (summary.episodes, summary.valid, summary.invalid, summary.score) == (4, 2, 0.5, 0.5)
    assert summary.outcomes == {"solved": 1, "failed": 1, "env_error": 1, "unfinished": 1}
    assert summary.turns == record.turns
    assert summary.interval == wilson(1, 2)


def test_graded_scores_have_a_normal_interval(record):
    (summary,) = summarise(scored(record, value) for value in (0.25, 0.5, 1.0))
    assert summary.interval == pytest.approx(normal([0.25, 0.5, 1.0]))


def test_nothing_valid_has_no_mean(record):
    (summary,) = summarise([scored(record, math.nan, valid=False, outcome="judge_error")])
    assert math.isnan(summary.score)
    assert math.isnan(summary.calls)
    assert summary.invalid == 1.0
    assert summarise([]) == []


def test_groups_are_apart_and_in_order(record):
    records = [scored(record, 1.0, policy=p, difficulty=d) for p in ("b", "a") for d in (10, 9)]
    found = [summary.group for summary in summarise(records, ["policy", "difficulty"])]
    assert found == [{"policy": p, "difficulty": d} for p in ("a", "b") for d in ("9", "10")]
    with pytest.raises(KeyError, match="colour"):
        summarise(records, ["colour"])
    assert all(len(summarise(records, [name])) >= 1 for name in GROUPS)


def test_counts_come_from_the_call_log_and_the_actions():
    env = make("tir/MathCode-v0")
    env.reset(seed=0)
    code = '<call name="python"><arg name="code">print(1)</arg></call>'
    for text in (code, code, '<call name="nothing"></call>', "rubbish", "<answer>1</answer>"):
        env.step(text)
    (summary,) = summarise([record_of(env)])
    live = env.episode.tally
    env.close()
    assert summary.call_errors == {"unknown_tool": 1}
    assert (summary.duplicates, summary.calls, summary.turns) == (1, 3, live.turns)
    assert (summary.format_errors, summary.repairs) == (live.format_errors, live.repairs)
    assert summary.format_errors > 0
