from collections.abc import Iterator
from pathlib import Path

import pytest

import tests.toys  # noqa: F401  registers the toy environments
from tir_gym.envs.registration import default_executor
from tir_gym.scoring.symbolic import comparer

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"


@pytest.fixture
def shared_data() -> Path:
    if not SHARED_DATA.is_dir():
        pytest.skip(f"no real data at {SHARED_DATA.name}: see README, 'Real data'")
    return SHARED_DATA


@pytest.fixture(scope="session", autouse=True)
def warm_executor() -> Iterator[None]:
    """One fork server of each kind and one comparison worker for the whole run; environments only lease them."""
    leased = [default_executor(), default_executor(programs=True), comparer()]
    for helper in leased:
        helper.acquire()
    yield
    for helper in reversed(leased):
        helper.release()
