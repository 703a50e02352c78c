"""Honest sessions among hostile ones and kills."""

from pathlib import Path

import pytest

from tests.executors.hostile.chaos import chaos
from tests.executors.hostile.world import TIERS, worlds


@pytest.mark.parametrize("tier", TIERS)
def test_honest_sessions_are_right_among_hostile_ones(tier: str, tmp_path: Path) -> None:
    with worlds(tier, tmp_path) as world:
        assert chaos(world, seed=7, sessions=64, rounds=3) == []


@pytest.mark.soak
@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("seed", range(5))
def test_chaos_at_full_count(tier: str, seed: int, tmp_path: Path) -> None:
    with worlds(tier, tmp_path) as world:
        assert chaos(world, seed, sessions=64, rounds=20) == []


@pytest.mark.soak
def test_what_counts_does_harm_where_nothing_is_isolated() -> None:
    from tests.executors.hostile.__main__ import controls, counts
    from tests.executors.hostile.programs import PROGRAMS

    found = controls()
    assert sum(counts(found, name) for name in PROGRAMS) >= 80
