"""Measures of a policy over many episodes, from their records: counts come from the call log.

Episodes without a verdict are left out. Calls are those of tools that are not for control, by policies.
"""

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from tir_gym.core.schema import EpisodeRecord
from tir_gym.rewards.groups import policy_calls
from tir_gym.rewards.labels import smart_rates
from tir_gym.scoring import calibration


def judged(records: Iterable[EpisodeRecord]) -> list[EpisodeRecord]:
    """The episodes that have a verdict."""
    return [record for record in records if record.valid and record.verdict.valid]


def correct(record: EpisodeRecord) -> bool:
    """Whether the score is 1."""
    return record.verdict.value >= 1.0


def pass_hat_k(n: int, correct: int, k: int) -> float:
    """pass^k: chance that k rollouts drawn from n without putting back are all correct, C(c, k) / C(n, k).

    Source: tau-bench. Raises `ValueError` unless 1 <= k <= n and 0 <= correct <= n.
    """
    if not (1 <= k <= n and 0 <= correct <= n):
        raise ValueError(f"pass^{k} of {n} rollouts, {correct} of them correct, is not defined")
    return math.comb(correct, k) / math.comb(n, k)


def tool_productivity(records: Iterable[EpisodeRecord]) -> float:
    """Correct episodes for each call: OTC's metric. nan without a call."""
    kept = judged(records)
    calls = sum(len(policy_calls(record)) for record in kept)
    return sum(map(correct, kept)) / calls if calls else math.nan


def redundant_call_rate(records: Iterable[EpisodeRecord]) -> float:
    """Share of calls whose tool and arguments were called before in the episode, in [0, 1]; nan without a call."""
    logs = [policy_calls(record) for record in judged(records)]
    calls = sum(map(len, logs))
    return 1 - sum(len({call.key for call in log}) for log in logs) / calls if calls else math.nan


def missing_call_rate(pairs: Iterable[tuple[EpisodeRecord, Sequence[str]]]) -> float:
    """Share of wanted calls (names of tools, as often as wanted) that were not made, in [0, 1]; nan without one."""
    wanted = missing = 0
    for record, names in pairs:
        left = [call.tool for call in policy_calls(record)]
        for name in names:
            wanted += 1
            if name in left:
                left.remove(name)
            else:
                missing += 1
    return missing / wanted if wanted else math.nan


def error_recovery_rate(records: Iterable[EpisodeRecord]) -> float:
    """Of the episodes with a failed call, the share that is correct, in [0, 1] (Fission-GRPO's rate); nan for none."""
    hurt = [record for record in judged(records) if any(call.error for call in policy_calls(record))]
    return sum(map(correct, hurt)) / len(hurt) if hurt else math.nan


def mcp_radar(
    records: Iterable[EpisodeRecord], tokens: Callable[[EpisodeRecord], float] | None = None
) -> dict[str, float]:
    """MCP-RADAR's five, each in [0, 1], higher is better; nan without an episode.

    "result_accuracy": solved of all; "call_accuracy": mean of 1 - failed / calls; "first_error": mean of the place
    of the first failed call / calls (1 if none failed); "resources" and "time": mean of 1 - min-max of tokens (by
    default characters that the policy wrote) and of virtual seconds. The names are the paper's, all formulas but the
    first are definitions by this project.
    """
    kept = judged(records)
    if not kept:
        return dict.fromkeys(("result_accuracy", "call_accuracy", "first_error", "resources", "time"), math.nan)
    count = tokens or (lambda record: float(sum(len(action.raw) for action in record.state.actions)))
    clean, first = [], []
    for record in kept:
        failed = [bool(call.error) for call in policy_calls(record)]
        clean.append(1 - sum(failed) / len(failed) if failed else 1.0)
        first.append(failed.index(True) / len(failed) if any(failed) else 1.0)
    spent = [max((call.issued_at + call.latency_s for call in record.calls), default=0.0) for record in kept]
    return {
        "result_accuracy": sum(map(correct, kept)) / len(kept),
        "call_accuracy": _mean(clean),
        "first_error": _mean(first),
        "resources": 1 - _mean(_min_max([count(record) for record in kept])),
        "time": 1 - _mean(_min_max(spent)),
    }


Step = Mapping[str, Any]
"""A step of GTA: {"tool", "arguments"} for a call, {"answer"} for the answer, and "error" where it could not be run."""


def gta_steps(
    predicted: Sequence[Step], gold: Sequence[Step], answer_score: Callable[[str, Any], float]
) -> dict[str, float]:
    """GTA's four of a dialogue in step mode, in [0, 1]: each predicted step stands against the gold step of its place.

    "instruction": steps of the right kind without an error / steps; "tool": right tool / tool steps; "argument": equal
    arguments of the right tool / tool steps; "summary": mean score of the answers. nan where gold has no such step.
    Source: open-compass/GTA, code. Raises `ValueError` for another number of steps.
    """
    if len(predicted) != len(gold):
        raise ValueError(f"{len(predicted)} steps stand against {len(gold)} of gold")
    pairs = list(zip(predicted, gold, strict=True))
    tools = [(said, wanted) for said, wanted in pairs if "tool" in wanted]
    answers = [(said, wanted) for said, wanted in pairs if "tool" not in wanted]
    right_kind = [("tool" in said) == ("tool" in wanted) and not said.get("error") for said, wanted in pairs]
    right_tool = [said.get("tool") == wanted["tool"] for said, wanted in tools]
    equal = [
        right and said.get("arguments") == wanted.get("arguments")
        for right, (said, wanted) in zip(right_tool, tools, strict=True)
    ]
    scores = [answer_score(str(said.get("answer", "")), wanted["answer"]) for said, wanted in answers]
    return {
        "instruction": _mean(right_kind),
        "tool": _mean(right_tool),
        "argument": _mean(equal),
        "summary": _mean(scores),
    }


GTA_TOOLS: Mapping[str, frozenset[str]] = {
    "perception": frozenset({"OCR", "ImageDescription", "RegionAttributeDescription", "TextToBbox"}),
    "operation": frozenset({"DrawBox", "AddText", "GoogleSearch"}),
    "logic": frozenset({"Calculator", "Solver", "Plot", "MathOCR", "CountGivenObject"}),
    "creativity": frozenset({"TextToImage", "ImageStylization"}),
}
"""GTA's tools by category."""


def gta_categories(
    pairs: Iterable[tuple[Sequence[str], Sequence[str]]], categories: Mapping[str, Iterable[str]] = GTA_TOOLS
) -> dict[str, float]:
    """GTA's F1 of tool selection by category, end to end, in [0, 1]; nan for a category that nobody used or wanted.

    Pairs are (names of called tools, names of gold's) of each dialogue, counted as multisets; counts are summed over
    dialogues before F1 is taken (the summing is this project's). Source: open-compass/GTA, code.
    """
    hit, size = dict.fromkeys(categories, 0), dict.fromkeys(categories, 0)
    for called, wanted in pairs:
        for name, tools in categories.items():
            mine = Counter(tool for tool in called if tool in set(tools))
            theirs = Counter(tool for tool in wanted if tool in set(tools))
            hit[name] += (mine & theirs).total()
            size[name] += mine.total() + theirs.total()
    return {name: 2 * hit[name] / size[name] if size[name] else math.nan for name in categories}


def smart_report(pairs: Iterable[tuple[EpisodeRecord, Sequence[str]]]) -> dict[str, float]:
    """SMART's "tool_use" (calls / turns) and mean "overuse" and "underuse" (`smart_rates`), over judged episodes.

    Pairs are (record, labels of the task's steps, "tool" or "parametric"). nan without an episode.
    """
    kept = [(record, list(steps)) for record, steps in pairs if judged([record])]
    logs = [policy_calls(record) for record, _ in kept]
    rates = [
        smart_rates(len(log), len({call.key for call in log}), steps.count("tool"), steps.count("parametric"))
        for log, (_, steps) in zip(logs, kept, strict=True)
    ]
    turns = sum(record.turns for record, _ in kept)
    return {
        "tool_use": sum(map(len, logs)) / turns if turns else math.nan,
        "overuse": _mean([over for over, _ in rates]),
        "underuse": _mean([under for _, under in rates]),
    }


def pairwise_accuracy(good: Sequence[float], bad: Sequence[float]) -> float:
    """ToolComp's process accuracy of a judge, in [0, 1]: share of pairs in which the good step has the higher score.

    Ties count half (this project's). nan for no pair. Raises `ValueError` for sequences of different length.
    """
    return _mean([(a > b) + (a == b) / 2 for a, b in zip(good, bad, strict=True)])


def rank_at_1(groups: Iterable[tuple[Sequence[float], Sequence[bool]]]) -> float:
    """ToolComp's rank@1, in [0, 1]: share of tasks whose best-scored of k rollouts is correct; nan without a task.

    Each is (a judge's scores, whether correct). Of rollouts that share the best score, the share that is correct.
    """
    found = []
    for scores, right in groups:
        best = [hit for score, hit in zip(scores, right, strict=True) if score == max(scores)]
        found.append(_mean([float(hit) for hit in best]))
    return _mean(found)


ToolUse = Literal["none", "evidence", "verification", "mixed", "other"]


def tool_use(record: EpisodeRecord) -> ToolUse:
    """Which kinds of tool an episode used: evidence, verification, both, others only, or none."""
    kinds = {call.kind for call in policy_calls(record)}
    named = kinds & {"evidence", "verification"}
    if len(named) == 2:
        return "mixed"
    if named:
        return "evidence" if "evidence" in named else "verification"
    return "other" if kinds else "none"


def calibration_report(records: Iterable[EpisodeRecord]) -> dict[str, dict[str, float]]:
    """ECE, Brier, AUROC and MCIP of answered episodes, for all ("all") and by `tool_use`; "n" is their number.

    An answer without a stated confidence counts as one of 1, and "stated" is the share that has one.
    """
    groups: dict[str, list[EpisodeRecord]] = defaultdict(list)
    for record in judged(records):
        if record.ended_by == "answer":
            groups["all"].append(record)
            groups[tool_use(record)].append(record)
    return {name: _calibration(group) for name, group in sorted(groups.items())}


def _calibration(records: Sequence[EpisodeRecord]) -> dict[str, float]:
    stated = [0.0 <= record.confidence <= 1.0 for record in records]
    c = [record.confidence if known else 1.0 for record, known in zip(records, stated, strict=True)]
    y = [float(correct(record)) for record in records]
    return {
        "n": float(len(records)),
        "stated": _mean(stated),
        "ece": calibration.ece(c, y),
        "brier": calibration.brier(c, y),
        "auroc": calibration.auroc(c, y),
        "mcip": calibration.mcip(c, y),
    }


def cluster_bootstrap(
    values: Sequence[float], clusters: Sequence[Hashable], *, draws: int = 2000, level: float = 0.95, seed: int = 0
) -> tuple[float, float]:
    """Percentile interval of the mean when values of a cluster (rollouts of a task) belong together.

    Clusters are drawn with putting back, each with all its values (Field and Welsh, 2007); deterministic by `seed` and
    independent of the order of values. (nan, nan) for fewer than two clusters.
    """
    sums: dict[Hashable, list[float]] = defaultdict(list)
    for value, cluster in zip(values, clusters, strict=True):
        sums[cluster].append(value)
    if len(sums) < 2:
        return math.nan, math.nan
    totals = sorted((math.fsum(own), len(own)) for own in sums.values())
    total, size = (np.array(column, np.float64) for column in zip(*totals, strict=True))
    picks = np.random.default_rng(seed).integers(len(totals), size=(draws, len(totals)))
    means = total[picks].sum(1) / size[picks].sum(1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan


def _min_max(values: Sequence[float]) -> list[float]:
    low, high = min(values), max(values)
    return [(value - low) / (high - low) if high > low else 0.0 for value in values]
