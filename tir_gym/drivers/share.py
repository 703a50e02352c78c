"""A worker's share of the slots as the front knows it: it outlives the worker, and has the next one play on."""

import pickle
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tir_gym.core.action import Action
from tir_gym.drivers.host import Outline
from tir_gym.drivers.links import Link
from tir_gym.drivers.past import Past
from tir_gym.drivers.seats import Ready

DEATHS = 5
"""A turn (or a replay) at which so many workers died is not tried again: its episode is invalid."""
DIED = "the worker died"
"""The answer of a worker that gave none."""


@dataclass(slots=True)
class Turn:
    """What a slot was told to do and is not ready with: to take an action, or (None) to reset."""

    action: Action | None
    options: Mapping[str, Any]
    cancelled: bool = False


@dataclass(slots=True, eq=False)
class Line:
    """What the front knows of a slot."""

    slot: int
    place: int
    """Among the slots of its worker."""
    seed: tuple[int, int, int] = (0, 0, 0)
    """`Seats.seed`."""
    past: Past | None = None
    """The episode as it was after its last turn."""
    tools: list[dict[str, Any]] = field(default_factory=list)
    """`Slot.tools`."""
    turn: Turn | None = None
    ticket: int = 0
    """Of the turn: a result that bears another is of one that was broken off."""
    replaying: bool = False
    """The episode is being played again, or will be."""
    busy: bool = False
    """The worker is at the turn, or at the replay."""
    deaths: int = 0
    """Workers that died while this was busy, since it came to something."""
    asked: bool = False
    """The worker is to become a copy, between turns."""
    answer: Exception | str | None = None
    """How that went; None: well."""


class Share:
    """One worker after another, and the slots from number `first` on that they play. `start` makes a worker."""

    def __init__(self, start: Callable[[], Link], first: int, size: int) -> None:
        self.lines = [Line(first + place, place) for place in range(size)]
        self.ready: list[Ready] = []
        """Results that nobody has taken yet."""
        self.failed: list[tuple[int, Exception]] = []
        """`Workers.take_failed`."""
        self._start = start
        self._posts: list[tuple[Any, ...]] = []
        self._standing: dict[str, tuple[Any, ...]] = {}
        self._barren = 0
        """Workers in succession that died before they said anything."""
        self._suspects: deque[Line] = deque()
        """Slots at which two workers died in succession: they go on one at a time, so that no other suffers by them."""
        self.link = start()

    # --- what the worker is told -------------------------------------------------------------------------------------
    def post(self, line: Line, name: str, *arguments: Any) -> None:
        """Give a command for a slot with the next `flush`."""
        self._posts.append((name, line.place, *arguments))

    def post_all(self, name: str, argument: Any) -> None:
        """Give a command for all slots, also to the workers to come."""
        self._standing[name] = name, argument
        self._posts.append((name, argument))

    def flush(self) -> bool:
        """Say what there is to say, in one message; False where some of it waits for room."""
        if self._posts:
            self.link.post(pickle.dumps(self._posts, pickle.HIGHEST_PROTOCOL))
            self._posts = []
        return self.link.flush()

    def reset(self, line: Line, options: Mapping[str, Any]) -> None:
        """`Seats.reset`."""
        self.ready = [ready for ready in self.ready if ready.place != line.slot]
        self.failed = [failure for failure in self.failed if failure[0] != line.slot]
        line.turn, line.replaying = Turn(None, options), False
        if line in self._suspects:
            self._suspects.remove(line)
        self._take_turn(line)

    def send(self, line: Line, action: Action) -> None:
        """`Seats.send`."""
        line.turn = Turn(action, {})
        if not line.replaying:
            self._take_turn(line)

    def cancel(self, line: Line) -> None:
        """`Seats.cancel`."""
        if line.turn is not None and line.turn.action is not None and not line.turn.cancelled:
            line.turn.cancelled = True
            if not line.replaying:
                self.post(line, "cancel")

    def _take_turn(self, line: Line) -> None:
        """Have the worker do what is in flight, of which it has heard nothing yet."""
        turn, past = line.turn, line.past
        assert turn is not None
        line.busy = True
        line.ticket += 1
        if turn.action is None:
            self.post(line, "reset", line.ticket, turn.options)
        elif past is not None and past.lost and not past.over:
            self.post(line, "fail", line.ticket, past.lost)
        else:
            self.post(line, "send", line.ticket, turn.action)
            if turn.cancelled:
                self.post(line, "cancel")

    # --- what it says ------------------------------------------------------------------------------------------------
    def hear(self) -> None:
        """Take in what the worker has said."""
        for message in self.link.receive():
            for kind, place, *arguments in pickle.loads(message):  # noqa: S301  of a process that this one started
                self._barren = 0
                self._hear(kind, self.lines[place], *arguments)

    def _hear(self, kind: str, line: Line, *arguments: Any) -> None:
        """A worker's reply, as `drivers.host` describes it."""
        match kind, arguments:
            case "ready", (ticket, outline):
                if ticket == line.ticket:
                    _note(line, outline)
                    self.ready.append(outline.ready(line.slot))
            case "replayed", (failure,) if line.replaying:
                self._recovered(line, failure)
            case (("replayed" | "forked"), (answer,)):
                line.asked, line.answer = False, answer or None
            case "raised", (ticket, error):
                if ticket == line.ticket and line.turn is not None:
                    line.past = line.turn = None
                    line.busy, line.deaths = False, 0
                    self.failed.append((line.slot, error))
            case "broken", (error,):
                self.failed.append((-1, error))
        self._release()

    # --- when it dies ------------------------------------------------------------------------------------------------
    def revive(self) -> None:
        """Start another worker in the place of the dead one, and have it play again what was played there.

        Raises `RuntimeError` where workers die again and again.
        """
        self._barren += 1
        if self._barren >= DEATHS:
            raise RuntimeError(
                f"{DEATHS} workers died in succession before they had anything to say; the last: {self.link.ended}"
            )
        self.link = self._start()
        self._posts = list(self._standing.values())
        self._suspects.clear()
        for line in self.lines:
            self.post(line, "seed", *line.seed)
            self._recover(line)
        self._release()

    def _recover(self, line: Line) -> None:
        """Have a slot become what it was when its worker died."""
        if line.asked:
            line.asked, line.answer = False, DIED
        line.deaths += line.busy
        line.busy = False
        turn, past = line.turn, line.past
        resetting = turn is not None and turn.action is None
        if line.deaths >= (DEATHS if resetting else 2 * DEATHS):
            raise RuntimeError(f"{line.deaths} workers died in succession when they started an episode of one slot")
        if past is not None and line.deaths >= DEATHS:
            at = "while they played the episode again" if turn is None else "at this turn"
            past.lost = f"{line.deaths} workers died {at}"
        line.replaying = past is not None and not resetting
        if line.replaying or resetting:
            if line.deaths > 1:
                self._suspects.append(line)
            else:
                self._begin_again(line)

    def _begin_again(self, line: Line) -> None:
        if not line.replaying or line.past is None:
            self._take_turn(line)
            return
        line.busy = True
        self.post(line, "replay", line.past.playable(), True)

    def _recovered(self, line: Line, failure: str) -> None:
        line.replaying = line.busy = False
        if failure and line.past is not None:
            line.past.lost = f"the episode could not be played again when its worker had died: {failure}"
        if line.turn is None:
            line.deaths = 0
        else:
            self._take_turn(line)

    def _release(self) -> None:
        """Let the next suspect go on, once everything that was at something when a worker died is done with it."""
        if self._suspects and not any(line.busy and (line.deaths or line.replaying) for line in self.lines):
            self._begin_again(self._suspects.popleft())


def _note(line: Line, outline: Outline) -> None:
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
    line.tools = line.tools if outline.tools is None else outline.tools
    past.cut, past.over, past.digest = outline.cut, outline.over, info["state_digest"]
    if not info["valid"]:
        past.failure = info["failure"] or info["outcome"]
    past.lost = ""
    line.turn, line.busy, line.deaths = None, False, 0
    line.seed = (*line.seed[:2], outline.episodes)
