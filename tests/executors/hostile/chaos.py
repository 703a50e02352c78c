"""Many sessions at once, half of them hostile, with kills at random: what the honest ones compute stays right.

`chaos(world, seed, sessions, rounds)` is what `make soak` calls with its full counts.
"""

import os
import random
import signal
import time
from contextlib import suppress

from tests.executors.conftest import PATIENCE, STERN, run
from tests.executors.hostile.program import PRELUDE
from tests.executors.hostile.programs import PROGRAMS
from tests.executors.hostile.world import TIERS, World, _look
from tir_gym.core.interfaces import Done, Session
from tir_gym.executors.process import wait_readable

SETUP = (
    "import random\ntotal = 1\ndef step(n):\n    global total\n    total = (total * 31 + n) % 1000003\n    return total"
)
MODULUS, FACTOR = 1_000_003, 31


class Honest:
    """A session that counts, beside the same count on the host."""

    def __init__(self, session: Session, total: int) -> None:
        self.session, self.total = session, total

    def submit(self, number: int) -> str:
        """Start a step; what it must say."""
        self.total = (self.total * FACTOR + number) % MODULUS
        code = f"open('now', 'w').write(str(step({number})))\n(total, open('now').read())"
        self.session.submit(code, 60.0)
        return str((self.total, str(self.total)))


def chaos(world: World, seed: int, sessions: int = 64, rounds: int = 5) -> list[str]:
    """What went wrong, [] if nothing did: `sessions` live at once, `rounds` submissions to each, choices by `seed`."""
    rng = random.Random(seed)
    honest: list[Honest] = []
    for number in range(sessions // 2):
        if number % 4 == 3:  # every fourth is a live copy of an earlier one
            first = rng.choice(honest)
            honest.append(Honest(first.session.fork(), first.total))
        else:
            honest.append(Honest(world.executor.open(STERN, number), 1))
            run(honest[-1].session, SETUP)
    spared = world.processes()
    names = [p.name for p in PROGRAMS.values() if not p.cast and (p.section != "disk" or world.tier.endswith(TIERS[0]))]
    hostile: list[Session] = []
    problems: list[str] = []
    for turn in range(rounds):
        while len(hostile) < sessions - len(honest):
            hostile.append(world.executor.open(STERN, rng.randrange(1000)))
            run(hostile[-1], PRELUDE)
        wanted = {one.session: one.submit(rng.randrange(1000)) for one in honest}
        for session in hostile:
            with suppress(RuntimeError):  # one that ended between two submissions says so only once
                session.submit(world.fill(PROGRAMS[rng.choice(names)].code), 0.3)
        for session in rng.sample(hostile, len(hostile) // 8):
            session.close()
        for pid in rng.sample(sorted(world.processes() - spared), 2):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        ends = gather([*wanted, *hostile])
        for session, value in wanted.items():
            done = ends.get(session)
            if done is None or done.value != value:
                problems.append(f"round {turn}: {done} instead of {value}")
        hostile = [s for s in hostile if s.fileno() >= 0 and s in ends and not rng.randrange(2)] if turn % 2 else []
    for session in [*hostile, *(one.session for one in honest)]:
        session.close()
    if harms := _look(world, set()):
        problems.append(f"the host suffered: {harms}")
    return problems


def gather(running: list[Session]) -> dict[Session, Done]:
    """The ends of all submissions that run; sessions that are closed have none."""
    ends: dict[Session, Done] = {}
    until = time.monotonic() + 2 * PATIENCE
    waiting = list(running)
    while waiting and time.monotonic() < until:
        for session in list(waiting):
            for event in session.events():
                if isinstance(event, Done):
                    ends[session] = event
            if session in ends or session.fileno() < 0:
                waiting.remove(session)
        if waiting:
            wait_readable(waiting[0].fileno(), time.monotonic() + 0.005)
    return ends
