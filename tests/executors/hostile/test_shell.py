"""Shell programs are contained where sessions may start programs: by what the host sees, and by how they ended."""

import os
import tempfile
from collections.abc import Iterator

import pytest

from tests.executors.conftest import PATIENCE
from tests.executors.hostile.shell import SHELL
from tests.executors.hostile.world import World, attack, planted
from tests.processes import descendants
from tir_gym.core.interfaces import ExecutorUnavailable
from tir_gym.executors.forkserver import ForkServer


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("host")
    for path in (folder, *folder.parents):
        if path.is_relative_to(tempfile.gettempdir()) and path.stat().st_uid == os.geteuid():
            path.chmod(path.stat().st_mode | 0o055)
    try:
        executor = ForkServer(preload=("numpy",), programs=True, spare=0).acquire()
    except ExecutorUnavailable as error:
        pytest.skip(f"NO NAMESPACES: {error}")
    with planted(executor, folder, descendants, PATIENCE) as found:
        yield found
    executor.release()


@pytest.mark.parametrize("name", SHELL)
def test_it_stays_inside(world: World, name: str) -> None:
    program = SHELL[name]
    verdict = attack(world, program)
    assert not verdict.harms, verdict
    assert verdict.done is not None
    assert program.then(verdict.done), verdict
