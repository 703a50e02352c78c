"""The packages that sessions have: profiles, what each can do, and that there is nothing else."""

import importlib.util
import pickle
import sys
import sysconfig
from collections.abc import Iterator
from importlib.metadata import packages_distributions

import pytest

from tests.executors.conftest import LIMITS, run
from tir_gym.core.interfaces import Executor, ExecutorUnavailable, Session
from tir_gym.executors.bwrap import BwrapExecutor
from tir_gym.executors.docker import DockerExecutor
from tir_gym.executors.forkserver import ForkServer
from tir_gym.executors.process import PROFILES

COMPUTATIONS = {
    "numpy": ("import numpy as np; float(np.linalg.det(np.array([[1.0, 2], [3, 4]])).round(6))", "-2.0"),
    "sympy": ("import sympy as s; x = s.Symbol('x'); s.solve(x**2 - 5*x + 6, x)", "[2, 3]"),
    "mpmath": ("import mpmath as m; m.mp.dps = 30; m.nstr(m.quad(m.sin, [0, m.pi]), 20)", "'2.0'"),
    "optimize": ("from scipy import optimize; round(optimize.brentq(lambda x: x**3 - 8, 0, 5), 9)", "2.0"),
    "integrate": ("from scipy import integrate; round(integrate.quad(lambda x: x**2, 0, 3)[0], 9)", "9.0"),
    "stats": ("from scipy import stats; round(float(stats.norm.ppf(0.975)), 6)", "1.959964"),
    "networkx": (
        "import networkx as nx; nx.shortest_path(nx.Graph([(1, 2), (2, 3), (3, 4), (1, 5), (4, 5)]), 2, 5)",
        "[2, 1, 5]",
    ),
    "pandas": (
        "import pandas as p; p.DataFrame({'k': [*'aba'], 'v': 1}).to_csv('t'); p.read_csv('t').groupby('k').v.sum()",
        "k\na    2\nb    1\nName: v, dtype: int64",
    ),
    "dates": (
        "import pandas as pd; pd.to_datetime('3 March 2021 12:00').tz_localize('Europe/Berlin').isoformat()",
        "'2021-03-03T12:00:00+01:00'",
    ),
}
ALLOWED = {"numpy", "sympy", "mpmath", "scipy", "networkx", "pandas", "dateutil", "tzdata", "pytz", "six"}


@pytest.fixture(scope="module", params=["namespaces", "no namespaces", "bwrap"])
def full(request: pytest.FixtureRequest) -> Iterator[Session]:
    if missing := [name for name in PROFILES["full"] if importlib.util.find_spec(name) is None]:
        pytest.skip(f"NO SCIENCE: {missing} not installed; pip install 'tir-gym[science]'")
    made: Executor = ForkServer("full", namespaces=request.param == "namespaces")
    if request.param == "bwrap":
        made = BwrapExecutor("full")
    try:
        made.acquire()
    except ExecutorUnavailable as error:
        pytest.skip(f"NO {request.param.upper()}: {error}")
    session = made.open(LIMITS, seed=0)
    yield session
    session.close()
    made.release()


def test_first_use_finds_everything_imported(full: Session) -> None:
    for name in (*PROFILES["full"], "scipy.stats", "scipy.optimize", "numpy.random"):
        assert run(full, f"import sys; {name!r} in sys.modules").value == "True", name


@pytest.mark.parametrize("name", COMPUTATIONS)
def test_each_package_computes(full: Session, name: str) -> None:
    code, value = COMPUTATIONS[name]
    done = run(full, code)
    assert (done.error, done.value) == ("", value)


def test_nothing_else_of_site_packages_can_be_imported(full: Session) -> None:
    installed = {name for name in packages_distributions() if name.isidentifier()} | {"tir_gym"}
    others = sorted(installed - ALLOWED - sys.stdlib_module_names)
    assert {"pytest", "gymnasium", "pip", "pydantic", "requests"} <= {*others}
    look = f"import importlib.util, sys\n[n for n in {others!r} if n in sys.modules or importlib.util.find_spec(n)]"
    assert run(full, look).value == "[]"
    run(full, f"sys.path.append({sysconfig.get_path('purelib')!r})")
    assert run(full, look).value == "[]"


@pytest.mark.parametrize("namespaces", [True, False])
def test_further_packages_are_there_but_not_loaded(namespaces: bool) -> None:
    with ForkServer((), ("mpmath",), namespaces).leased() as executor:
        session = executor.open(LIMITS, seed=0)
        assert run(session, "import sys; 'mpmath' in sys.modules").value == "False"
        assert run(session, "import mpmath; mpmath.nstr(mpmath.sqrt(2), 5)").value == "'1.4142'"
        assert run(session, "import sympy").error.startswith("ModuleNotFoundError")


def test_a_profile_is_the_packages_it_stands_for() -> None:
    for kind in (ForkServer, BwrapExecutor):
        lean = [kind(), kind("lean"), kind(("numpy", "sympy")), pickle.loads(pickle.dumps(kind("lean")))]
        assert len({*lean}) == 1
        assert kind("full") != kind("lean")
        assert pickle.loads(pickle.dumps(kind("full"))) == kind("full") == kind(PROFILES["full"])
    assert DockerExecutor("an-image", "lean") == DockerExecutor("an-image", ("numpy", "sympy"))


def test_another_name_is_refused() -> None:
    with pytest.raises(ValueError, match=r"preload='numpy' must be 'lean' or 'full', or a tuple of packages"):
        ForkServer("numpy")


def test_what_a_profile_lacks_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "networkx", None)  # as if it were not installed
    with pytest.raises(ExecutorUnavailable, match=r"'networkx'.*pip install 'tir-gym\[science\]'"):
        ForkServer(("networkx",)).acquire()
