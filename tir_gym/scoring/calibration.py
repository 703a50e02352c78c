"""Scores of stated confidence, and how well a set of statements is calibrated. Confidences are in [0, 1]."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def margin(correct: bool, confidence: float, b: float = 0.5) -> float:
    """Right: 1 - b (1 - c)^2; wrong: -b c^2. In [-b, 1], strictly proper for b > 0.

    Every right answer is worth at least 1 - b more than any wrong one. b = 1 is the Brier form of RLCR, y - (c - y)^2.
    Definition by this project (the formula of the margin-separated reward in Confidence Dichotomy was not found).
    """
    return 1 - b * (1 - confidence) ** 2 if correct else -b * confidence**2


def log_score(correct: bool, confidence: float, floor: float = 0.01) -> float:
    """log c if right, log(1 - c) if wrong: the logarithmic score (Good, 1952), strictly proper.

    c is held within [floor, 1 - floor], so the range is [log floor, log(1 - floor)]; beyond it stating more is no gain.
    """
    c = min(max(confidence, floor), 1 - floor)
    return math.log(c if correct else 1 - c)


def abstention_utility(answered: bool, correct: bool, threshold: float) -> float:
    """1 for right, 0 for no answer, -t / (1 - t) for wrong: answering pays where the chance is above t, in [0, 1)."""
    if not answered:
        return 0.0
    return 1.0 if correct else -threshold / (1 - threshold)


def brier(confidence: Sequence[float], correct: Sequence[float]) -> float:
    """Mean of (c - y)^2, in [0, 1] (Brier, 1950); nan for nothing."""
    c, y = _pair(confidence, correct)
    return float(((c - y) ** 2).mean()) if c.size else math.nan


def ece(confidence: Sequence[float], correct: Sequence[float], bins: int = 10) -> float:
    """Expected calibration error in [0, 1]: sum over equal bins of share * |mean y - mean c| (Naeini et al., 2015).

    Bins are (k/bins, (k+1)/bins], the first with 0; nan for nothing.
    """
    c, y = _pair(confidence, correct)
    if not c.size:
        return math.nan
    place = np.clip(np.ceil(np.round(c * bins, 9)) - 1, 0, bins - 1).astype(int)
    gaps = [abs(float(y[place == k].sum() - c[place == k].sum())) for k in range(bins)]
    return math.fsum(gaps) / c.size


def auroc(confidence: Sequence[float], correct: Sequence[float]) -> float:
    """Chance that a right answer has the higher confidence than a wrong one, ties counting half; nan without both."""
    c, y = _pair(confidence, correct)
    right, wrong = c[y >= 1], c[y < 1]
    if not right.size or not wrong.size:
        return math.nan
    _, inverse, counts = np.unique(c, return_inverse=True, return_counts=True)
    rank_of = np.cumsum(counts) - (counts - 1) / 2
    ranks = rank_of[inverse][y >= 1].sum()
    return float((ranks - right.size * (right.size + 1) / 2) / (right.size * wrong.size))


def mcip(confidence: Sequence[float], correct: Sequence[float]) -> float:
    """Mean confidence of the wrong answers, in [0, 1]; nan without one. Source: Confidence Dichotomy."""
    c, y = _pair(confidence, correct)
    return float(c[y < 1].mean()) if (y < 1).any() else math.nan


def _pair(confidence: Sequence[float], correct: Sequence[float]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    c, y = np.asarray(confidence, np.float64), np.asarray(correct, np.float64)
    if c.shape != y.shape or c.ndim != 1 or ((c < 0) | (c > 1) | np.isnan(c)).any():
        raise ValueError("confidences in [0, 1] and as many outcomes are needed")
    return c, y
