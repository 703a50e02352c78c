"""`Workers`: the engine of a vector environment whose slots live in other processes, here or on a Ray cluster."""

import math
import os
import pickle
import select
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from tir_gym.core.action import Action
from tir_gym.core.domain import Setting
from tir_gym.core.interfaces import Executor, ForkError
from tir_gym.core.view import Groups, Progress
from tir_gym.drivers.host import Outline
from tir_gym.drivers.links import Link, ProcessLink
from tir_gym.drivers.past import Past
from tir_gym.drivers.pickles import dumps
from tir_gym.drivers.seats import Ready
from tir_gym.drivers.slot import Slot


class Backend(StrEnum):
    """Where the slots of a vector environment live."""

    INLINE = "inline"
    PROCESS = "process"
    RAY = "ray"


DEATHS = 5
"""A turn (or a replay) at which so many workers died is not tried again: its episode is invalid."""


@dataclass(slots=True)
class _Turn:
    """What a slot was told to do and is not ready with: to take an action, or to reset."""

    action: Action | None
    options: Mapping[str, Any]
    cancelled: bool = False


@dataclass(slots=True, eq=False)
class _Line:
    """What the front knows of a slot."""

    worker: int
    place: int
    """Among the slots of its worker."""
    seed: tuple[int, int, int] = (0, 0, 0)
    """`Seats.seed`."""
    past: Past | None = None
    """The episode as it was after its last turn."""
    turn: _Turn | None = None
    ticket: int = 0
    replaying: bool = False
    """The episode is being played again, or will be."""
    busy: bool = False
    """The worker is at the turn, or at the replay."""
    deaths: int = 0
    """Workers that died while this was busy, since it came to something."""


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
        sizes = [_part(len(settings), workers, k) for k in range(workers)]
        self.ready: list[Ready] = []
        self.loop = self
        """What asyncio waits for."""
        self._settings = settings
        self._executor = executor
        self._worker_options = worker_options or {}
        self._backend = backend
        self._options = [{**options, "max_running": _part(max_running, workers, k)} for k in range(workers)]
        self._lines = [_Line(k, place) for k, size in enumerate(sizes) for place in range(size)]
        self._first = [sum(sizes[:k]) for k in range(workers + 1)]
        self._posts: list[list[tuple[Any, ...]]] = [[] for _ in range(workers)]
        self._answers: dict[int, Exception | str | None] = {}
        self._progress: Progress | None = None
        self._groups: Groups | None = None
        self._failed: list[Exception] = []
        self._barren = [0] * workers
        """How often each worker died since one in its place last said something."""
        self._lives = [0] * workers
        self._suspects: list[deque[_Line]] = [deque() for _ in range(workers)]
        """Slots at which two workers died in succession: they go on one at a time, so that no other suffers by them."""
        self._stuffed: set[int] = set()
        """Workers that have not read yet all that they were told."""
        self._made_in = os.getpid()
        self._closed = False
        blobs = [self._blob(k) for k in range(workers)]
        self._links: list[Link] = []
        try:
            for blob in blobs:
                self._links.append(self._start(blob))
        except BaseException:
            self.close()
            raise
        self._poller = select.epoll()
        for link in self._links:
            self._poller.register(link, select.EPOLLIN)

    # --- what `Seats` does -------------------------------------------------------------------------------------------
    @property
    def slots(self) -> list[Slot]:
        """Raises `RuntimeError`: they are elsewhere."""
        raise RuntimeError("the episodes live in workers and cannot be looked at; their infos say what they came to")

    def seed(self, i: int, base: int, place: int, episodes: int = 0) -> None:
        """`Seats.seed`."""
        line = self._lines[i]
        line.seed = base, place, episodes
        self._post(line, "seed", *line.seed)

    def reset(self, i: int, options: Mapping[str, Any]) -> None:
        """`Seats.reset`."""
        line = self._lines[i]
        self.ready = [ready for ready in self.ready if ready.place != i]
        line.turn, line.replaying = _Turn(None, options), False
        if line in self._suspects[line.worker]:
            self._suspects[line.worker].remove(line)
        self._take_turn(line)

    def send(self, i: int, action: Action) -> None:
        """`Seats.send`."""
        line = self._lines[i]
        line.turn = _Turn(action, {})
        if not line.replaying:
            self._take_turn(line)

    def flush(self) -> None:
        """Have the workers begin what they were told: one message to each."""
        self._check_process()
        for k, link in enumerate(self._links):
            posts, self._posts[k] = self._posts[k], []
            if posts:
                link.post(pickle.dumps(posts, pickle.HIGHEST_PROTOCOL))
            if link.flush() == (k in self._stuffed):
                self._stuffed ^= {k}
                self._poller.modify(link, select.EPOLLIN | (select.EPOLLOUT if k in self._stuffed else 0))

    def advance(self, timeout: float) -> None:
        """`Seats.advance`. Raises what went wrong in a worker, and `RuntimeError` for one that does not live."""
        self.flush()
        heard = {descriptor for descriptor, _ in self._poller.poll(None if timeout == math.inf else max(0.0, timeout))}
        for k, link in enumerate(self._links):
            if link.fileno() in heard:
                for message in link.receive():
                    for reply in pickle.loads(message):  # noqa: S301  of a process that this one started
                        self._hear(k, *reply)
                if link.ended:
                    self._revive(k, link.ended)
        self.flush()
        if self._failed:
            error, self._failed = self._failed[0], []
            raise error

    def wakeup(self) -> float:
        """Never: workers watch the time themselves."""
        return math.inf

    @property
    def finished(self) -> bool:
        """Whether there is something to `take`."""
        return bool(self.ready)

    def fileno(self) -> int:
        """A descriptor that is readable when a worker has something to say."""
        return self._poller.fileno()

    def take(self) -> list[Ready]:
        """`Seats.take`."""
        taken, self.ready = self.ready, []
        return taken

    def cancel(self, i: int) -> None:
        """`Seats.cancel`."""
        line = self._lines[i]
        if line.turn is not None and line.turn.action is not None and not line.turn.cancelled:
            line.turn.cancelled = True
            if not line.replaying:
                self._post(line, "cancel")
            self.flush()

    def fork(self, source: int, target: int) -> None:
        """`Seats.fork`: live within a worker, by replay from one to another."""
        one, other = self._lines[source], self._lines[target]
        while one.replaying or other.replaying:
            self.advance(math.inf)
        past = one.past
        assert past is not None
        if not past.lost:
            life = self._lives[other.worker]
            self._answers.pop(target, None)
            if one.worker == other.worker:
                self._post(one, "fork", other.place)
            else:
                self._post(other, "replay", past, False)
            while target not in self._answers and self._lives[other.worker] == life:
                self.advance(math.inf)
            if self._lives[other.worker] != life:
                self.fork(source, target)
                return
            error = self._answers.pop(target)
            if isinstance(error, Exception):
                raise error
            if error:
                raise ForkError(f"slot {source} cannot be played again in the worker of slot {target}: {error}")
        other.past = past.copy()

    def set_progress(self, progress: Progress) -> None:
        """`Seats.set_progress`."""
        self._progress = progress
        for posts in self._posts:
            posts.append(("set_progress", progress))

    def set_groups(self, groups: Groups | None) -> None:
        """`Seats.set_groups`. Raises `TypeError` for what does not pickle."""
        dumps(groups, "groups")
        self._groups = groups
        for posts in self._posts:
            posts.append(("set_groups", groups))

    def close(self) -> None:
        """End the workers and everything their episodes started; idempotent."""
        if self._closed or self._made_in != os.getpid():
            return
        self._closed = True
        for link in self._links:
            link.close()
        for link in self._links:
            link.wait_closed()
        if hasattr(self, "_poller"):
            self._poller.close()

    # --- with the workers --------------------------------------------------------------------------------------------
    def _post(self, line: _Line, name: str, *arguments: Any) -> None:
        self._posts[line.worker].append((name, line.place, *arguments))

    def _take_turn(self, line: _Line) -> None:
        """Have the worker do what is in flight, of which it has heard nothing yet."""
        turn = line.turn
        assert turn is not None
        line.busy = True
        line.ticket += 1
        lost = "" if line.past is None else line.past.lost
        if turn.action is None:
            self._post(line, "reset", line.ticket, turn.options)
        elif lost:
            self._post(line, "fail", line.ticket, lost)
        else:
            self._post(line, "send", line.ticket, turn.action)
            if turn.cancelled:
                self._post(line, "cancel")

    def _hear(self, k: int, kind: str, place: int, *arguments: Any) -> None:
        """A worker's reply, as `drivers.host` describes it."""
        i = self._first[k] + place
        line = self._lines[i]
        match kind, arguments:
            case "ready", (ticket, outline):
                self._barren[k] = 0
                if ticket == line.ticket:
                    self._note(line, outline)
                    self.ready.append(outline.ready(i))
                self._release(k)
            case "replayed", (failure,):
                self._barren[k] = 0
                if line.replaying:
                    self._recovered(line, failure)
                    self._release(k)
                elif line.turn is None:
                    self._answers[i] = failure
            case "forked", (error,):
                self._answers[i] = error
            case "raised", (ticket, error) if ticket == line.ticket and line.turn is not None:
                line.past = None if line.turn.action is None else line.past
                line.turn, line.busy, line.deaths = None, False, 0
                self._failed.append(error)
                self._release(k)
            case "broken", (error,):
                self._failed.append(error)

    def _note(self, line: _Line, outline: Outline) -> None:
        """Keep what it takes to play the episode again."""
        turn, past = line.turn, line.past
        assert turn is not None
        if outline.began is not None:
            line.past = past = Past(*outline.began)
        elif past is not None and not past.over and turn.action is not None:
            past.actions.append(turn.action)
        assert past is not None
        info = outline.news[-1]
        past.recorded += outline.recorded
        past.cut, past.over, past.digest = outline.cut, outline.over, info["state_digest"]
        if not info["valid"]:
            past.failure = info["failure"] or info["outcome"]
        past.lost = ""
        line.turn, line.busy, line.deaths = None, False, 0
        line.seed = (*line.seed[:2], outline.episodes)

    # --- when one dies -----------------------------------------------------------------------------------------------
    def _revive(self, k: int, reason: str) -> None:
        """Start another worker in the place of a dead one, and have it play again what was played there."""
        self._poller.unregister(self._links[k])
        self._links[k].close()
        self._links[k].wait_closed()
        self._barren[k] += 1
        self._lives[k] += 1
        if self._barren[k] >= DEATHS:
            self.close()
            raise RuntimeError(f"worker {k} died {DEATHS} times before it had anything to say; the last: {reason}")
        self._links[k] = self._start(self._blob(k))
        self._poller.register(self._links[k], select.EPOLLIN)
        self._posts[k] = []
        self._stuffed.discard(k)
        if self._progress is not None:
            self._posts[k].append(("set_progress", self._progress))
        if self._groups is not None:
            self._posts[k].append(("set_groups", self._groups))
        self._suspects[k].clear()
        for line in self._lines[self._first[k] : self._first[k + 1]]:
            self._post(line, "seed", *line.seed)
            self._recover(line)
        self._release(k)

    def _recover(self, line: _Line) -> None:
        """Have a slot become what it was when its worker died."""
        line.deaths += line.busy
        line.busy = False
        turn, past = line.turn, line.past
        resetting = turn is not None and turn.action is None
        if line.deaths >= (DEATHS if resetting else 2 * DEATHS):
            self.close()
            raise RuntimeError(f"{line.deaths} workers died in succession when they started an episode of one slot")
        if past is not None and line.deaths >= DEATHS:
            at = "while they played the episode again" if turn is None else "at this turn"
            past.lost = f"{line.deaths} workers died {at}"
        line.replaying = past is not None and not resetting
        if line.replaying or resetting:
            if line.deaths > 1:
                self._suspects[line.worker].append(line)
            else:
                self._begin_again(line)

    def _begin_again(self, line: _Line) -> None:
        past = line.past
        if not line.replaying or past is None:
            self._take_turn(line)
            return
        if past.lost:
            past = Past(past.task_id, past.seed, past.began_with, over=past.over, failure=past.lost)
        line.busy = True
        self._post(line, "replay", past, True)

    def _release(self, k: int) -> None:
        """Let the next suspect go on, once everything that was at something when a worker died is done with it."""
        if self._suspects[k]:
            lines = self._lines[self._first[k] : self._first[k + 1]]
            if not any(line.busy and (line.deaths or line.replaying) for line in lines):
                self._begin_again(self._suspects[k].popleft())

    def _recovered(self, line: _Line, failure: str) -> None:
        line.replaying = line.busy = False
        if failure and line.past is not None:
            line.past.lost = f"the episode could not be played again when its worker had died: {failure}"
        if line.turn is None:
            line.deaths = 0
        else:
            self._take_turn(line)

    def _start(self, blob: bytes) -> Link:
        """A worker that is made of this."""
        if self._backend is Backend.PROCESS:
            return ProcessLink(blob)
        from tir_gym.drivers.ray_link import RayLink

        return RayLink(blob, self._worker_options)

    def _blob(self, k: int) -> bytes:
        share = self._settings[self._first[k] : self._first[k + 1]]
        return dumps({"settings": share, "executor": self._executor, **self._options[k]}, "a worker")

    def _check_process(self) -> None:
        if self._closed or self._made_in != os.getpid():
            raise RuntimeError("the vector environment is closed, or belongs to the process that this was forked from")


def _part(whole: int, parts: int, k: int) -> int:
    """The k-th of nearly equal parts of a whole number."""
    return whole // parts + (k < whole % parts)
