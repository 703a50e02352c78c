"""A worker's side: its share of the slots, played as it is told over a wire.

A message is a pickled list: of commands (a method of `Host` and its arguments), or of replies:
`("ready", place, ticket, Outline)`, `("replayed", place, failure)`, `("forked", place, error or None)`,
`("raised", place, ticket, error)` for a command, `("broken", 0, error)` for what cannot be put down to a slot.
"""

import os
import pickle
import select
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from tir_gym.core.action import Action
from tir_gym.core.episode import Episode
from tir_gym.core.schema import RecordedRun
from tir_gym.core.view import Groups, GroupView, Progress
from tir_gym.drivers.past import Past
from tir_gym.drivers.seats import Ready, Seats
from tir_gym.drivers.slot import StepResult
from tir_gym.drivers.wire import Wire

Fields = tuple[Any, float, bool, bool, dict[str, Any]]
"""A `StepResult` as a tuple, which pickles faster."""


class Outline(NamedTuple):
    """What a slot has come to, and what a `Past` has to know of it."""

    news: Fields
    end: Fields | None
    began: tuple[str, int, tuple[GroupView, Progress]] | None
    """Task, seed and `Slot.began_with` of an episode that is told of for the first time."""
    recorded: Sequence[RecordedRun]
    """Those since the last outline of the episode."""
    cut: int
    over: bool
    episodes: int
    tools: list[dict[str, Any]] | None
    """`Slot.tools`, where they may be others than those told last."""

    def ready(self, place: int) -> Ready:
        """The result itself."""
        return Ready(place, StepResult(*self.news), None if self.end is None else StepResult(*self.end))


class Known(NamedTuple):
    """What the front knows of a slot: its episode, how many of its recorded runs, and whose tools in which version."""

    episode: Episode | None = None
    recorded: int = 0
    tools: tuple[str, int] | None = None


class Host:
    """Carries out commands on `Seats`; its public methods, but for `replies`, are the commands."""

    def __init__(self, seats: Seats) -> None:
        self._seats = seats
        self._replies: list[tuple[Any, ...]] = []
        self._tickets = [0] * len(seats.slots)
        self._known = [Known()] * len(seats.slots)

    def replies(self) -> list[tuple[Any, ...]]:
        """What there is to say, after having looked once what has happened."""
        try:
            self._seats.advance(0.0)
        except Exception as error:
            self._replies.append(("broken", 0, sendable(error)))
        for place, raised in self._seats.take_failed():
            told = ("broken", 0) if place < 0 else ("raised", place, self._tickets[place])
            self._replies.append((*told, sendable(raised)))
        self._replies += (("ready", r.place, self._tickets[r.place], self._outline(r)) for r in self._seats.take())
        for place, failure in self._seats.replayed:
            self._knows(place)
            self._replies.append(("replayed", place, failure))
        self._seats.replayed.clear()
        said, self._replies = self._replies, []
        return said

    def seed(self, place: int, base: int, slot: int, episodes: int) -> None:
        """`Seats.seed`."""
        self._seats.seed(place, base, slot, episodes)

    def reset(self, place: int, ticket: int, options: Mapping[str, Any]) -> None:
        """`Seats.reset`; the result bears the ticket."""
        self._known[place] = Known()
        self._begin(place, ticket, lambda: self._seats.reset(place, options))

    def send(self, place: int, ticket: int, action: Action) -> None:
        """`Seats.send`; the result bears the ticket."""
        self._begin(place, ticket, lambda: self._seats.send(place, action))

    def fail(self, place: int, ticket: int, reason: str) -> None:
        """`Seats.fail`; the result bears the ticket."""
        self._begin(place, ticket, lambda: self._seats.fail(place, reason))

    def cancel(self, place: int) -> None:
        """`Seats.cancel`."""
        self._seats.cancel(place)

    def fork(self, source: int, target: int) -> None:
        """`Seats.fork`."""
        try:
            self._seats.fork(source, target)
        except Exception as error:
            self._replies.append(("forked", target, sendable(error)))
        else:
            self._knows(target)
            self._replies.append(("forked", target, None))

    def replay(self, place: int, past: Past, whatever: bool) -> None:
        """`Seats.replay`. Raises what keeps it from beginning, with `whatever`: then this worker is of no use."""
        try:
            self._seats.replay(place, past, whatever=whatever)
        except Exception as error:
            if whatever:
                raise
            self._replies.append(("replayed", place, f"{type(error).__name__}: {error}"))

    def set_progress(self, progress: Progress) -> None:
        """`Seats.set_progress`."""
        self._seats.set_progress(progress)

    def set_groups(self, groups: Groups | None) -> None:
        """`Seats.set_groups`."""
        self._seats.set_groups(groups)

    def _begin(self, place: int, ticket: int, turn: Callable[[], None]) -> None:
        self._tickets[place] = ticket
        try:
            turn()
        except Exception as error:
            self._replies.append(("raised", place, ticket, sendable(error)))

    def _knows(self, place: int) -> None:
        slot = self._seats.slots[place]
        episode = slot.episode
        if episode is None:
            return
        offered = episode.to_move, episode.toolkits[episode.to_move].tools_version
        self._known[place] = Known(episode, len(slot.recorded), offered)

    def _outline(self, ready: Ready) -> Outline:
        slot, known = self._seats.slots[ready.place], self._known[ready.place]
        self._knows(ready.place)
        episode, _, offered = self._known[ready.place]
        assert episode is not None
        fresh = episode is not known.episode
        began = (episode.task.id, episode.seed, slot.began_with) if fresh else None
        recorded = list(slot.recorded[0 if fresh else known.recorded :])
        end = None if ready.end is None else _fields(ready.end)
        over, count = bool(episode.outcome), self._seats.episodes(ready.place)
        tools = slot.tools if fresh or offered != known.tools else None
        return Outline(_fields(ready.news), end, began, recorded, slot.cut, over, count, tools)


def _fields(result: StepResult) -> Fields:
    return result.observation, result.reward, result.terminated, result.truncated, result.info


def sendable(error: Exception) -> Exception:
    """The exception, or its words where it does not survive pickling."""
    try:
        pickle.loads(pickle.dumps(error))  # noqa: S301  our own
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def serve(seats: Seats, wire: Wire, messages: Sequence[bytes] = (), watched: int = -1) -> None:
    """Play, at first what `messages` say, until the wire's other end closes or the descriptor `watched` is readable."""
    host = Host(seats)
    try:
        while not wire.ended:
            for message in messages:
                for name, *arguments in pickle.loads(message):  # noqa: S301  of the process that started this one
                    getattr(host, name)(*arguments)
            if replies := host.replies():
                wire.post(pickle.dumps(replies, pickle.HIGHEST_PROTOCOL))
            poller = select.poll()
            poller.register(wire, select.POLLIN if wire.flush() else select.POLLIN | select.POLLOUT)
            poller.register(seats.loop, select.POLLIN)
            if watched >= 0:
                poller.register(watched, select.POLLIN)
            left = 0.0 if seats.loop.finished else seats.wakeup() - time.monotonic()
            heard = dict(poller.poll(None if left == float("inf") else max(0.0, 1000 * left + (left > 0))))
            if watched in heard:
                break
            messages = wire.receive()
    finally:
        seats.close()
        wire.close()


def main(descriptor: int, parent: int) -> None:
    """A worker process: `descriptor` is its end of a socket to the process `parent`, whose end it does not outlive."""
    import multiprocessing.process
    import socket
    from multiprocessing import spawn

    os.set_inheritable(descriptor, False)
    watched = os.pidfd_open(parent)
    if os.getppid() != parent:
        sys.exit(1)
    wire = Wire(socket.socket(fileno=descriptor))
    messages: list[bytes] = []
    while not messages:
        heard = select.select([descriptor, watched], [], [])[0]
        messages = wire.receive()
        if wire.ended or watched in heard:
            return
    main_module, blob = pickle.loads(messages[0])  # noqa: S301  of the process that started this one
    if main_module:
        current = multiprocessing.process.current_process()
        current._inheriting = True  # type: ignore[attr-defined]  # as `spawn` does: a script must not start us again
        spawn.prepare(main_module)
        del current._inheriting  # type: ignore[attr-defined]
    serve(Seats(**pickle.loads(blob)), wire, messages[1:], watched)  # noqa: S301
