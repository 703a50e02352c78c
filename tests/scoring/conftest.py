from collections.abc import Iterator

import pytest

from tir_gym.scoring import math, symbolic
from tir_gym.scoring.symbolic import comparer


@pytest.fixture(scope="module")
def worker() -> Iterator[None]:
    """One worker for a file, up before the first comparison; gone after the last."""
    comparer().acquire()
    assert comparer().warm(60.0)
    yield
    comparer().release()


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time enough for every verdict, however busy the machine is."""
    monkeypatch.setattr(math, "SECONDS", 30.0)
    monkeypatch.setattr(math, "IN_ALL", 60.0)
    monkeypatch.setattr(symbolic, "_GRACE", 30.0)
