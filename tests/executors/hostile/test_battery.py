"""Every hostile program is contained: by what the host sees, and by how the program ended."""

from collections.abc import Iterator

import pytest

from tests.executors.hostile.programs import PROGRAMS
from tests.executors.hostile.world import TIERS, World, attack, worlds


@pytest.fixture(scope="module", params=TIERS)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with worlds(request.param, tmp_path_factory.mktemp("host")) as planted:
        yield planted


@pytest.mark.parametrize("name", PROGRAMS)
def test_it_stays_inside(world: World, name: str) -> None:
    program = PROGRAMS[name]
    verdict = attack(world, program)
    weak = set(verdict.harms) & set(program.weak.get(world.tier, ""))
    assert set(verdict.harms) == weak, verdict
    assert weak or verdict.done is None or program.then(verdict.done), verdict
