"""Which sessions of an executor have an interpreter, and whose turn it is to lose his."""

import threading
import time
import weakref
from collections import OrderedDict
from typing import Protocol

LOOK_S = 0.02
"""Seconds after which a submission that waits for its turn looks again, for another thread may have made room."""


class Evictable(Protocol):
    """A session as the roster sees it."""

    reference: "weakref.ref[Evictable]"
    stays: bool

    @property
    def longest(self) -> float:
        """Seconds that a submission may take."""

    def evict(self) -> bool:
        """Give the interpreter of the idle session up; False if it stays, or is none."""


class Roster:
    """Which sessions of an executor have an interpreter: at most `bound` of those that can be evicted (0: any number).

    Where `bound` are busy, submissions wait for their turn; if none ends for as long as one may take (because nobody
    looks at those that run), the next goes over the bound. So do `put`, `get` and `fork`, which cannot wait.
    """

    def __init__(self, bound: int) -> None:
        self.bound, self.lock = bound, threading.RLock()
        self._live: weakref.WeakSet[Evictable] = weakref.WeakSet()
        self._idle: OrderedDict[weakref.ref[Evictable], None] = OrderedDict()
        self._freed_at = 0.0

    def enter(self, session: Evictable) -> weakref.ref[Evictable]:
        """The reference by which the session is known here."""
        reference = weakref.ref(session, self._drop)
        hash(reference)  # what it refers to cannot be asked when it is gone
        return reference

    def _drop(self, session: weakref.ref[Evictable]) -> None:
        self._idle.pop(session, None)

    def room(self) -> bool:
        """Whether one more session may have an interpreter with none being evicted."""
        return not self.bound or len(self._live) < self.bound

    def place(self, session: Evictable, since: float | None) -> bool:
        """Let the session have an interpreter, if need be in place of the idle one used least recently.

        False: it must wait. It has waited since `since` (`time.monotonic()` seconds); with None it does not.
        """
        if not self.bound or session.stays:
            return True
        with self.lock:
            while self._idle and not self.room():
                self._evict_one()
            late = since is None or time.monotonic() - max(since, self._freed_at) > session.longest
            if late or self.room() or session in self._live:
                self._live.add(session)
                return True
        return False

    def _evict_one(self) -> None:
        try:
            victim = self._idle.popitem(last=False)[0]()
        except KeyError:  # another thread has just taken the last one up
            return
        if victim is not None:
            victim.evict()

    def look_at(self) -> float:
        """When a session that waits is to ask again."""
        return time.monotonic() + (0.0 if self._idle or self.room() else LOOK_S)

    def take_up(self, session: weakref.ref[Evictable]) -> None:
        """Make sure that nobody evicts the session from now on."""
        try:
            del self._idle[session]
        except KeyError:
            with self.lock:  # who may be evicting it right now
                pass

    def rest(self, session: weakref.ref[Evictable]) -> None:
        """The session is idle: it may be evicted."""
        self._idle[session] = None
        self._freed_at = time.monotonic()
        if len(self._live) > self.bound:
            with self.lock:
                self._evict_one()

    def leave(self, session: Evictable) -> None:
        """The session has no interpreter any more."""
        if self.bound:
            self._idle.pop(session.reference, None)
            self._live.discard(session)
            self._freed_at = time.monotonic()
