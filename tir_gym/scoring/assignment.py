"""Matching rows with columns of a matrix of similarities: one to one, greedily, or by transport."""

import math

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]


def best_assignment(similarity: Matrix) -> list[int]:
    """For each row the column it gets, or -1, with the greatest possible sum; one to one.

    The Hungarian method with potentials (Kuhn 1955, Munkres 1957), O(rows^2 * columns). Ties fall to the lower column.
    """
    rows, columns = similarity.shape
    if rows > columns:
        found = [-1] * rows
        for column, row in enumerate(best_assignment(similarity.T)):
            found[row] = column
        return found
    cost = -similarity
    row_of = [-1] * columns
    row_potential, column_potential = np.zeros(rows), np.zeros(columns)
    for row in range(rows):
        # a shortest path in reduced costs from the new row to a free column
        distance = np.full(columns, np.inf)
        done = np.zeros(columns, np.bool_)
        before = [-1] * columns
        at_row, at, reached = row, -1, 0.0
        tree: list[tuple[int, int, float]] = []
        while True:
            through = reached + cost[at_row] - row_potential[at_row] - column_potential
            better = ~done & (through < distance - 1e-15)
            distance[better] = through[better]
            for column in np.flatnonzero(better).tolist():
                before[column] = at
            at = int(np.argmin(np.where(done, np.inf, distance)))
            reached = float(distance[at])
            done[at] = True
            if row_of[at] < 0:
                break
            at_row = row_of[at]
            tree.append((at_row, at, reached))
        row_potential[row] += reached
        for used_row, column, length in tree:
            row_potential[used_row] += reached - length
            column_potential[column] -= reached - length
        while at >= 0:
            parent = before[at]
            row_of[at] = row if parent < 0 else row_of[parent]
            at = parent
    found = [-1] * rows
    for column, owner in enumerate(row_of):
        if owner >= 0:
            found[owner] = column
    return found


def greedy_assignment(similarity: Matrix) -> list[int]:
    """For each row the column it gets, or -1: the greatest entry first, ties to the lower row, then column.

    What MatchTIR's published code does under the name of the Hungarian method.
    """
    rows, columns = similarity.shape
    found = [-1] * rows
    taken: set[int] = set()
    order = sorted((-similarity[row, column], row, column) for row in range(rows) for column in range(columns))
    for _, row, column in order:
        if found[row] < 0 and column not in taken:
            found[row] = column
            taken.add(column)
    return found


def transport(similarity: Matrix, regularisation: float = 0.1, rounds: int = 1000) -> Matrix:
    """The entropic optimal transport plan between uniform masses, for the cost -similarity; shape (rows, columns).

    Sinkhorn's iteration (Cuturi, "Sinkhorn distances", 2013) in the logarithmic domain, until the rows' masses are
    met to 1e-9 or `rounds` are over.
    """
    rows, columns = similarity.shape
    kernel = similarity / regularisation
    log_rows, log_columns = -math.log(rows), -math.log(columns)
    u, v = np.zeros((rows, 1)), np.zeros((1, columns))
    for _ in range(rounds):
        u = log_rows - _log_sum(kernel + v, 1)
        v = log_columns - _log_sum(kernel + u, 0)
        plan: Matrix = np.exp(kernel + u + v)
        if np.abs(plan.sum(1) - 1 / rows).max() < 1e-9:
            break
    return plan


def _log_sum(values: Matrix, axis: int) -> Matrix:
    top = values.max(axis, keepdims=True)
    summed: Matrix = top + np.log(np.exp(values - top).sum(axis, keepdims=True))
    return summed
