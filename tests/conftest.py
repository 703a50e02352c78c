import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

import tests.toys  # noqa: F401  registers the toy environments
from tir_gym.core.interfaces import ExecutorUnavailable
from tir_gym.executors import ForkServer, shared
from tir_gym.retrieval.manifest import cache_root
from tir_gym.scoring.symbolic import comparer

SHARED = {"deadline": None, "suppress_health_check": [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]}
"""A busy machine makes examples slowly."""
settings.register_profile("test", max_examples=40, **SHARED)
settings.register_profile("soak", max_examples=300, **SHARED)
settings.load_profile("test")

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"
USER_CACHE = cache_root().absolute()


PLAIN, PROGRAMS = shared(ForkServer(spare=0)), shared(ForkServer(programs=True, spare=0))
"""What all environments of the run use; nothing is kept ready, so that a process left over is one too many."""


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Indexes are built anew for a run, and kept out of the user's cache; of that, Lucene's jar is taken."""
    with pytest.MonkeyPatch.context() as patch:
        own = tmp_path_factory.mktemp("cache")
        (own / "lucene").symlink_to(USER_CACHE / "lucene")
        patch.setenv("TIR_GYM_CACHE", str(own))
        yield


@pytest.fixture
def shared_data() -> Path:
    if not SHARED_DATA.is_dir():
        pytest.skip(f"no real data at {SHARED_DATA.name}: see README, 'Real data'")
    return SHARED_DATA


@pytest.fixture(scope="session", autouse=True)
def warm_executor() -> Iterator[None]:
    """One fork server of each kind and one comparison worker for the whole run; environments only lease them."""
    leased = [PLAIN, comparer(), PROGRAMS]
    with contextlib.suppress(ExecutorUnavailable):  # without namespaces the tests of terminals say so one by one
        leased[-1].acquire()
    for helper in leased[:-1]:
        helper.acquire()
    yield
    for helper in reversed(leased):
        helper.release()
