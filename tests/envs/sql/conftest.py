import pytest

from tir_gym.envs.sql.engine import Engine, engine


@pytest.fixture(scope="session", autouse=True)
def warm_engine():
    """One worker for the tests that use the engine of this process."""
    engine().acquire()
    yield
    engine().release()


@pytest.fixture
def own_engine():
    """An engine whose worker nobody else uses."""
    made = Engine()
    yield made
    made.close()
