"""Finished episodes on their way to a trainer: a bounded queue that knows how stale they are."""

import contextlib
import math
import threading
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

from tir_gym.rollout.tokens import NO_VERSION, TokenRollout


@dataclass(frozen=True)
class StreamStats:
    """A look at a stream; numbers of episodes."""

    version: int
    playing: int
    """Begun, not finished."""
    waiting: int
    """Finished, not taken."""
    taken: int
    stale: int
    """Thrown away because they were too old."""
    lags: dict[int, int]
    """How many were taken how many versions after the oldest token of their group was sampled."""


class _Group(NamedTuple):
    rollouts: list[TokenRollout]
    oldest: int
    """The oldest version among their tokens; `NO_VERSION` where nothing was sampled."""


class TokenStream:
    """Finished rollouts on their way from any number of players to a trainer, each in threads of their own.

    A player asks `begin` before the first token of an episode, and hands the rollout over with `put` when the episode
    ends: `put` never waits. The trainer takes batches of `batch` groups of `group_size` episodes, which share the name
    `TokenRollout.group` and lie side by side (`take`, or `for rollouts in stream`), and after each update says which
    version its weights have (`publish`); before the first one that is `version`.

    While the weights have a version, no more groups are begun than `max_lag` batches beyond the one that it trains on,
    so that one begun now is trained on at most `max_lag` versions later if groups finish in the order in which they
    began (AReaL, arXiv 2505.24298, its rule for the staleness eta, counted from the batches that were taken). That
    bounds the queue too: at most (max_lag + 1) * batch groups are played or wait. An episode that takes longer may be
    older: with `stale` "drop" a group with a token sampled more than `max_lag` versions ago is thrown away and another
    one may be begun for it, with "keep" it is given out (`TokenRollout.versions` tells, and each token its own).

    Rollouts of invalid episodes are given out like others, for a group is to be whole; their loss mask is empty.
    """

    def __init__(
        self,
        batch: int,
        *,
        group_size: int = 1,
        max_lag: int = 1,
        stale: Literal["drop", "keep"] = "drop",
        version: int = 0,
    ) -> None:
        if batch < 1 or group_size < 1 or max_lag < 0:
            raise ValueError(f"batch={batch} and group_size={group_size} must be at least 1, max_lag={max_lag} 0")
        if stale not in ("drop", "keep"):
            raise ValueError(f"stale={stale!r} is not 'drop' or 'keep'")
        self.batch = batch
        self.group_size = group_size
        self.max_lag = max_lag
        self._version = version
        self._drops = stale == "drop"
        self._changed = threading.Condition()
        self._listeners: list[Callable[[], object]] = []
        self._room = (max_lag + 1) * batch
        """Groups that may still be begun at this version."""
        self._batches = max_lag + 1
        """Batches that may still be taken at this version."""
        self._free: dict[str, int] = {}
        """Episodes still to begin of the groups that were begun."""
        self._playing: Counter[str] = Counter()
        self._parts: dict[str, list[TokenRollout]] = {}
        self._ready: deque[_Group] = deque()
        self._taken = self._stale = 0
        self._lags: Counter[int] = Counter()
        self._closed = False
        self._error: BaseException | None = None

    @property
    def version(self) -> int:
        """The version that was published last."""
        return self._version

    @property
    def closed(self) -> bool:
        """Whether no more episodes are begun."""
        return self._closed

    # --- players -----------------------------------------------------------------------------------------------------
    def begin(self, group: str = "", timeout: float = 0.0) -> bool:
        """Whether an episode of a group may begin now, or within `timeout` seconds; if so, `put` is to follow.

        A group that was begun is filled up without waiting. False for ever once the stream is closed.
        """
        return self.begin_any((group,), timeout) is not None

    def begin_any(self, groups: Collection[str], timeout: float = 0.0) -> str | None:
        """A group of these of which an episode may begin now, or within `timeout` seconds; one that was begun first."""
        with self._changed:
            self._wait(lambda: self._closed or self._startable(groups) is not None, timeout)
            name = self._startable(groups)
            if self._closed or name is None:
                return None
            left = self._free.pop(name, 0)
            if not left:
                self._room -= 1
                left = self.group_size
            if left > 1:
                self._free[name] = left - 1
                self._tell()
            self._playing[name] += 1
            return name

    def put(self, rollout: TokenRollout) -> None:
        """Hand over an episode that has ended. Raises `ValueError` where none of its group was begun."""
        name = rollout.group
        with self._changed:
            if not self._playing[name]:
                raise ValueError(f"no episode of the group {name!r} was begun: ask `begin` first")
            self._playing[name] -= 1
            if not self._playing[name]:
                del self._playing[name]
            members = self._parts.setdefault(name, [])
            members.append(rollout)
            if len(members) == self.group_size:
                del self._parts[name]
                versions = (member.versions[0] for member in members)
                self._ready.append(_Group(members, min((v for v in versions if v != NO_VERSION), default=NO_VERSION)))
                self._drop_stale()
                self._tell()

    @contextlib.contextmanager
    def listening(self, callback: Callable[[], object]) -> Iterator[None]:
        """Call back, in whatever thread, whenever episodes may have become able to begin, and when the stream closes.

        For players that wait for other things too. The callback must be short and not use the stream.
        """
        with self._changed:
            self._listeners.append(callback)
        try:
            yield
        finally:
            with self._changed:
                self._listeners.remove(callback)

    # --- the trainer -------------------------------------------------------------------------------------------------
    def take(self, timeout: float = math.inf) -> list[TokenRollout]:
        """The next batch, groups in the order in which they were finished.

        Once the stream is closed: what is left, as whole groups, and then []. Raises `TimeoutError` where the batch is
        not there within `timeout` seconds (what there is stays), `RuntimeError` with the cause where a player failed,
        or where a version has to be published before another batch can come.
        """
        with self._changed:
            if not self._batches and not self._closed:
                raise RuntimeError(
                    f"version {self._version} was given {self.max_lag + 1} batches, and with max_lag={self.max_lag} no "
                    "more are begun for it: publish the next version first"
                )
            if not self._wait(lambda: self._closed or len(self._ready) >= self.batch, timeout):
                raise TimeoutError(f"{len(self._ready)} of {self.batch} groups were finished within {timeout} s")
            if self._error is not None:
                raise RuntimeError(f"a player failed: {self._error!r}") from self._error
            self._batches -= 1
            rollouts: list[TokenRollout] = []
            for _ in range(min(self.batch, len(self._ready))):
                group = self._ready.popleft()
                rollouts += group.rollouts
                self._lags[self._lag(group)] += self.group_size
            self._taken += len(rollouts)
            return rollouts

    def __iter__(self) -> Iterator[list[TokenRollout]]:
        """Batches until the stream is closed and empty."""
        while rollouts := self.take():
            yield rollouts

    def publish(self, version: int) -> None:
        """Say that the weights have a new version: more may begin, and what is too old for it is thrown away.

        Raises `ValueError` for a version that is not above the last.
        """
        with self._changed:
            if version <= self._version:
                raise ValueError(f"version {version} is not above {self._version}, the last")
            self._version = version
            self._room += (self.max_lag + 1 - self._batches) * self.batch
            self._batches = self.max_lag + 1
            self._drop_stale()
            self._tell()

    # --- both --------------------------------------------------------------------------------------------------------
    def close(self, error: BaseException | None = None) -> None:
        """Begin no more episodes; idempotent. With an `error`, the trainer's `take` raises it from now on."""
        with self._changed:
            self._closed = True
            self._error = self._error or error
            self._tell()

    def stats(self) -> StreamStats:
        """Numbers of episodes now."""
        with self._changed:
            waiting = len(self._ready) * self.group_size + sum(map(len, self._parts.values()))
            playing = self._playing.total()
            return StreamStats(self._version, playing, waiting, self._taken, self._stale, dict(self._lags))

    def _startable(self, names: Collection[str]) -> str | None:
        begun = next((name for name in self._free if name in names), None)
        return next(iter(names), None) if begun is None and self._room > 0 else begun

    def _drop_stale(self) -> None:
        if not self._drops:
            return
        fresh = deque(group for group in self._ready if self._lag(group) <= self.max_lag)
        dropped = len(self._ready) - len(fresh)
        self._ready = fresh
        self._room += dropped
        self._stale += dropped * self.group_size

    def _lag(self, group: _Group) -> int:
        return 0 if group.oldest == NO_VERSION else self._version - group.oldest

    def _wait(self, ready: Callable[[], bool], timeout: float) -> bool:
        return self._changed.wait_for(ready, None if timeout == math.inf else timeout)

    def _tell(self) -> None:
        self._changed.notify_all()
        for callback in self._listeners:
            callback()
