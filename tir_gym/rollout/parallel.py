"""`rescore` of many records on all cores; results are those of one, in the order of the records."""

import importlib
import itertools
import multiprocessing
import os
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from typing import Any

from tir_gym.core.schema import EpisodeRecord
from tir_gym.rollout.rescore import RescoreError, Rescorer

CHUNK = 64
"""Records that a process takes at a time."""
ALONE = 256
"""As many records are rescored here, before processes are worth starting."""

Rescored = tuple[EpisodeRecord, EpisodeRecord | RescoreError]

Change = dict[str, Any]
"""The fields of a record that are new, which is all that a process sends back."""

_rescorer: Rescorer | None = None


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0))


def rescore_many(
    records: Iterable[EpisodeRecord],
    *,
    reverify: bool = False,
    workers: int | None = None,
    modules: Sequence[str] = (),
) -> Generator[Rescored]:
    """Each record with what `rescore` makes of it, or why it cannot be done, in order.

    With more than one of `workers` (None: all cores) and more than `ALONE` records, fresh processes share the work;
    they import `modules` first, as a caller must who has domains of his own; the records that come back are then equal
    to those given, not the same objects. Memory is in proportion to the workers, not to the records. Closing the
    iterator ends them.
    """
    workers = cores() if workers is None else workers
    if workers < 1:
        raise ValueError(f"workers={workers} must be at least 1")
    rest = iter(records)
    head = list(itertools.islice(rest, ALONE)) if workers > 1 else []
    if workers == 1 or len(head) < ALONE:
        with Rescorer() as again:
            for record in itertools.chain(head, rest):
                yield record, _tried(again, record, reverify)
        return
    chunks = _chunks(itertools.chain(head, rest))
    del head
    pool = ProcessPoolExecutor(workers, multiprocessing.get_context("spawn"), _begin, (tuple(modules),))
    waiting: deque[tuple[list[str], Future[list[Change | RescoreError]]]] = deque()
    try:
        for chunk in itertools.islice(chunks, 2 * workers):
            waiting.append((chunk, pool.submit(_work, chunk, reverify)))
        while waiting:
            chunk, future = waiting.popleft()
            done = future.result()
            if following := next(chunks, None):
                waiting.append((following, pool.submit(_work, following, reverify)))
            for line, change in zip(chunk, done, strict=True):
                record = EpisodeRecord.model_validate_json(line)
                yield record, _changed(record, change)
    finally:
        pool.shutdown(cancel_futures=True)


def _chunks(records: Iterator[EpisodeRecord]) -> Iterator[list[str]]:
    """Records as JSON: kept waiting as objects they cost the garbage collector more than reading them again does."""
    while chunk := [record.model_dump_json() for record in itertools.islice(records, CHUNK)]:
        yield chunk


def _begin(modules: Sequence[str]) -> None:
    """What a worker does first."""
    global _rescorer
    for module in modules:
        importlib.import_module(module)
    _rescorer = Rescorer()


def _work(chunk: list[str], reverify: bool) -> list[Change | RescoreError]:
    """What changes in each of the records, which come as JSON."""
    assert _rescorer is not None
    changes: list[Change | RescoreError] = []
    for line in chunk:
        record = EpisodeRecord.model_validate_json(line)
        again = _tried(_rescorer, record, reverify)
        changes.append(_change(record, again) if isinstance(again, EpisodeRecord) else again)
    return changes


def _change(record: EpisodeRecord, again: EpisodeRecord) -> Change:
    """The fields that are other objects: a copy shares the rest."""
    fields = EpisodeRecord.model_fields
    return {name: value for name in fields if (value := getattr(again, name)) is not getattr(record, name)}


def _changed(record: EpisodeRecord, change: Change | RescoreError) -> EpisodeRecord | RescoreError:
    return change if isinstance(change, RescoreError) else record.model_copy(update=change)


def _tried(again: Rescorer, record: EpisodeRecord, reverify: bool) -> EpisodeRecord | RescoreError:
    try:
        return again(record, reverify=reverify)
    except RescoreError as error:
        return error
