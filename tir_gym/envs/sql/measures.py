"""What questions about one table ask for: a number that takes a program, computed here with the standard library.

Each statistic has a program of its own for the oracle, written with numpy, so that gold and plan do not share a fault.
"""

import itertools
import math
import statistics
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

Row = Sequence[Any]


@dataclass(frozen=True, slots=True)
class Statistic:
    """A number from rows of (x, y, d, id) in the order of d, then id.

    `words` says what it is, with `{x}`, `{y}`, `{d}` for the columns it needs (`needs`: of "number", "second", "day",
    "category"; x is the category where that is needed). `value` raises `ValueError` (`statistics.StatisticsError`
    included) where it is not defined. `program` computes `value` from numpy arrays or lists `x` and `y` in that order.
    """

    level: int
    needs: tuple[str, ...]
    words: str
    value: Callable[[list[Any], list[Any]], float]
    program: str


def _trimmed(x: list[float], y: list[float]) -> float:
    cut = len(x) // 10
    return statistics.fmean(sorted(x)[cut : len(x) - cut])


def _percentile(x: list[float], y: list[float]) -> float:
    return sorted(x)[math.ceil(0.9 * len(x)) - 1]


def _weighted(x: list[float], y: list[float]) -> float:
    if sum(y) <= 0 or min(y) < 0:
        raise ValueError("no weights")
    return math.fsum(a * b for a, b in zip(x, y, strict=True)) / math.fsum(y)


def _gini(x: list[float], y: list[float]) -> float:
    if min(x) < 0 or sum(x) <= 0:
        raise ValueError("no shares")
    ranked = math.fsum((2 * rank - len(x) - 1) * value for rank, value in enumerate(sorted(x), 1))
    return ranked / (len(x) * math.fsum(x))


def _entropy(x: list[str], y: list[float]) -> float:
    shares = [count / len(x) for count in Counter(x).values()]
    return -math.fsum(share * math.log2(share) for share in shares)


def _smoothed(x: list[float], y: list[float]) -> float:
    level = x[0]
    for value in x[1:]:
        level = 0.3 * value + 0.7 * level
    return level


def _deviation(x: list[float], y: list[float]) -> float:
    middle = statistics.median(x)
    return statistics.fmean(abs(value - middle) for value in x)


def _slope(x: list[float], y: list[float]) -> float:
    return statistics.linear_regression(y, x).slope


def _fall(x: list[float], y: list[float]) -> float:
    peak, fall = x[0], 0.0
    for value in x:
        peak = max(peak, value)
        fall = max(fall, peak - value)
    return fall


STATISTICS: dict[str, Statistic] = {
    "median": Statistic(1, ("number",), "the median {x}", lambda x, y: statistics.median(x), "np.median(x)"),
    "deviation": Statistic(
        2,
        ("number",),
        "the standard deviation of the {x} (dividing by the number of rows)",
        lambda x, y: statistics.pstdev(x),
        "np.std(x)",
    ),
    "trimmed_mean": Statistic(
        3,
        ("number",),
        "the mean {x} after dropping the smallest tenth and the largest tenth of the values (each tenth rounded down "
        "to whole rows)",
        _trimmed,
        "np.mean(np.sort(x)[len(x) // 10 : len(x) - len(x) // 10])",
    ),
    "percentile": Statistic(
        3,
        ("number",),
        "the smallest {x} that at least 90 percent of the rows do not exceed",
        _percentile,
        "np.sort(x)[-(-9 * len(x) // 10) - 1]",
    ),
    "entropy": Statistic(
        4,
        ("category",),
        "the Shannon entropy, in bits, of how the rows are spread over the values of {x}",
        _entropy,
        "-sum(p * np.log2(p) for p in np.unique(x, return_counts=True)[1] / len(x))",
    ),
    "weighted_mean": Statistic(
        5,
        ("number", "second"),
        "the average {x} weighted by {y}",
        _weighted,
        "np.average(x, weights=y)",
    ),
    "spread_about_median": Statistic(
        5,
        ("number",),
        "the mean distance of the {x} from its median",
        _deviation,
        "np.mean(np.abs(x - np.median(x)))",
    ),
    "steps": Statistic(
        6,
        ("number", "day"),
        "the sum of the absolute differences between neighbouring {x} when the rows are put in order of {d}, then id",
        lambda x, y: math.fsum(abs(b - a) for a, b in itertools.pairwise(x)),
        "np.abs(np.diff(x)).sum()",
    ),
    "correlation": Statistic(
        6,
        ("number", "second"),
        "the Pearson correlation of {x} and {y}",
        lambda x, y: statistics.correlation(x, y),
        "np.corrcoef(x, y)[0, 1]",
    ),
    "slope": Statistic(
        7,
        ("number", "second"),
        "the slope of the least-squares line that gives {x} from {y}",
        _slope,
        "np.polyfit(y, x, 1)[0]",
    ),
    "gini": Statistic(
        8,
        ("number",),
        "the Gini coefficient of the {x} (0 where all have the same, towards 1 where one row has everything; the mean "
        "absolute difference of all pairs, a row with itself included, divided by twice the mean)",
        _gini,
        "np.abs(x[:, None] - x[None, :]).mean() / (2 * x.mean())",
    ),
    "fall": Statistic(
        8,
        ("number", "day"),
        "the greatest fall of {x} from any row to a later one when the rows are put in order of {d}, then id",
        _fall,
        "(np.maximum.accumulate(x) - x).max()",
    ),
    "smoothed": Statistic(
        9,
        ("number", "day"),
        "the exponentially smoothed {x} after the last row, the rows in order of {d}, then id, starting from the first "
        "value and then taking 0.3 times the new value plus 0.7 times what there was",
        _smoothed,
        "__import__('functools').reduce(lambda level, value: 0.3 * value + 0.7 * level, x[1:], x[0])",
    ),
}
