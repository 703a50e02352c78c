"""One event loop for the turns of many slots; every driver waits in one."""

import contextlib
import heapq
import itertools
import math
import os
import select
import time
from collections.abc import Hashable, Iterable
from typing import TYPE_CHECKING, Protocol

from tir_gym.core.requests import Shared
from tir_gym.core.tool import EnvError
from tir_gym.drivers.slot import Slot

if TYPE_CHECKING:
    import asyncio


class Loop:
    """Watches slots from the begin of a turn to its end. Belongs to the process (and thread) that uses it."""

    def __init__(self) -> None:
        self.busy: dict[int, Slot] = {}
        """Slots whose turn is not finished, by their keys."""
        self._poller: select.epoll | None = None
        self._made_in = 0
        self._owners: dict[int, int] = {}
        self._watched: dict[int, tuple[int, ...]] = {}
        self._alarms: list[tuple[float, int, int]] = []
        self._count = itertools.count()
        self._done: list[int] = []

    def add(self, key: int, slot: Slot) -> None:
        """Watch a slot that has begun a turn."""
        self.busy[key] = slot
        self._look(key, slot)

    def remove(self, key: int) -> None:
        """Forget a slot, whatever it is doing."""
        if self.busy.pop(key, None) is not None:
            self._unwatch(key)
        if key in self._done:
            self._done.remove(key)

    def __contains__(self, key: int) -> bool:
        """Whether a slot is watched, or is finished and `run` did not say so yet."""
        return key in self.busy or key in self._done

    def run(self, timeout: float = math.inf) -> list[int]:
        """Keys of the slots whose turns are finished since the last call, in the order in which they finished.

        Waits up to `timeout` seconds for the first one; [] after that, or where nothing is busy.
        """
        until = time.monotonic() + timeout
        while not self._done and self.busy:
            left = until - time.monotonic()
            self.poll(max(0.0, left))
            if left <= 0:
                break
        done, self._done = self._done, []
        return done

    def poll(self, timeout: float) -> None:
        """Perform the shared requests that wait, or wait up to `timeout` seconds for sessions to say something."""
        asking = [key for key, slot in self.busy.items() if slot.shared]
        if asking:
            perform([self.busy[key] for key in asking])
            for key in asking:
                self._look(key, self.busy[key])
            return
        wait = min(timeout, max(0.0, self.wakeup() - time.monotonic()))
        heard = self._epoll().poll(-1 if wait == math.inf else wait + 0.001 * (wait > 0))
        if any(fd not in self._owners for fd, _ in heard):
            self._begin_anew()
        ready = {self._owners[fd] for fd, _ in heard if fd in self._owners}
        now = time.monotonic()
        while self._alarms and self._alarms[0][0] <= now:
            ready.add(heapq.heappop(self._alarms)[2])
        for key in ready:
            if slot := self.busy.get(key):
                slot.poll()
                self._look(key, slot)

    @property
    def finished(self) -> bool:
        """Whether `run` would not wait."""
        return bool(self._done) or any(slot.shared for slot in self.busy.values())

    def fileno(self) -> int:
        """A descriptor that is readable when a session has something to say; see also `wakeup`."""
        return self._epoll().fileno()

    def wakeup(self) -> float:
        """`time.monotonic()` at which to `poll` though the descriptor is silent; inf for never."""
        while self._alarms and self._alarms[0][2] not in self.busy:
            heapq.heappop(self._alarms)
        return self._alarms[0][0] if self._alarms else math.inf

    def close(self) -> None:
        """Forget everything; idempotent."""
        self.busy.clear()
        self._owners.clear()
        self._watched.clear()
        self._alarms.clear()
        self._done.clear()
        if self._poller is not None and self._made_in == os.getpid():
            self._poller.close()
        self._poller = None

    def _epoll(self) -> select.epoll:
        if self._poller is None or self._made_in != os.getpid():
            self._poller, self._made_in = select.epoll(), os.getpid()
        return self._poller

    def _look(self, key: int, slot: Slot) -> None:
        """After something happened to a slot: it is done, or is to be watched on."""
        if not slot.busy:
            del self.busy[key]
            self._unwatch(key)
            self._done.append(key)
            return
        if slot.shared:  # to be performed before anything is waited for
            return
        descriptors = tuple(slot.filenos())
        if descriptors != self._watched.get(key, ()):
            self._unwatch(key)
        for descriptor in descriptors:
            self._listen(descriptor)
            self._owners[descriptor] = key
        self._watched[key] = descriptors
        wakeup = slot.wakeup()
        if wakeup != math.inf:
            heapq.heappush(self._alarms, (wakeup, next(self._count), key))

    def _begin_anew(self) -> None:
        """Descriptors that were closed here, but not in a process that was forked from this one, are heard on."""
        if self._poller is not None:
            self._poller.close()
        self._poller = None
        for descriptor in self._owners:
            with contextlib.suppress(OSError):  # it is closed, and its slot will be looked at for another reason
                self._epoll().register(descriptor, select.EPOLLIN)

    def _listen(self, descriptor: int) -> None:
        """Be told of a descriptor, also of one that was closed and opened again under the same number."""
        if descriptor in self._owners:
            with contextlib.suppress(FileNotFoundError):
                self._epoll().modify(descriptor, select.EPOLLIN)
                return
        self._epoll().register(descriptor, select.EPOLLIN)

    def _unwatch(self, key: int) -> None:
        for descriptor in self._watched.pop(key, ()):
            if self._owners.get(descriptor) == key:
                del self._owners[descriptor]
                try:
                    self._epoll().unregister(descriptor)
                except (OSError, ValueError):  # closed meanwhile, which took it out
                    continue


class Waits(Protocol):
    """What one can wait for in an event loop of somebody else's."""

    @property
    def finished(self) -> bool:
        """Whether there is nothing to wait for."""

    def fileno(self) -> int:
        """A descriptor that is readable when something has happened."""


class Waiters:
    """Tasks of asyncio that wait for one loop. What has happened may concern any of them, so each looks again."""

    def __init__(self) -> None:
        self._waiting: dict[asyncio.Event, int] = {}

    def ring(self) -> None:
        """Something has happened that the descriptor does not tell."""
        for heard in self._waiting:
            heard.set()

    async def wait(self, loop: Waits, wakeup: float) -> None:
        """Let other tasks run until something has happened, `ring` is called, or `time.monotonic()` is `wakeup`."""
        if loop.finished:
            return
        import asyncio

        heard, descriptor, current = asyncio.Event(), loop.fileno(), asyncio.get_running_loop()
        self._waiting[heard] = descriptor
        current.add_reader(descriptor, self.ring)
        try:
            async with asyncio.timeout(None if wakeup == math.inf else max(0.0, wakeup - time.monotonic())):
                await heard.wait()
        except TimeoutError:
            return
        finally:
            del self._waiting[heard]
            if descriptor not in self._waiting.values():
                current.remove_reader(descriptor)


def perform(slots: Iterable[Slot]) -> None:
    """Perform every shared request that waits, together with those that are for the same service."""
    batches: dict[Hashable, list[tuple[Slot, Shared]]] = {}
    for slot in slots:
        for request in slot.shared:
            batches.setdefault((type(request), request.service), []).append((slot, request))
        slot.shared = []
    for batch in batches.values():
        requests = [request for _, request in batch]
        try:
            results = requests[0].perform_all(requests)
        except Exception as error:
            failure = error if isinstance(error, EnvError) else EnvError(f"{type(error).__name__}: {error}")
            results = [failure] * len(batch)
        for (slot, request), result in zip(batch, results, strict=True):
            if slot.busy:  # the result of an earlier request may have ended its episode
                slot.found(request, result)
