"""Rows of tokens as arrays that a trainer takes: padded, packed, or one after another.

Arrays are numpy int32, float32 and bool, C-contiguous and writable, so that `torch.from_dlpack(batch.ids)`,
`jax.dlpack` and CuPy take them without a copy.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tir_gym.rollout.tokens import NO_VERSION, Bools, Floats, Ids, Role, TokenRow

Advantages = Sequence[float | Sequence[float]] | Sequence[float] | Sequence[Sequence[float]]
"""For each row one number, or one for each of its turns; nan where there is no valid reward to learn from."""


@dataclass(frozen=True, eq=False)
class Turns:
    """Turns of a batch's rows in CSR form: row r has the turns ptr[r] to ptr[r + 1]."""

    ptr: Ids
    """int32, (rows + 1,)"""
    start: Ids
    """int32, (turns,): column (padded) or place (else) of the first sampled token."""
    end: Ids
    """int32, (turns,): of the last sampled token, where a turn's reward belongs."""
    reward: Floats
    """float32, (turns,)"""


@dataclass(frozen=True, eq=False)
class Images:
    """Images of a batch's rows in CSR form: row r has the images ptr[r] to ptr[r + 1]."""

    ptr: Ids
    """int32, (rows + 1,)"""
    at: Ids
    """int32, (images,): column (padded) or place (else) of the token that stands for it."""
    ids: tuple[str, ...]
    """By which `TokenRollout.pixels` of the row's episode has it."""


@dataclass(frozen=True, eq=False)
class Rows:
    """What there is of each row, whatever the form of the tokens."""

    episodes: tuple[str, ...]
    groups: tuple[str, ...]
    lengths: Ids
    """int32, (rows,)"""
    rewards: Floats
    """float32, (rows,): the episode's; nan where invalid."""
    valid: Bools
    truncated: Bools
    turns: Turns
    images: Images


@dataclass(frozen=True, eq=False)
class PaddedBatch:
    """B rows of L columns."""

    ids: Ids
    """int32, (B, L)"""
    attention_mask: Bools
    """bool, (B, L): True at tokens."""
    position_ids: Ids
    """int32, (B, L): place in the row; 0 at padding."""
    roles: NDArray[np.uint8]
    """uint8, (B, L): `Role` codes; `SCAFFOLD` at padding."""
    loss_mask: Bools
    """bool, (B, L): True at the policy's tokens of valid rows, but where the advantage given is nan."""
    logprobs: Floats
    """float32, (B, L)"""
    versions: Ids
    """int32, (B, L): policy versions, `NO_VERSION` where nothing was sampled."""
    advantages: Floats
    """float32, (B, L): 0.0 where `loss_mask` is False."""
    rows: Rows

    @property
    def waste(self) -> float:
        """Share of padding, in [0, 1)."""
        return 1.0 - float(self.rows.lengths.sum()) / self.ids.size


@dataclass(frozen=True, eq=False)
class FlatBatch:
    """Rows one after another: `to_csr` in the order given, a pack of `to_packed` in the order of `indices`."""

    ids: Ids
    """int32, (N,)"""
    cu_seqlens: Ids
    """int32, (rows + 1,): where each row begins, and N (FlashAttention's varlen form)."""
    position_ids: Ids
    """int32, (N,): from 0 in each row."""
    roles: NDArray[np.uint8]
    loss_mask: Bools
    logprobs: Floats
    versions: Ids
    advantages: Floats
    rows: Rows
    indices: Ids
    """int32, (rows,): which of the rows given each one is."""


_KINDS = {
    "ids": "int32",
    "attention_mask": "bool",
    "position_ids": "int32",
    "roles": "uint8",
    "loss_mask": "bool",
    "logprobs": "float32",
    "versions": "int32",
    "advantages": "float32",
}
"""Arrays of a padded batch and their types."""


def to_padded(
    rows: Sequence[TokenRow],
    *,
    side: Literal["left", "right"] = "right",
    length: int = 0,
    multiple_of: int = 1,
    pad: int = 0,
    advantages: Advantages | None = None,
    once: bool = False,
    out: PaddedBatch | None = None,
) -> PaddedBatch:
    """Rows as a matrix, padded at a side to `length` (0: the longest row), rounded up to a multiple.

    `pad` is the id at padding. `once` leaves what forks share to their parent's row. `out` is a batch whose arrays are
    written over, for as many rows or more and as wide as it is: no memory is touched for the first time then
    (`padded_buffers` makes pinned ones).
    Raises `ValueError` for a row that is longer than `length` (`TokenRow.cut` shortens it), for advantages that are
    not one for each row or each turn, or an `out` that is too small, not as wide as `multiple_of` wants, or whose
    arrays are not as `padded_buffers` makes them.
    """
    if side not in ("left", "right"):
        raise ValueError(f"side={side!r} is not 'left' or 'right'")
    if multiple_of < 1:
        raise ValueError(f"multiple_of={multiple_of} must be at least 1")
    lengths = _lengths(rows)
    longest = int(lengths.max())
    if length and longest > length:
        raise ValueError(f"row {int(lengths.argmax())} has {longest} tokens, more than length={length}: cut it first")
    width = -(-(length or longest) // multiple_of) * multiple_of
    if out is None:
        out = padded_buffers(len(rows), width)
    _check_buffers(out, len(rows), width, multiple_of)
    width = out.ids.shape[1]
    n = len(rows)
    ids, roles, logprobs, versions = out.ids[:n], out.roles[:n], out.logprobs[:n], out.versions[:n]
    starts = width - lengths if side == "left" else np.zeros(n, np.int32)
    gaps = (width - lengths).tolist()
    _lay(ids, [row.ids for row in rows], gaps, pad, side)
    _lay(roles, [row.roles for row in rows], gaps, Role.SCAFFOLD, side)
    _lay(logprobs, [row.logprobs for row in rows], gaps, 0.0, side)
    _lay(versions, [row.versions for row in rows], gaps, NO_VERSION, side)
    columns = np.arange(width, dtype=np.int32)
    attention, positions, loss = out.attention_mask[:n], out.position_ids[:n], out.loss_mask[:n]
    if side == "right":
        np.less(columns, lengths[:, None], out=attention)
    else:
        np.greater_equal(columns, starts[:, None], out=attention)
    _lay(positions, [columns[:length] for length in lengths.tolist()], gaps, 0, side)
    np.equal(roles, Role.SAMPLED, out=loss)
    spread = out.advantages[:n]
    spread.fill(0.0)
    if advantages is not None:
        _give(_by_token(rows, range(n), advantages), spread, loss)
    for i, start in enumerate(starts.tolist()):
        if count := _quiet(rows[i], once):
            loss[i, start : start + count], spread[i, start : start + count] = False, 0.0
    described = _describe(rows, lengths, starts)
    return PaddedBatch(ids, attention, positions, roles, loss, logprobs, versions, spread, described)


def padded_buffers(rows: int, width: int, *, pinned: bool = False) -> PaddedBatch:
    """Arrays for `to_padded(out=...)`, to be used again and again; `pinned` ones a GPU copies from while it works.

    Pinned memory is torch's. Raises `RuntimeError` for it where torch or its GPU is missing.
    """
    shape = rows, width
    if pinned:
        arrays = {name: _pinned(shape, kind) for name, kind in _KINDS.items()}
    else:
        arrays = {name: np.zeros(shape, kind) for name, kind in _KINDS.items()}
    return PaddedBatch(**arrays, rows=_describe([], np.zeros(0, np.int32), np.zeros(0, np.int32)))


def to_csr(rows: Sequence[TokenRow], *, advantages: Advantages | None = None, once: bool = False) -> FlatBatch:
    """All rows one after another, in their order."""
    return _flat(rows, range(len(rows)), advantages, once)


def to_packed(
    rows: Sequence[TokenRow], budget: int, *, advantages: Advantages | None = None, once: bool = False
) -> list[FlatBatch]:
    """Packs of at most `budget` tokens: first-fit decreasing, the same for the same lengths.

    Raises `ValueError` for a row longer than the budget.
    """
    return [_flat(rows, pack, advantages, once) for pack in packs(_lengths(rows), budget)]


def packs(lengths: NDArray[Any], budget: int) -> list[list[int]]:
    """Indices of each pack, by first-fit decreasing (Johnson 1973): the best number of packs times 11/9, or fewer."""
    if len(lengths) and int(lengths.max()) > budget:
        at = int(np.argmax(lengths))
        raise ValueError(f"row {at} has {int(lengths[at])} tokens, more than budget={budget}: cut it first")
    free = np.full(len(lengths), budget, np.int64)
    found: list[list[int]] = []
    for index in np.argsort(-lengths.astype(np.int64), kind="stable").tolist():
        pack = int(np.argmax(free[: len(found) + 1] >= lengths[index]))
        if pack == len(found):
            found.append([])
        found[pack].append(index)
        free[pack] -= lengths[index]
    return found


def split(rows: Sequence[TokenRow], ranks: int) -> list[list[int]]:
    """Indices for each data-parallel rank: as many rows each, give or take one, and nearly as many tokens.

    Rows are dealt in rounds, the longest first, each round's longest to the rank with the fewest tokens (definition
    by this project). Raises `ValueError` for fewer rows than ranks, which would leave a rank without work.
    """
    if not 1 <= ranks <= len(rows):
        raise ValueError(f"{len(rows)} rows cannot be split among ranks={ranks}: each needs one")
    order = np.argsort(-_lengths(rows), kind="stable").tolist()
    parts: list[list[int]] = [[] for _ in range(ranks)]
    tokens = [0] * ranks
    for dealt in range(0, len(order), ranks):
        poorest = sorted(range(ranks), key=tokens.__getitem__)
        for rank, index in zip(poorest, order[dealt : dealt + ranks], strict=False):
            parts[rank].append(index)
            tokens[rank] += len(rows[index])
    return [sorted(part) for part in parts]


def _flat(rows: Sequence[TokenRow], indices: Sequence[int], advantages: Advantages | None, once: bool) -> FlatBatch:
    chosen = [rows[i] for i in indices]
    lengths = _lengths(chosen)
    bounds = _bounds(lengths)
    starts = bounds[:-1]
    roles = np.concatenate([row.roles for row in chosen])
    loss = roles == Role.SAMPLED
    spread = np.zeros(len(roles), np.float32)
    if advantages is not None:
        _give(_by_token(rows, indices, advantages), spread, loss)
    for row, start in zip(chosen, starts.tolist(), strict=True):
        if count := _quiet(row, once):
            loss[start : start + count], spread[start : start + count] = False, 0.0
    return FlatBatch(
        ids=np.concatenate([row.ids for row in chosen]),
        cu_seqlens=bounds,
        position_ids=np.arange(len(roles), dtype=np.int32) - np.repeat(starts, lengths),
        roles=roles,
        loss_mask=loss,
        logprobs=np.concatenate([row.logprobs for row in chosen]),
        versions=np.concatenate([row.versions for row in chosen]),
        advantages=spread,
        rows=_describe(chosen, lengths, starts),
        indices=np.array(indices, np.int32),
    )


def _check_buffers(out: PaddedBatch, rows: int, width: int, multiple_of: int) -> None:
    shape = out.ids.shape
    for name, kind in _KINDS.items():
        array: NDArray[Any] = getattr(out, name)
        flags = array.flags
        if array.shape != shape or array.dtype != kind or not (flags.c_contiguous and flags.writeable):
            raise ValueError(
                f"out.{name} is {array.dtype} {array.shape}, not contiguous, writeable {kind} {shape} as the others: "
                "make it by padded_buffers"
            )
    if len(shape) != 2 or shape[0] < rows or shape[1] < width:
        raise ValueError(f"out is {shape}, too small for {rows} rows of {width}")
    if shape[1] % multiple_of:
        raise ValueError(f"out is {shape[1]} wide, not a multiple of {multiple_of}")


def _lay(out: NDArray[Any], values: Sequence[NDArray[Any]], gaps: Sequence[int], pad: float, side: str) -> None:
    """Write rows and the padding beside them in one go."""
    padding = np.full(out.shape[1], pad, out.dtype)
    pieces: list[NDArray[Any]] = []
    for value, gap in zip(values, gaps, strict=True):
        pieces += (padding[:gap], value) if side == "left" else (value, padding[:gap])
    np.concatenate(pieces, out=out.reshape(-1))


def _lengths(rows: Sequence[TokenRow]) -> Ids:
    if not rows:
        raise ValueError("there are no rows to make a batch of")
    return np.array([len(row) for row in rows], np.int32)


def _describe(rows: Sequence[TokenRow], lengths: Ids, starts: Ids) -> Rows:
    turns, images = _bounds([len(row.turn_start) for row in rows]), _bounds([len(row.images) for row in rows])
    shift = np.repeat(starts, np.diff(turns))
    none = np.zeros(0, np.int32)
    at = np.array([image.at for row in rows for image in row.images], np.int32)
    return Rows(
        episodes=tuple(row.episode for row in rows),
        groups=tuple(row.group for row in rows),
        lengths=lengths,
        rewards=np.array([row.reward for row in rows], np.float32),
        valid=np.array([row.valid for row in rows], np.bool_),
        truncated=np.array([row.truncated for row in rows], np.bool_),
        turns=Turns(
            ptr=turns,
            start=np.concatenate([none, *(row.turn_start for row in rows)]) + shift,
            end=np.concatenate([none, *(row.turn_end for row in rows)]) + shift - np.int32(1),
            reward=np.concatenate([np.zeros(0, np.float32), *(row.turn_reward for row in rows)]),
        ),
        images=Images(
            ptr=images,
            at=at + np.repeat(starts, np.diff(images)),
            ids=tuple(image.id for row in rows for image in row.images),
        ),
    )


def _bounds(counts: Sequence[int] | Ids) -> Ids:
    """Where each of these many begins, and the end: int32, (n + 1,)."""
    bounds = np.zeros(len(counts) + 1, np.int32)
    np.cumsum(np.asarray(counts, np.int32), out=bounds[1:])
    return bounds


def _quiet(row: TokenRow, once: bool) -> int:
    """Leading tokens of a row that are not to be learned from: all of an invalid one, with `once` its parent's."""
    return len(row) if not row.valid else row.shared if once else 0


def _by_token(rows: Sequence[TokenRow], indices: Sequence[int], advantages: Advantages) -> Floats:
    """The advantage of each sampled token of some rows. Raises `ValueError` where there are too few or too many."""
    if len(advantages) != len(rows):
        raise ValueError(f"{len(advantages)} advantages for {len(rows)} rows; give one (or a list by turn) for each")
    values: list[float] = []
    for i in indices:
        given: Any = advantages[i]
        turns = len(rows[i].turn_start)
        each = [float(given)] * turns if np.ndim(given) == 0 else [float(value) for value in given]
        if len(each) != turns:
            raise ValueError(f"row {i} has {turns} turns, but {len(each)} advantages")
        values += each
    sizes = np.concatenate([rows[i].turn_end - rows[i].turn_start for i in indices])
    return np.repeat(np.array(values, np.float32), sizes)


def _give(values: Floats, advantages: NDArray[Any], loss: Bools) -> None:
    """Lay the advantage of each sampled token; one that is nan (its reward failed, say) is nothing to learn from."""
    unknown = np.isnan(values)
    if unknown.any():
        values[unknown] = 0.0
    advantages[loss] = values
    if unknown.any():
        loss[loss] = ~unknown


def _pinned(shape: tuple[int, int], kind: str) -> NDArray[Any]:
    try:
        import torch  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        raise RuntimeError("pinned memory is torch's: install torch, or use pinned=False") from None
    if not torch.cuda.is_available():
        raise RuntimeError("pinned memory needs a GPU that torch can use; use pinned=False here")
    array: NDArray[Any] = torch.zeros(shape, dtype=getattr(torch, kind), pin_memory=True).numpy()
    return array
