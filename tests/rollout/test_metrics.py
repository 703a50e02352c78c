"""Metrics over records, on records whose counts are known."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.play import make
from tir_gym.rollout import metrics, record_of
from tir_gym.rollout.collect import play
from tir_gym.rollout.policies import POLICIES
from tir_gym.rollout.stats import pass_at_k
from tir_gym.scoring import calibration
from tir_gym.scoring.retrieval import call_alignment, complete_at, ndcg_at, recall_at

ID = "toy/Archive-v0"


@pytest.fixture(scope="module")
def records():
    """The oracle's two calls; two equal calls and a wrong answer that is sure; an unknown tool and a right answer."""
    env = make(ID)
    play(env, POLICIES["oracle"], 3)
    found = [record_of(env)]
    gold = env.episode.task.gold.answer
    call = found[0].state.actions[0].raw
    unknown = call.replace("search", "serch")
    for course in (
        [call, call, "<confidence>0.9</confidence><answer>1</answer>"],
        [unknown, f"<confidence>0.6</confidence><answer>{gold}</answer>"],
    ):
        env.reset(seed=3)
        for text in course:
            env.step(text)
        found.append(record_of(env))
    env.close()
    return found


def test_counts_of_calls(records):
    assert metrics.tool_productivity(records) == pytest.approx(2 / 5)
    assert metrics.redundant_call_rate(records) == pytest.approx(1 / 5)
    assert metrics.error_recovery_rate(records) == 1.0
    assert metrics.missing_call_rate([(records[0], ["search"] * 3), (records[2], ["search"])]) == pytest.approx(2 / 4)
    for function in (metrics.tool_productivity, metrics.redundant_call_rate, metrics.error_recovery_rate):
        assert math.isnan(function([]))


def test_invalid_episodes_are_left_out(records):
    broken = records[1].model_copy(update={"valid": False})
    assert metrics.judged([broken]) == []
    assert metrics.tool_productivity([records[0], broken]) == 0.5


def test_mcp_radars_five(records):
    five = metrics.mcp_radar(records)
    assert five["result_accuracy"] == pytest.approx(2 / 3)
    assert five["call_accuracy"] == five["first_error"] == pytest.approx(2 / 3)
    assert all(0 <= value <= 1 for value in five.values())
    assert metrics.mcp_radar(records, tokens=lambda record: 5.0)["resources"] == 1.0
    assert all(math.isnan(value) for value in metrics.mcp_radar([]).values())


def test_calibration_by_what_was_used(records):
    report = metrics.calibration_report(records)
    assert report["all"]["n"] == 3
    assert report["all"]["stated"] == pytest.approx(2 / 3)
    assert report["evidence"]["mcip"] == 0.9
    assert set(report) == {"all", "evidence", "other"}
    assert report["other"]["brier"] == pytest.approx(0.16)


def test_gtas_four():
    gold = [
        {"tool": "OCR", "arguments": {"image": 1}},
        {"tool": "Calculator", "arguments": {"e": "1"}},
        {"answer": "2"},
    ]
    said = [{"tool": "OCR", "arguments": {"image": 2}}, {"tool": "Plot", "arguments": {"e": "1"}}, {"answer": "2"}]
    four = metrics.gta_steps(said, gold, lambda answer, wanted: float(answer == wanted))
    assert four == {"instruction": 1.0, "tool": 0.5, "argument": 0.0, "summary": 1.0}
    with pytest.raises(ValueError, match="2 steps stand against 3"):
        metrics.gta_steps(said[:2], gold, lambda *_: 0.0)


@given(st.integers(1, 12), st.data())
def test_all_k_is_at_most_any_k(n, data):
    correct, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    assert 0 <= metrics.pass_hat_k(n, correct, k) <= pass_at_k(n, correct, k) + 1e-12 <= 1 + 1e-9
    assert metrics.pass_hat_k(n, correct, 1) == pytest.approx(pass_at_k(n, correct, 1))


def test_undefined_k_is_refused():
    with pytest.raises(ValueError, match=r"pass\^3 of 2"):
        metrics.pass_hat_k(2, 1, 3)


@given(st.lists(st.tuples(st.integers(0, 1), st.integers(0, 5)), min_size=2, max_size=30), st.randoms())
def test_an_interval_holds_the_mean_of_clusters_and_ignores_order(pairs, rng):
    def interval(those):
        return metrics.cluster_bootstrap([float(v) for v, _ in those], [c for _, c in those], draws=200)

    low, high = interval(pairs)
    mixed = list(pairs)
    rng.shuffle(mixed)
    assert repr(interval(mixed)) == repr((low, high))
    if len({cluster for _, cluster in pairs}) < 2:
        assert math.isnan(low)
    else:
        assert 0 <= low <= high <= 1


def test_rollouts_of_a_task_are_no_independent_evidence():
    values, tasks = [1.0, 0.0] * 50, list(range(100))
    apart = metrics.cluster_bootstrap(values, tasks)
    together = metrics.cluster_bootstrap(values, [n % 2 + 2 * (n // 20) for n in tasks])
    assert together[1] - together[0] > 2 * (apart[1] - apart[0])


# --- calibration and ranking ------------------------------------------------------------------------------------------
@given(st.lists(st.tuples(st.integers(0, 20).map(lambda n: n / 20), st.integers(0, 1)), min_size=1, max_size=20))
def test_auroc_is_the_share_of_pairs_in_order(pairs):
    c, y = [p[0] for p in pairs], [p[1] for p in pairs]
    right, wrong = ([conf for conf, hit in pairs if hit == side] for side in (1, 0))
    scored = [(a > b) + (a == b) / 2 for a in right for b in wrong]
    got = calibration.auroc(c, y)
    assert math.isnan(got) if not scored else got == pytest.approx(sum(scored) / len(scored))
    assert 0 <= calibration.ece(c, y) <= 1
    assert 0 <= calibration.brier(c, y) <= 1


def test_calibration_needs_confidences():
    for c, y in (([1.5], [1]), ([math.nan], [1]), ([0.5], [1, 0])):
        with pytest.raises(ValueError, match="confidences"):
            calibration.brier(c, y)
    assert math.isnan(calibration.ece([], []))
    assert math.isnan(calibration.mcip([1.0], [1]))


def test_ranking():
    assert recall_at("ab", "acb", 3) == complete_at("ab", "acb", 3) == 1.0
    assert complete_at("ab", "acb", 2) == 0.0
    assert ndcg_at("ab", "aab", 3) < 1.0
    assert ndcg_at("", "abc", 3) == recall_at("", "abc", 3) == 1.0
    assert math.isnan(call_alignment(0, 0, 1, 1))
