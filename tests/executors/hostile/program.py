"""What a hostile program is, and what may be true of how it ended."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from tests.executors.conftest import STERN
from tir_gym.core.interfaces import Done, RunStatus

ENDED = {RunStatus.KILLED, RunStatus.PROTOCOL_ERROR, RunStatus.TIMEOUT}
HARMS = {
    "L": "a secret was read",
    "T": "the trainer died or was stopped",
    "S": "a neighbour or another process of the host was harmed",
    "O": "a process outlived its session",
    "N": "a listener of the host was reached",
    "D": "the disk filled",
    "W": "a file of the host changed",
    "M": "memory far beyond the limit",
    "P": "processes or threads far beyond the limit",
    "F": "output without bound reached the trainer",
    "H": "the trainer hung",
    "B": "the next session was not as the first",
    "X": "an exception reached the trainer",
    "A": "an action succeeded that no session is to have",
}
"""The letters of the matrix, as a verdict may hold them."""


def typed(done: Done) -> bool:
    """Some result of the policy's own, in one of the ways a submission can end; never a fault of the executor."""
    return done.status is not RunStatus.EXECUTOR_ERROR and bounded(done)


def refused(done: Done) -> bool:
    """The code ran to its end inside, got an error for what it tried, and can go on."""
    return done.status is RunStatus.EXCEPTION and not done.state_lost and "Error" in done.error


def nothing(done: Done) -> bool:
    return done.status is RunStatus.OK and done.value == "[]"


def ran(done: Done) -> bool:
    """It could do what it wanted, in its own session."""
    return done.status is RunStatus.OK and not done.state_lost


def gone(done: Done) -> bool:
    return done.status in ENDED and done.state_lost


def bounded(done: Done) -> bool:
    return len(done.stdout + done.stderr + done.value + done.error + done.traceback) < 6 * STERN.output_chars


def protocol(done: Done) -> bool:
    return done.status is RunStatus.PROTOCOL_ERROR and done.state_lost


def stopped(done: Done) -> bool:
    return done.status in {RunStatus.TIMEOUT, RunStatus.OUTPUT_LIMIT} and bounded(done)


def memory(done: Done) -> bool:
    return done.status is RunStatus.MEMORY and not done.state_lost


def exhausted(done: Done) -> bool:
    return done.status in {RunStatus.EXCEPTION, RunStatus.MEMORY, RunStatus.KILLED}


@dataclass(frozen=True)
class Program:
    """A hostile program as data. All code is run after `PRELUDE`, with the names in capitals filled in by the world."""

    name: str
    section: str
    code: str
    then: Callable[[Done], bool] = typed
    """What must be true of its end, besides that no harm was done."""
    deadline: float = 10.0
    earlier: str = ""
    """What a session before it ran; that session is closed."""
    before: str = ""
    """What the attacking session ran first; where there is a victim, before each fork on the way to both."""
    cast: str = ""
    """Who attacks whom: "copy" its original, "original" its copy, "sibling" the other copy; "": the host."""
    generation: int = 1
    """How many forks lie between the session that began and the copy."""
    plant: str = ""
    """What the victim does with its secret MINE before the attack."""
    next: str = "6 * 7"
    """What the next session runs; it must end as in a session before the attack."""
    weak: Mapping[str, str] = field(default_factory=dict)
    """Tier -> the harms that are not kept off there, as docs/security.md says."""
    exempt: str = ""
    """Why it is not run without isolation; such a program does not count."""


PRELUDE = """
import ctypes, gc, json, os, re, signal, socket, struct, sys, threading, time
libc, held = ctypes.CDLL(None, use_errno=True), ctypes.PyDLL(None)
def won(): print('got', 'it', sep='-')
def call(*arguments):
    result = libc.syscall(*arguments)
    if result < 0: raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result
def send(body): os.write(3, struct.pack('!I', len(body)) + body)
def show(text):
    for found in set(re.findall('canary-[a-z]+-[0-9a-f]{16}', text)): print(found)
def scan(pid):
    with open(f'/proc/{pid}/maps') as maps, open(f'/proc/{pid}/mem', 'rb', 0) as mem:
        for line in maps:
            where, rights, *rest = line.split()
            if rights[:2] == 'rw':
                start, end = (int(part, 16) for part in where.split('-'))
                try:
                    mem.seek(start); show(mem.read(min(end - start, 1 << 26)).decode('latin-1'))
                except (OSError, ValueError, OverflowError): pass
def pids(): return [int(name) for name in os.listdir('/proc') if name.isdecimal() and int(name) != os.getpid()]
"""
WON = "got-it"
"""What `won()` prints; it stands in no program."""
