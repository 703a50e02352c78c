"""Advantages of published trainers, as small numpy functions of what episodes give them.

A group is the rollouts of one task; `rewards` has shape (rollouts,), turn rewards come as one sequence a rollout, which
may differ in length. "std" is the sample standard deviation (n - 1) unless a function says otherwise. A reward that is
nan is no part of its group: its own advantage is nan.
"""

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
EPSILON = 1e-6


def group_relative(rewards: ArrayLike, *, normalise: bool = True, population: bool = False) -> Array:
    """(r - mean) / (std + 1e-6) within the group, GRPO's; without `normalise` r - mean (Dr. GRPO's).

    A group of one has mean 0 and std 1: its advantage is its reward, as in verl. `population` divides by n.
    """
    values = _floats(rewards)
    valid = values[~np.isnan(values)]
    if valid.size < 2:
        return values / (1 + EPSILON) if normalise else values
    centred = values - valid.mean()
    result: Array = centred / (valid.std(ddof=0 if population else 1) + EPSILON) if normalise else centred
    return result


def leave_one_out(rewards: ArrayLike) -> Array:
    """r_i - mean of the others, RLOO's and LOOP's; 0 for a group of one. (Kool et al., 2019; Ahmadian et al., 2024.)"""
    values = _floats(rewards)
    valid = ~np.isnan(values)
    n = int(valid.sum())
    if n < 2:
        return np.where(valid, 0.0, np.nan)
    others = (values[valid].sum() - values) / (n - 1)
    result: Array = values - others
    return result


def discounted(turn_rewards: Sequence[ArrayLike], discount: float = 1.0) -> list[Array]:
    """R_t = r_t + discount * R_(t+1) for each rollout."""
    returns = []
    for rollout in turn_rewards:
        values = _floats(rollout).copy()
        for t in range(len(values) - 2, -1, -1):
            values[t] += discount * values[t + 1]
        returns.append(values)
    return returns


def turn_level(turn_rewards: Sequence[ArrayLike], discount: float = 1.0) -> list[Array]:
    """The discounted return from each turn on, group-relative among the rollouts that have that turn."""
    returns = discounted(turn_rewards, discount)
    advantages = [np.zeros(len(rollout)) for rollout in returns]
    for t in range(max(map(len, returns), default=0)):
        present = [i for i, rollout in enumerate(returns) if len(rollout) > t]
        relative = group_relative([returns[i][t] for i in present])
        for i, value in zip(present, relative, strict=True):
            advantages[i][t] = value
    return advantages


def dual_level(turn_rewards: Sequence[ArrayLike], discount: float = 0.9) -> list[Array]:
    """MatchTIR's: mean of the rollout's advantage (of the sum of its turn rewards) and the turn's (`turn_level`).

    Source: quchangle1/MatchTIR, core_algos.py.
    """
    whole = group_relative([float(np.sum(_floats(rollout))) for rollout in turn_rewards])
    turns = turn_level(turn_rewards, discount)
    return [(own + turn) / 2 for own, turn in zip(whole, turns, strict=True)]


@dataclass(frozen=True)
class Node:
    """A step in a tree of forked rollouts: its parent's index (-1: a root), and the success of the leaf that ends here.

    `success` is nan for a step that is no leaf; `ok` says whether the step's calls succeeded.
    """

    parent: int
    success: float = math.nan
    ok: bool = True


def tree_values(nodes: Sequence[Node], bonus: float = 0.1) -> Array:
    """PORTool's step rewards: mean success of the leaves below a step + `bonus` if its calls succeeded.

    Parents come before their children. Definition by this project.
    """
    total, leaves = np.zeros(len(nodes)), np.zeros(len(nodes))
    for i in range(len(nodes) - 1, -1, -1):
        node = nodes[i]
        if node.parent >= i:
            raise ValueError(f"step {i} comes before its parent {node.parent}")
        if not math.isnan(node.success):
            total[i] += node.success
            leaves[i] += 1
        if node.parent >= 0:
            total[node.parent] += total[i]
            leaves[node.parent] += leaves[i]
    if (leaves == 0).any():
        raise ValueError("a step has no leaf below it that says how the rollout ended")
    return total / leaves + bonus * np.array([node.ok for node in nodes])


def fork_relative(nodes: Sequence[Node], bonus: float = 0.1) -> Array:
    """PORTool's: half the trajectory-relative advantage, half the step's value minus the mean of its siblings.

    The trajectory-relative part of a step is the mean over the leaves below it of their success, relative to all
    leaves. Definition by this project.
    """
    values = tree_values(nodes, bonus)
    success = tree_values(nodes, 0.0)
    leaves = np.array([node.success for node in nodes])
    everywhere = leaves[~np.isnan(leaves)].mean()
    siblings: dict[int, list[int]] = {}
    for i, node in enumerate(nodes):
        siblings.setdefault(node.parent, []).append(i)
    local = np.array([values[i] - values[siblings[node.parent]].mean() for i, node in enumerate(nodes)])
    result: Array = 0.5 * (success - everywhere) + 0.5 * local
    return result


def aspo(
    advantages: ArrayLike,
    first_call: ArrayLike,
    length: ArrayLike,
    apply: ArrayLike | None = None,
    *,
    delta: float = -2.0,
    k: float = 0.7,
) -> Array:
    """A + clip(delta * (p - mean p) / mean L, -k |A|, k |A|) for correct rollouts with code (`apply`), else A.

    p is the position of the first call in the policy's tokens, L their number; means are over the rollouts that it
    applies to. Source: ASPO, text; the constants from a third party's recipe.
    """
    values, p, lengths = _floats(advantages), _floats(first_call), _floats(length)
    chosen = np.ones(values.shape, np.bool_) if apply is None else np.asarray(apply, np.bool_)
    if not chosen.any():
        return values
    bias = delta * (p - p[chosen].mean()) / lengths[chosen].mean()
    bound = k * np.abs(values)
    result: Array = np.where(chosen, values + np.clip(bias, -bound, bound), values)
    return result


def conditional(rewards: ArrayLike, qualified: ArrayLike) -> Array:
    """HDPO's second channel: relative to the qualified (correct) rollouts; 0 for the rest, and for fewer than two.

    (r - mean) / (population std + 1e-6).
    """
    values, chosen = _floats(rewards), np.asarray(qualified, np.bool_)
    found = np.zeros(values.shape)
    if chosen.sum() >= 2:
        found[chosen] = group_relative(values[chosen], population=True)
    return found


def checklist_level(satisfied: ArrayLike, weights: ArrayLike, eligible: ArrayLike | None = None) -> Array:
    """CM2's turn-level advantages: weighted mean over eligible items of (awarded - share of the group that ever was).

    `satisfied` has shape (rollouts, turns, items) and holds awards (1 at the turn where an item is awarded), `weights`
    (items,), `eligible` (rollouts, turns, items), all by default. Returns (rollouts, turns). Source: CM2, text.
    A rollout with an award that is nan is no part of the group.
    """
    awards = _floats(satisfied)
    weight = np.broadcast_to(_floats(weights), awards.shape)
    open_items = np.ones(awards.shape) if eligible is None else _floats(eligible)
    judged: NDArray[np.bool_] = np.logical_not(np.isnan(awards).any((1, 2)))
    awards = np.where(judged[:, None, None], awards, np.nan)
    baseline = awards[judged].max(1).mean(0) if judged.any() else np.full(awards.shape[2], np.nan)
    mass = (weight * open_items).sum(2)
    gained = (weight * open_items * (awards - baseline)).sum(2)
    result: Array = np.divide(gained, mass, out=np.zeros_like(gained), where=mass > 0)
    return result


def anchor_groups(states: Sequence[Sequence[Hashable]], returns: Sequence[ArrayLike]) -> list[Array]:
    """GiGPO's step advantages: the return from a step, relative to all steps of the group that start in the same state.

    `states` names the state (a digest) before each step of each rollout. Source: Feng et al., "Group-in-group policy
    optimization" (2025). Add them to the episode's advantages with the weight of your choice.
    """
    members: dict[Hashable, list[tuple[int, int]]] = {}
    for i, rollout in enumerate(states):
        for t, state in enumerate(rollout):
            members.setdefault(state, []).append((i, t))
    values = [_floats(rollout) for rollout in returns]
    found = [np.zeros(len(rollout)) for rollout in values]
    for places in members.values():
        here = _floats([values[i][t] for i, t in places])
        relative = group_relative(here) if np.count_nonzero(~np.isnan(here)) > 1 else here - here
        for (i, t), value in zip(places, relative, strict=True):
            found[i][t] = value
    return found


def turn_baseline(returns: Sequence[ArrayLike]) -> list[Array]:
    """The unbiased per-turn baseline: return from a turn on minus the mean of the OTHER rollouts that have the turn.

    Leaving oneself out keeps the gradient unbiased; the only rollout of a turn gets 0 (definition by this project).
    """
    values = [_floats(rollout) for rollout in returns]
    found = [np.zeros(len(rollout)) for rollout in values]
    for t in range(max(map(len, values), default=0)):
        present = [i for i, rollout in enumerate(values) if len(rollout) > t]
        for i, value in zip(present, leave_one_out([values[i][t] for i in present]), strict=True):
            found[i][t] = value
    return found


def spread(terminal: float, shares: ArrayLike, grounded: ArrayLike | None = None, b: float = 0.0) -> Array:
    """SPA-RL's step rewards: the terminal reward by an estimator's shares, which are made to sum to 1, + b * grounded.

    Definition by this project.
    """
    weight = _floats(shares)
    parts = weight / weight.sum() if weight.sum() else np.full(weight.shape, 1 / max(weight.size, 1))
    result: Array = terminal * parts + b * (0.0 if grounded is None else _floats(grounded))
    return result


def by_group(rewards: ArrayLike, groups: Sequence[Hashable], **options: bool) -> Array:
    """`group_relative` within each group of a batch; permuting the batch permutes the result."""
    values = _floats(rewards)
    found = np.full(values.shape, np.nan)
    places: dict[Hashable, list[int]] = {}
    for i, group in enumerate(groups):
        places.setdefault(group, []).append(i)
    for chosen in places.values():
        found[chosen] = group_relative(values[chosen], **options)
    return found


def channels(records: Sequence[Mapping[str, float]], names: Sequence[str]) -> Array:
    """Reward channels of episodes as an array (episodes, names), for trainers that normalise each on its own (GDPO)."""
    return np.array([[record[name] for name in names] for record in records], np.float64).reshape(-1, len(names))


def _floats(values: ArrayLike) -> Array:
    return np.asarray(values, np.float64)
