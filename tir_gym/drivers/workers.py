"""`Workers`: the engine of a vector environment whose slots live in other processes, here or on a Ray cluster."""

import functools
import itertools
import math
import os
import select
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Any

from tir_gym.core.action import Action
from tir_gym.core.domain import Setting
from tir_gym.core.interfaces import Executor, ForkError
from tir_gym.core.schema import EpisodeState
from tir_gym.core.view import Groups, GroupView, Progress
from tir_gym.drivers.links import Link, ProcessLink
from tir_gym.drivers.past import Past
from tir_gym.drivers.pickles import dumps
from tir_gym.drivers.seats import Ready
from tir_gym.drivers.share import DEATHS, DIED, Line, Share
from tir_gym.drivers.slot import Slot


class Backend(StrEnum):
    """Where the slots of a vector environment live."""

    INLINE = "inline"
    PROCESS = "process"
    RAY = "ray"


class Workers:
    """`Seats` whose slots are spread over workers, in shares of slots in a row.

    The front keeps what happened in each episode (`Past`): when a worker dies another is started, every episode of its
    slots is played again and checked against its digest, and the turns that were in flight are taken again. An episode
    that cannot be played again is invalid (`env_error`) with its next turn. `options` are further ones of `Seats`.

    Raises `TypeError` for what does not pickle, `ValueError` for a number of workers that does not fit.
    """

    def __init__(
        self,
        settings: Sequence[Setting],
        executor: Executor | None,
        backend: Backend,
        workers: int | None,
        worker_options: Mapping[str, Any] | None,
        *,
        max_running: int,
        **options: Any,
    ) -> None:
        if backend is Backend.RAY and workers is None:
            raise ValueError('backend="ray" needs workers=n, the number of actors: one for each 8 to 16 cores is good')
        if backend is not Backend.RAY and worker_options is not None:
            raise ValueError('worker_options are for backend="ray"')
        if workers is None:
            workers = min(len(os.sched_getaffinity(0)), len(settings), max_running)
        if not 1 <= workers <= len(settings):
            raise ValueError(f"workers={workers} must be from 1 to the number of slots, {len(settings)}")
        if max_running < workers:
            raise ValueError(f"max_running={max_running} cannot be split between {workers} workers; give each one turn")
        firsts = [len(settings) * k // workers for k in range(workers + 1)]
        starts = []
        for k, (first, end) in enumerate(itertools.pairwise(firsts)):
            room = max_running * (k + 1) // workers - max_running * k // workers
            seats = {"settings": settings[first:end], "executor": executor, **options, "max_running": room}
            starts.append(functools.partial(_start, backend, dumps(seats, "a worker"), worker_options or {}))
        self.loop = self
        """What asyncio waits for."""
        self._settings = settings
        self._made_in = os.getpid()
        self._closed = False
        self._poller = select.epoll()
        self._stuffed: set[Share] = set()
        """Those whose worker has not read yet all that it was told."""
        self._shares: list[Share] = []
        try:
            for start, (first, end) in zip(starts, itertools.pairwise(firsts), strict=True):
                self._shares.append(Share(start, first, end - first))
                self._poller.register(self._shares[-1].link, select.EPOLLIN)
        except BaseException:
            self.close()
            raise
        self._seats: list[tuple[Share, Line]] = [(share, line) for share in self._shares for line in share.lines]

    # --- what `Seats` does -------------------------------------------------------------------------------------------
    @property
    def slots(self) -> list[Slot]:
        """Raises `RuntimeError`: they are elsewhere."""
        raise RuntimeError("the episodes live in workers and cannot be looked at; their infos say what they came to")

    def seed(self, i: int, base: int, place: int) -> None:
        """`Seats.seed`."""
        share, line = self._seats[i]
        line.seed = base, place, 0
        share.post(line, "seed", *line.seed)

    def reset(self, i: int, options: Mapping[str, Any]) -> None:
        """`Seats.reset`."""
        share, line = self._seats[i]
        share.reset(line, options)

    def send(self, i: int, action: Action) -> None:
        """`Seats.send`."""
        share, line = self._seats[i]
        share.send(line, action)

    def flush(self) -> None:
        """Have the workers begin what they were told: one message to each."""
        if self._closed or self._made_in != os.getpid():
            raise RuntimeError("the vector environment is closed, or belongs to the process that this was forked from")
        for share in self._shares:
            if share.flush() == (share in self._stuffed):
                self._stuffed ^= {share}
                writable = select.EPOLLOUT if share in self._stuffed else 0
                self._poller.modify(share.link, select.EPOLLIN | writable)

    def advance(self, timeout: float) -> None:
        """`Seats.advance`. Raises `RuntimeError` for a worker that does not live."""
        self.flush()
        heard = {descriptor for descriptor, _ in self._poller.poll(None if timeout == math.inf else max(0.0, timeout))}
        for share in self._shares:
            if share.link.fileno() in heard:
                share.hear()
                if share.link.ended:
                    self._revive(share)
        self.flush()

    def wakeup(self) -> float:
        """Never: workers watch the time themselves."""
        return math.inf

    @property
    def finished(self) -> bool:
        """Whether there is something to `take` or to raise."""
        return any(share.ready or share.failed for share in self._shares)

    def fileno(self) -> int:
        """A descriptor that is readable when a worker has something to say."""
        return self._poller.fileno()

    def take(self) -> list[Ready]:
        """`Seats.take`."""
        taken = [ready for share in self._shares for ready in share.ready]
        for share in self._shares:
            share.ready = []
        return taken

    def take_failed(self) -> list[tuple[int, Exception]]:
        """`Seats.take_failed`; the slot is -1 where an error cannot be put down to one."""
        taken = [failure for share in self._shares for failure in share.failed]
        for share in self._shares:
            share.failed = []
        return taken

    def cancel(self, i: int) -> None:
        """`Seats.cancel`."""
        share, line = self._seats[i]
        share.cancel(line)
        self.flush()

    def fork(self, source: int, target: int) -> None:
        """`Seats.fork`: live within a worker, by replay from one to another."""
        (share, one), (other_share, other) = self._seats[source], self._seats[target]
        for _ in range(DEATHS):
            while one.replaying or other.replaying:
                self.advance(math.inf)
            assert one.past is not None
            if share is other_share and not one.past.lost:
                share.post(one, "fork", other.place)
            else:
                other_share.post(other, "replay", one.past.playable(), False)
            other.asked = True
            while other.asked:
                self.advance(math.inf)
            if other.answer != DIED:
                break
        if isinstance(other.answer, Exception):
            raise other.answer
        if other.answer:
            raise ForkError(f"slot {source} cannot be played again in the worker of slot {target}: {other.answer}")
        assert one.past is not None
        other.past, other.tools = one.past.copy(), one.tools

    def get_state(self, i: int) -> EpisodeState:
        """`Seats.get_state`. Raises `RuntimeError` for an episode that was lost with its worker."""
        past = self._past(i)
        if past.lost:
            raise RuntimeError(f"the episode of slot {i} is lost: {past.lost}")
        return past.state(self._settings[i])

    def began_with(self, i: int) -> tuple[GroupView, Progress]:
        """`Seats.began_with`."""
        return self._past(i).began_with

    def tools(self, i: int) -> list[dict[str, Any]]:
        """`Seats.tools`."""
        _, line = self._seats[i]
        return line.tools

    def set_progress(self, progress: Progress) -> None:
        """`Seats.set_progress`."""
        for share in self._shares:
            share.post_all("set_progress", progress)

    def set_groups(self, groups: Groups | None) -> None:
        """`Seats.set_groups`. Raises `TypeError` for what does not pickle."""
        dumps(groups, "groups")
        for share in self._shares:
            share.post_all("set_groups", groups)

    def close(self) -> None:
        """End the workers and everything their episodes started; idempotent."""
        if self._closed or self._made_in != os.getpid():
            return
        self._closed = True
        for share in self._shares:
            share.link.close()
        for share in self._shares:
            share.link.wait_closed()
        self._poller.close()

    def _past(self, i: int) -> Past:
        _, line = self._seats[i]
        if line.past is None:
            raise RuntimeError("no episode is being played: call reset first")
        return line.past

    def _revive(self, share: Share) -> None:
        self._poller.unregister(share.link)
        self._stuffed.discard(share)
        share.link.close()
        share.link.wait_closed()
        try:
            share.revive()
        except BaseException:
            self.close()
            raise
        self._poller.register(share.link, select.EPOLLIN)


def _start(backend: Backend, blob: bytes, options: Mapping[str, Any]) -> Link:
    """A worker whose `Seats` are made of this, pickled."""
    if backend is Backend.PROCESS:
        return ProcessLink(blob)
    from tir_gym.drivers.ray_link import RayLink

    return RayLink(blob, options)
