"""Every hostile program is contained: by what the host sees, and by how the program ended."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.executors.hostile.__main__ import STRANGER, unforeseen
from tests.executors.hostile.control import ROOT
from tests.executors.hostile.programs import FEW, PROGRAMS
from tests.executors.hostile.world import OTHERS, TIERS, World, attack, judge, worlds
from tir_gym.core.interfaces import ExecutorUnavailable

CASES = [
    pytest.param(tier, name, marks=[] if tier == TIERS[0] or name in FEW else pytest.mark.soak)
    for tier in TIERS
    for name in PROGRAMS
]
"""All of it against the tier that is the default; against the other a few, and the rest in `make soak`."""


@pytest.fixture(scope="module")
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with worlds(request.param, tmp_path_factory.mktemp("host")) as planted:
        yield planted


@pytest.mark.parametrize(("world", "name"), CASES, indirect=["world"], scope="module")
def test_it_stays_inside(world: World, name: str) -> None:
    program = PROGRAMS[name]
    verdict = attack(world, program)
    weak = set(verdict.harms) & set(program.weak.get(world.tier, ""))
    assert set(verdict.harms) == weak, verdict
    assert weak or verdict.done is None or program.then(verdict.done), verdict


@pytest.fixture(scope="module", params=OTHERS)
def other(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    url = request.getfixturevalue("docker_url") if request.param == "docker" else ""
    try:
        with worlds(request.param, tmp_path_factory.mktemp("host"), url) as planted:
            yield planted
    except ExecutorUnavailable as error:
        pytest.skip(f"NO {request.param.upper()}: {error}")


def stays_inside(world: World, name: str) -> bool:
    return unforeseen(world.tier, {name: judge(world, name)}) == []


@pytest.mark.parametrize("name", [name for name in FEW if not PROGRAMS[name].cast])
def test_it_stays_inside_with_other_executors(other: World, name: str) -> None:
    assert stays_inside(other, name)


@pytest.mark.soak
@pytest.mark.parametrize("name", [name for name in PROGRAMS if name not in FEW and not PROGRAMS[name].cast])
def test_all_stay_inside_with_other_executors(other: World, name: str) -> None:
    assert stays_inside(other, name)


def strangers_column(tier: str, *more: str) -> dict[str, str]:
    if os.geteuid() != 0:
        pytest.skip("the battery runs as a plain user already")
    command = [*STRANGER, sys.executable, "-m", "tests.executors.hostile", "--column", tier, *more]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=True)
    found: dict[str, str] = json.loads(done.stdout)
    return found


def test_it_stays_inside_where_the_host_is_a_plain_user() -> None:
    found = strangers_column(TIERS[0], "--few")
    assert found.keys() == set(FEW)
    assert unforeseen(f"unprivileged {TIERS[0]}", found) == []


@pytest.mark.soak
@pytest.mark.parametrize("tier", [*TIERS, "bwrap"])
def test_all_stay_inside_where_the_host_is_a_plain_user(tier: str) -> None:
    found = strangers_column(tier)
    assert found.keys() == PROGRAMS.keys()
    assert unforeseen(f"unprivileged {tier}", found) == []
