"""The battery: every program by its name."""

from tests.executors.hostile import force, kin, lies, reach
from tests.executors.hostile.program import Program, ran

HARMLESS = Program("does no harm", "", "6 * 7", ran)
"""What must come out clean where nothing is isolated, or the control judges itself."""
PROGRAMS = {p.name: p for module in (reach, force, lies, kin) for p in module.PROGRAMS}
assert len(PROGRAMS) == sum(len(module.PROGRAMS) for module in (reach, force, lies, kin)), "a name is used twice"
