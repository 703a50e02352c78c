"""Equality of expression trees, decided in a worker that can be killed."""

import ast
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from tests.processes import check_nothing_left, descendants, footprint, wait_until_gone
from tir_gym.scoring import symbolic
from tir_gym.scoring.symbolic import Comparer, Expression, NotServed, Verdict, WorkerUnavailable, comparer

EQUAL, UNEQUAL, UNDECIDED = Verdict

OPERATORS: dict[type[ast.operator], str] = {ast.Add: "+", ast.Mult: "*", ast.Pow: "^"}


def tree(text: str) -> Expression:
    """The tree of a formula in Python's syntax; one-letter names but `e` and `i` are symbols."""
    return _tree(ast.parse(text, mode="eval").body)


def _tree(node: ast.expr) -> Expression:
    match node:
        case ast.Constant(value):
            return ["n", str(value)]
        case ast.Name("pi" | "e" | "i" | "oo" as name):
            return ["c", name]
        case ast.Name(name):
            return ["v", name]
        case ast.UnaryOp(ast.USub(), part):
            return ["*", ["n", "-1"], _tree(part)]
        case ast.BinOp(ast.Constant(above), ast.Div(), ast.Constant(below)):
            return ["n", f"{above}/{below}"]
        case ast.BinOp(left, ast.Div(), right):
            return ["*", _tree(left), ["^", _tree(right), ["n", "-1"]]]
        case ast.BinOp(left, ast.Sub(), right):
            return ["+", _tree(left), ["*", ["n", "-1"], _tree(right)]]
        case ast.BinOp(left, operator, right):
            return [OPERATORS[type(operator)], _tree(left), _tree(right)]
        case ast.Call(ast.Name("sqrt"), [part]):
            return ["^", _tree(part), ["n", "1/2"]]
        case ast.Call(ast.Name(name), parts):
            return ["f", name, *map(_tree, parts)]
    raise AssertionError(ast.dump(node))


@pytest.fixture(scope="module")
def shared() -> Iterator[Comparer]:
    instance = Comparer()
    instance.equal(tree("1"), tree("1"), seconds=30)
    yield instance
    instance.close()


@pytest.fixture
def own() -> Iterator[Comparer]:
    instance = Comparer()
    yield instance
    instance.close()


@pytest.fixture(autouse=True)
def generous(monkeypatch: pytest.MonkeyPatch) -> None:
    """A late reply is no lost worker: these tests share two cores with others."""
    monkeypatch.setattr(symbolic, "_GRACE", 60.0)


def ask(instance: Comparer, left: str, right: str, seconds: float = 60.0) -> Verdict:
    return instance.equal(tree(left), tree(right), seconds)


def worker_of(instance: Comparer) -> int:
    """The process id of the comparer's worker."""
    worker = instance._worker
    assert worker
    return worker._process.pid


EQUALITIES = [
    ("1", "1"),
    ("2/4", "1/2"),
    ("2**10", "1024"),
    ("sqrt(8)", "2*sqrt(2)"),
    ("1/sqrt(2)", "sqrt(2)/2"),
    ("sqrt(3 + 2*sqrt(2))", "1 + sqrt(2)"),
    ("sqrt(5 + 2*sqrt(6))", "sqrt(2) + sqrt(3)"),
    ("(2 + sqrt(5))**(1/3) - (sqrt(5) - 2)**(1/3)", "1"),
    ("8**(1/3)", "2"),
    ("1/(sqrt(3) - sqrt(2))", "sqrt(3) + sqrt(2)"),
    ("sqrt(1/2)", "2**(-1/2)"),
    ("cos(pi/3)", "1/2"),
    ("sin(pi)", "0"),
    ("tan(pi/8)", "sqrt(2) - 1"),
    ("cos(pi/5)", "(1 + sqrt(5))/4"),
    ("cos(pi/7)*cos(2*pi/7)*cos(3*pi/7)", "1/8"),
    ("sec(x)*cot(x)", "csc(x)"),
    ("atan(1) + atan(2) + atan(3)", "pi"),
    ("asin(x) + acos(x)", "pi/2"),
    ("sin(x)**2 + cos(x)**2", "1"),
    ("sin(2*x)", "2*sin(x)*cos(x)"),
    ("cosh(x)**2 - sinh(x)**2", "1"),
    ("tanh(x)", "(exp(2*x) - 1)/(exp(2*x) + 1)"),
    ("(x + 1)**2", "x**2 + 2*x + 1"),
    ("(x - y)*(x + y)", "x**2 - y**2"),
    ("(a + b + c)**3", "a**3 + b**3 + c**3 + 3*(a + b)*(b + c)*(c + a)"),
    ("1/(x - 1) - 1/(x + 1)", "2/(x**2 - 1)"),
    ("(x**2 - 1)/(x - 1)", "x + 1"),
    ("x/x", "1"),
    ("log(8, 2)", "3"),
    ("log(x, 10)", "ln(x)/ln(10)"),
    ("ln(6)", "ln(2) + ln(3)"),
    ("ln(exp(x))", "x"),
    ("exp(ln(2)/2)", "sqrt(2)"),
    ("e**x", "exp(x)"),
    ("factorial(5)", "120"),
    ("binomial(10, 3)", "120"),
    ("binomial(n, 2)", "n*(n - 1)/2"),
    ("factorial(n)/factorial(n - 1)", "n"),
    ("e**(i*pi)", "-1"),
    ("(1 + i)**2", "2*i"),
    ("(3 + 4*i)*(3 - 4*i)", "25"),
    ("abs(3 + 4*i)", "5"),
    ("1/i", "-i"),
    ("e**(i*x)", "cos(x) + i*sin(x)"),
    ("ln(e**(i*pi))", "i*pi"),
    ("sqrt(x**2)", "abs(x)"),
    ("sqrt(x*y)", "sqrt(x)*sqrt(y)"),
    ("log(x**2, e)", "2*ln(x)"),
    ("ln((x + 1)/x)", "ln(x + 1) - ln(x)"),
    ("sqrt(-1 - x**2)", "sqrt(-(1 + x**2))"),
    ("sqrt(a)*sqrt(b)*sqrt(c)*sqrt(d)", "sqrt(a*b*c*d)"),
    ("sin(2*asin(x))", "2*x*sqrt(1 - x**2)"),
    ("ln(x - 100) + ln(x + 100)", "ln(x**2 - 10000)"),
    ("floor(7/2) + ceil(7/2)", "7"),
    ("floor((1 + sqrt(2))**2 - 2*sqrt(2))", "3"),
    ("floor(log(8, 2))", "3"),
    ("oo", "oo + 1"),
    ("atan(oo)", "pi/2"),
    ("1/oo", "0"),
    ("exp(-oo)", "0"),
    ("9**9**9", "9**9**9"),
    ("sin(10**1000)**2 + cos(10**1000)**2", "1"),
    ("factorial(10**10)/3", "factorial(10**10)/3"),
    ("x + y**99999", "y**99999 + x"),
    ("exp(5000) + 1", "1 + exp(5000)"),
    ("cosh(5000)**2 - sinh(5000)**2", "1"),
    ("sqrt(8) - 2*sqrt(2)", "0"),
    ("10**100*sin(pi)", "0"),
    ("1 + sin(pi)*y", "1"),
    ("x + y*(cos(pi/7) - cos(2*pi/7) + cos(3*pi/7) - 1/2)", "x"),
    ("(1 + pi*10**(-300)) - 1", "pi*10**(-300)"),
]

INEQUALITIES = [
    ("1", "2"),
    ("1/3", "333333333333/1000000000000"),
    ("sqrt(2)", "1414213562373095/1000000000000000"),
    ("cos(pi/7)", "900968867902419/1000000000000000"),
    ("sqrt(2) + sqrt(3)", "sqrt(5)"),
    ("e**(pi*sqrt(163))", "262537412640768744"),
    ("pi", "22/7"),
    ("sqrt(2)", "-sqrt(2)"),
    ("x", "y"),
    ("x", "5"),
    ("x + y", "x*y"),
    ("x", "x + 10**(-30)"),
    ("10**5000 + 1", "10**5000"),
    ("pi + 10**(-40)", "pi"),
    ("pi*10**(-40)", "2*pi*10**(-40)"),
    ("(x + 1)**2", "x**2 + 1"),
    ("(x - y)**2", "(x + y)**2"),
    ("sqrt(x**2)", "x"),
    ("sqrt(-1 - x**2)", "sqrt(-2 - x**2)"),
    ("sqrt(i*x*y)", "sqrt(i*x)*sqrt(y)"),
    ("asin(x)", "acos(x)"),
    ("ln(ln(x))", "ln(x)"),
    ("ln(x - 100)", "ln(x + 100)"),
    ("abs(x)", "x"),
    ("abs(x + 1000)", "x + 1000"),
    ("sin(x)", "cos(x)"),
    ("tan(x)", "sin(2*x)"),
    ("floor(x)", "x"),
    ("(-8)**(1/3)", "-2"),
    ("i", "-i"),
    ("i", "1"),
    ("oo", "-oo"),
    ("oo", "10**1000"),
    ("1/0", "1/0"),
    ("1/(x - x)", "1/(x - x)"),
    ("oo - oo", "0"),
    ("0*oo", "0"),
    ("ln(0)", "-oo"),
    ("tan(pi/2)", "tan(pi/2)"),
    ("1/(8**(1/3) - 2)", "1"),
    ("factorial(-1)", "factorial(-1)"),
    ("9**9**9", "1"),
    ("2**(10**8)", "2**(10**8) - 2**(10**8 - 1)"),
    ("factorial(10**10)", "10**(10**10)"),
    ("binomial(10**9, 5*10**8)", "2**(10**9)"),
    ("x**99999", "x**99998"),
    ("pi**200 + 1", "pi**200"),
    ("pi + 10**(-80)", "pi"),
    ("1/(sqrt(8) - 2*sqrt(2))", "1/(sqrt(8) - 2*sqrt(2))"),
    ("(x + y + 1)**100000", "(x + y + 1)**100000 + 10**(-10)"),
]

UNDECIDABLE = [
    ("9**9**9**9", "1"),
    ("9**9**9**9", "9**9**9**9 + 1"),
    ("2**(10**8)", "2**(10**8) + 1"),
    ("factorial(10**10)", "factorial(10**10) + 1"),
    ("factorial(factorial(factorial(20)))", "2"),
    ("binomial(10**9, 5*10**8) + x", "x + binomial(10**9, 5*10**8) + 1"),
    ("exp(exp(exp(exp(exp(10)))))", "7"),
    ("sin(exp(exp(1000)))", "1/2"),
    ("floor(pi*10**10000)", "0"),
    ("(sqrt(2)*3)**(10**9)", "(3*sqrt(2))**(10**9) + 1"),
    ("sin(10**1000)*(w + x + y + z + 1)**150", "sin(10**1000)*(w + x + y + z)**150"),
]
"""What cannot be told within bounds; most of it would take a worker without bounds down."""


@pytest.mark.parametrize(("left", "right"), EQUALITIES)
def test_equal(shared: Comparer, left: str, right: str) -> None:
    assert ask(shared, left, right) is ask(shared, right, left) is EQUAL


@pytest.mark.parametrize(("left", "right"), INEQUALITIES)
def test_unequal(shared: Comparer, left: str, right: str) -> None:
    assert ask(shared, left, right) is ask(shared, right, left) is UNEQUAL


@pytest.mark.parametrize(("number", "pair"), list(enumerate(UNDECIDABLE)))
def test_a_bomb_is_undecided_and_harms_nothing(shared: Comparer, number: int, pair: tuple[str, str]) -> None:
    pid = worker_of(shared)
    assert ask(shared, *pair, 1.5) is UNDECIDED
    assert ask(shared, f"(x + {number})*2", f"2*x + {2 * number}") is EQUAL
    assert worker_of(shared) == pid


@pytest.mark.parametrize(
    "broken",
    [
        ["n", "one"],
        ["n", "1.5"],
        ["c", "gamma"],
        ["f", "exec", ["n", "1"]],
        ["f", "sin"],
        ["f", "log", ["n", "2"]],
        [],
        "x",
    ],
)
def test_what_is_no_expression_is_undecided(shared: Comparer, broken: Expression) -> None:
    assert shared.equal(broken, ["n", "1"], 60.0) is UNDECIDED


def test_large_expressions(shared: Comparer) -> None:
    digits = "7" * 1000
    terms = [["*", ["n", f"{digits}/{10**999 + k}"], ["v", f"x{k}"]] for k in range(100)]
    assert shared.equal(["+", *terms], ["+", *reversed(terms)], 60.0) is EQUAL
    assert shared.equal(["+", *terms], ["+", *terms[1:]], 60.0) is UNEQUAL
    assert shared.equal(["n", "7" * 2_000_000], ["n", "7"]) is UNDECIDED


def test_nothing_starts_before_the_first_comparison() -> None:
    before = footprint()
    for _ in range(1000):
        Comparer().acquire()
    check_nothing_left(before)
    assert comparer() is comparer()


def test_the_last_release_ends_the_worker(own: Comparer) -> None:
    before = footprint()
    own.acquire()
    own.acquire()
    assert ask(own, "x", "x*1") is EQUAL
    pid = worker_of(own)
    own.release()
    assert pid in descendants()
    own.release()
    check_nothing_left(before)
    own.release()
    assert ask(own, "x + 1", "1 + x") is EQUAL
    own.release()
    assert worker_of(own) in descendants()
    own.close()
    own.close()
    check_nothing_left(before)


def test_a_verdict_is_remembered_in_either_order(own: Comparer) -> None:
    assert ask(own, "sqrt(8)", "2*sqrt(2)") is EQUAL
    own.close()
    assert ask(own, "2*sqrt(2)", "sqrt(8)") is EQUAL
    assert own._worker is None


def test_undecided_for_lack_of_time_is_remembered_for_that_time(own: Comparer) -> None:
    bomb = UNDECIDABLE[-1]
    assert ask(own, "1", "1") is EQUAL
    assert ask(own, *bomb, 1.5) is UNDECIDED
    own.close()
    assert ask(own, *bomb, 1.4) is UNDECIDED
    assert own._worker is None
    assert own.warm(60.0)
    assert ask(own, *bomb, 1.6) is UNDECIDED
    assert descendants(worker_of(own)) == set()


def test_a_start_that_takes_longer_goes_on(own: Comparer) -> None:
    with pytest.raises(NotServed, match="still starting"):
        ask(own, "x", "y", 0.001)
    pid = worker_of(own)
    assert ask(own, "x", "y", 30.0) is UNEQUAL
    assert worker_of(own) == pid


def test_who_is_not_served_is_told_so(own: Comparer) -> None:
    assert ask(own, "x", "x + 1") is UNEQUAL
    with ThreadPoolExecutor(1) as pool:
        bomb = pool.submit(ask, own, *UNDECIDABLE[-1], 4.0)
        while not descendants(worker_of(own)):
            assert not bomb.done()
        with pytest.raises(NotServed, match="other comparisons"):
            ask(own, "x", "x + 2", 0.2)
        assert bomb.result() is UNDECIDED
    assert ask(own, "x", "x + 2") is UNEQUAL


def test_threads(own: Comparer) -> None:
    def compare(number: int) -> Verdict:
        half, odd = divmod(number, 2)
        return ask(own, f"(x + {half})**2", f"x**2 + {2 * half}*x + {half**2 + odd}", 30.0)

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(compare, range(160))) == [EQUAL, UNEQUAL] * 80
    pid = worker_of(own)
    assert ask(own, "x", "x + 1") is UNEQUAL
    assert worker_of(own) == pid, "the worker ended with the thread that started it"


def test_killed_between_comparisons(own: Comparer) -> None:
    assert ask(own, "x", "x + 1") is UNEQUAL
    os.kill(worker_of(own), signal.SIGKILL)
    assert ask(own, "x", "x + 2") is UNEQUAL


def test_killed_during_a_comparison(own: Comparer) -> None:
    assert ask(own, "x", "x + 1") is UNEQUAL
    pid = worker_of(own)
    with ThreadPoolExecutor(1) as pool:
        bomb = pool.submit(ask, own, *UNDECIDABLE[-1], 4.0)
        while not (children := descendants(pid)):
            assert not bomb.done()
        os.kill(pid, signal.SIGKILL)
        wait_until_gone(children)
        with suppress(NotServed):
            assert bomb.result() is UNDECIDED
    assert ask(own, "x", "x + 2") is UNEQUAL


def test_a_child_killed_by_others_is_asked_again(own: Comparer) -> None:
    assert ask(own, "x", "x + 1") is UNEQUAL
    first = worker_of(own)
    with ThreadPoolExecutor(1) as pool:
        bomb = pool.submit(ask, own, *UNDECIDABLE[-1], 4.0)
        while not (children := descendants(first)):
            assert not bomb.done()
        os.kill(children.pop(), signal.SIGKILL)
        with suppress(NotServed):
            assert bomb.result() is UNDECIDED
    assert worker_of(own) != first
    assert ask(own, "x", "x + 2") is UNEQUAL


def test_a_silent_worker_is_replaced(own: Comparer, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ask(own, "x", "x + 1") is UNEQUAL
    pid = worker_of(own)
    os.kill(pid, signal.SIGSTOP)
    with monkeypatch.context() as patch:
        patch.setattr(symbolic, "_GRACE", 0.1)
        with pytest.raises(NotServed):
            ask(own, "x", "x + 2", 0.1)
    assert pid not in descendants()
    assert ask(own, "x", "x + 2") is UNEQUAL


def test_an_interrupted_comparison_leaves_no_reply_behind(own: Comparer) -> None:
    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    assert ask(own, "x", "x + 1") is UNEQUAL
    pid, main = worker_of(own), threading.get_ident()

    def watch() -> None:
        while not descendants(pid):
            pass
        signal.pthread_kill(main, signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, interrupt)
    watcher = threading.Thread(target=watch)
    try:
        watcher.start()
        with pytest.raises(KeyboardInterrupt):
            ask(own, *UNDECIDABLE[-1], 30.0)
    finally:
        watcher.join()
        signal.signal(signal.SIGUSR1, before)
    assert ask(own, "x", "x + 2") is UNEQUAL


@pytest.mark.parametrize("program", ["/nonexistent/python", "/bin/false"])
def test_no_worker_is_an_error_of_ours(own: Comparer, monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    before = footprint()
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", program)
        with pytest.raises(WorkerUnavailable, match=program):
            ask(own, "x", "x + 1")
        with pytest.raises(WorkerUnavailable, match=program):
            ask(own, "x", "x + 1")
    check_nothing_left(before)
    assert ask(own, "x", "x + 1") is UNEQUAL


def test_sympy_missing_is_an_error_that_says_so(own: Comparer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(symbolic.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(WorkerUnavailable, match="sympy, which is not installed"):
        ask(own, "x", "x + 1")


HOST = """
import os, signal, sys
from tir_gym.scoring.symbolic import Verdict, comparer

def same(number):
    return comparer().equal(["+", ["v", "x"], ["n", str(number)]], ["v", "x"], 30.0) is Verdict.UNEQUAL

def worker():
    return comparer()._worker._process.pid

assert same(1)
mine = worker()
child = os.fork()
if child == 0:
    right = comparer()._worker is None and same(1) and same(2) and worker() != mine
    comparer().close()
    os._exit(0 if right else 1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
assert same(3) and worker() == mine
assert not {"sympy", "mpmath"} & set(sys.modules)
print(mine, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_forked_host_has_its_own_worker_and_a_killed_host_leaves_none() -> None:
    run = subprocess.run([sys.executable, "-c", HOST], cwd=Path(__file__).parents[2], capture_output=True, text=True)
    assert run.returncode == -signal.SIGKILL, run.stderr
    wait_until_gone({int(run.stdout)})


def test_the_worker_is_confined(own: Comparer) -> None:
    assert ask(own, "1", "1") is EQUAL
    entry = Path(f"/proc/{worker_of(own)}")
    environment = dict(pair.split("=", 1) for pair in (entry / "environ").read_text().split("\0") if pair)
    assert environment.keys() == {"PYTHONPATH", "PYTHONHASHSEED"}
    assert (entry / "cwd").readlink() == Path("/")
    assert "NoNewPrivs:\t1" in (entry / "status").read_text()
    limits = {line[:26].strip(): line[26:].split()[0] for line in (entry / "limits").read_text().splitlines()}
    assert (limits["Max core file size"], limits["Max file size"], limits["Max open files"]) == ("0", "0", "32")
    opened = {str(link.readlink()).split(":")[0] for link in (entry / "fd").iterdir()}
    assert opened == {"socket", "/dev/null", "anon_inode"}
