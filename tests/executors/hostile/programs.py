"""The battery: every program by its name."""

from tests.executors.hostile import force, kin, lies, reach, turns
from tests.executors.hostile.program import Program, ran

HARMLESS = Program("does no harm", "", "6 * 7", ran)
"""What must come out clean where nothing is isolated, or the control judges itself."""
_ALL = [*reach.PROGRAMS, *force.PROGRAMS, *lies.PROGRAMS, *turns.PROGRAMS, *kin.PROGRAMS]
PROGRAMS = {p.name: p for p in _ALL}
assert len(PROGRAMS) == len(_ALL), "a name is used twice"

FEW = (
    *("an original searches for its copy's files", "a late copy reads its original's file"),
    *("reads the memory of the host", "reads a file of the host", "uses other descriptors", "closes every descriptor"),
    *("reserves the disk", "makes an io_uring", "takes the rights of a file", "catches every interrupt"),
    *("hooks imports", "changes the locale", "bombs with memory", "maps memory past the interpreter"),
    *("enters a user namespace", "connects over TCP", "sends to a path", "leaves a daemon that ignores signals"),
    *("prints for ever", "changes how JSON reads", "bombs with forks", "bombs with threads", "hands the host garbage"),
    *("kills the host", "stops the clock of the library", "calls with an object", "has the host read a pipe"),
    "leaves a thread that floods the output",
)
"""One or two of each section, for where all would take too long."""
