"""How a new child of the fork server becomes a session: working directory, limits, rights, Landlock, seccomp.

Standard library only; loaded by `server`.
"""

import contextlib
import os
import socket
from typing import Any

from tir_gym.executors import guest, jail, seccomp

WARM = {
    "numpy": "import numpy as n, numpy.random as r; a = r.default_rng(0).random((4, 4)); n.linalg.solve(a, a); "
    "n.linalg.eigh(a); n.fft.fft(a); r.seed(0); r.normal(size=2); repr(a); n.sort(a)",
    "sympy": "from sympy import *; x = Symbol('x'); str(solve(x**2 - 3*x + 2, x)); integrate(x*sin(x), x); "
    "str(factor(x**3 - 1)); limit(sin(x)/x, x, 0); series(exp(x), x, 0, 4); simplify((x**2 - 1)/(x - 1)); "
    "latex(x**2/3); N(pi, 20); Matrix([[1, 2], [3, 4]]).inv(); parse_expr('2*x + 1'); diff(x**2, x); factorint(60)",
    "mpmath": "from mpmath import *; quad(exp, [0, 1]); findroot(cos, 1); zeta(3); nsum(lambda n: n**-2, [1, inf])",
    "scipy": "import numpy as n; from scipy import fft, integrate, interpolate, linalg, optimize, signal, sparse; "
    "from scipy import spatial, special, stats; f = lambda x: (x - 1)**2; optimize.minimize(lambda x: f(x[0]), [0.0]); "
    "optimize.brentq(n.cos, 1, 2); optimize.linprog([1.0], bounds=[(0, 1)]); integrate.quad(f, 0, 1); "
    "integrate.solve_ivp(lambda t, y: -y, (0, 1), [1.0]); stats.norm.cdf(1); stats.ttest_ind([1, 2.0], [2, 3.0]); "
    "stats.binom.pmf(2, 5, 0.5); linalg.lu_factor(n.eye(2)); interpolate.CubicSpline([0, 1, 2], [0, 1, 4.0])(1.5); "
    "special.gamma(5); sparse.csr_matrix(n.eye(2)) @ n.ones(2)",
    "networkx": "import networkx as n; g = n.path_graph(4); n.shortest_path(g, 0, 3); n.dijkstra_path(g, 0, 3); "
    "n.is_connected(g); n.minimum_spanning_tree(g); n.maximum_flow(n.DiGraph([(0, 1, {'capacity': 1})]), 0, 1)",
    "pandas": "import io, pandas as p; d = p.read_csv(io.StringIO('a,b\\nx,1\\ny,2')); d.groupby('a').b.sum(); str(d); "
    "d.merge(d, on='a'); d.describe(); d.sort_values('b'); d.pivot_table(index='a', values='b'); d.to_csv(); "
    "p.to_datetime(['2020-01-31']).year",
}
"""What is run once in the server, so that no session pays for it: package -> program."""


def fill_holes() -> list[bytes]:
    """Take up the memory that is free between objects, so that sessions have theirs side by side, on few pages.

    For each size class of CPython's allocator, and some sizes of the C library's: until they lie in a row.
    """
    held = []
    for size in (*range(48, 513, 16), 544, 640, 768, 1040, 1536, 2064, 4112):
        row = last = 0
        while row < max(8192 // size, 12):
            held.append(bytes(size - 33))
            step, last = id(held[-1]) - last, id(held[-1])
            row = row + 1 if 0 < step <= size + 16 else 0
    return held


PROGRAM_ENVIRONMENT = {"PATH": "/programs:/usr/bin:/bin", "PYTHONPATH": "/packages", "PYTHONDONTWRITEBYTECODE": "1"}
"""What the environment of sessions that may start programs has besides; /programs holds `python3` and `python`."""


class Confinement:
    """Prepared once in the server; `enter` applies it to the calling process for good."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.config = config
        self.spaces: bool = config["namespaces"]
        self.programs: bool = config["execute"]
        self.size = 0
        self.mounts = os.open("self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC, dir_fd=config["proc"])
        """The server's own mount namespace, to come back to: by its pid descriptor it would stay where it is."""
        self.abi = jail.landlock_abi()
        self.readable = _readable(config)
        reached = [*self.readable, "/dev/null"]
        self._reached: jail.Places = reached
        """What copies may read, the last one as a device; where it is few, open: to find it anew would take a while."""
        if self.spaces:
            self._reached = [os.open(path, os.O_PATH | os.O_CLOEXEC) for path in reached]
        self.separate_users = config["whole_ids"] and (self.spaces or _open_to_all(config["python"]))
        self.own_files = self.spaces or self.separate_users
        self.landlock = -1
        if self.abi and self.spaces:
            self.landlock = jail.landlock_rules(self.abi, self.readable, ["/box"], ["/dev/null"], self.programs)
        self.no_filter = seccomp.supported()
        self.gate = self.filter = b""
        if not self.no_filter:
            self.gate = seccomp.fork_gate(threads=not self.own_files)
            self.filter = seccomp.allow_list(True, self.own_files)
            if self.programs:
                self.gate, self.filter = b"", seccomp.allow_list(False, self.own_files, programs=True)
            self._probe()

    def _probe(self) -> None:
        """See in a child which filters this kernel takes."""
        pid = os.fork()
        if pid == 0:
            refused = 0
            jail.drop_rights(-1)
            for bit, program in ((1, self.gate), (2, self.filter)):
                try:
                    if program:
                        seccomp.install(program, listen=bit == 1)
                except OSError:
                    refused |= bit
            os._exit(refused)
        refused = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if refused & 1:  # without the gate nothing may fork, the host's copies included
            self.gate, self.filter = b"", seccomp.allow_list(False, self.own_files)
        if refused & 2:
            self.filter, self.no_filter = b"", "the kernel refuses seccomp filters; it needs CONFIG_SECCOMP_FILTER"

    def root(self, sid: int) -> str:
        """The directory that holds a session's working directory and those of its copies."""
        return "/box" if self.spaces else f"{self.config['workdir']}/{sid}"

    def make_box(self, base: str, uid: int) -> None:
        """Without namespaces: a plain directory, which only the size of single files bounds.

        Not even its owner, as whom sessions may run, can list what is beside it; they cannot change modes.
        """
        os.mkdir(base, 0o311)  # noqa: PTH102
        os.mkdir(base + "/work", 0o700)  # noqa: PTH102
        if uid >= 0:
            os.chown(base + "/work", uid, uid)

    def copy_rules(self, base: str) -> int:
        """The Landlock rule set (descriptor) of a copy whose files are under `base`, -1 where there is no Landlock."""
        return jail.landlock_rules(self.abi, self._reached[:-1], [base], self._reached[-1:]) if self.abi else -1

    def enter(self, sid: int, limits: dict[str, Any], channel: int, uid: int, nursery: int) -> None:
        """Confine this process; its gate goes to the server over `nursery`. Raises `OSError`."""
        os.setsid()
        with contextlib.suppress(OSError):  # before the server, let alone the host, the kernel is to kill a session
            fd = os.open("self/oom_score_adj", os.O_WRONLY, dir_fd=self.config["proc"])
            os.write(fd, b"1000")
            os.close(fd)
        root = self.root(sid)
        work, landlock = root + "/work", self.landlock
        if self.spaces:
            jail.unshare(jail.NEWNS)
            owner = f"uid={max(uid, 0)},gid={max(uid, 0)}"
            options = f"size={limits['disk']},nr_inodes=2048,mode=0700,{owner}"
            jail.mount("tmpfs", work, "tmpfs", jail.NOSUID | jail.NODEV | jail.NOEXEC, options)
            if uid < 0:
                jail.unshare(jail.NEWUSER)
                jail.map_user(65533, 0, 0, self.config["proc"])  # nobody's on the host either
        else:
            self.make_box(root, uid)
            os.mkdir(root + "/copies", 0o311)  # noqa: PTH102
            if self.abi:
                landlock = jail.landlock_rules(self.abi, self.readable, [root], ["/dev/null"])
        os.dup2(channel, guest.CHANNEL)
        os.dup2(nursery, 4)
        os.dup2(max(landlock, 0), 5)
        jail.close_from(6)
        tasks = limits["processes"] + (2 if self.programs else jail.COPIES) if self.spaces or uid >= 0 else -1
        jail.limit(self.size + limits["memory"], limits["disk"], limits["cpu_s"], tasks)
        jail.drop_rights(uid, seen=not self.own_files)  # else the server could not look at copies either
        jail.die_with_parent()
        if landlock >= 0:
            jail.landlock_enter(5)
        os.chdir(work)
        os.environ.update(HOME=work, TMPDIR=work)
        if self.programs:
            os.environ.update(PROGRAM_ENVIRONMENT)
        guest.capture(work)
        if self.gate:
            gate = seccomp.install(self.gate, listen=True)
            with socket.socket(fileno=os.dup(4)) as line:
                socket.send_fds(line, [str(sid).encode()], [gate])
            os.close(gate)
        if self.filter:
            seccomp.install(self.filter)
        os.closerange(4, 6)


def _readable(config: dict[str, Any]) -> list[str]:
    """What sessions may read: the whole new root but the working directories, or what would have been bound into it.

    A directory of the standard library that also holds site packages is given entry by entry.
    """
    if config["namespaces"]:
        return [f"/{name}" for name in os.listdir("/") if name != "box"]  # noqa: PTH208
    paths: list[str] = []
    for path in [
        *config["paths"],
        *config["packages"],
        *config["search"],
        "/dev/null",
        "/dev/zero",
        "/dev/urandom",
        "/dev/random",
    ]:
        holes = {os.path.basename(hole) for hole in config["masked"] if os.path.dirname(hole) == path}  # noqa: PTH119, PTH120
        found = [f"{path}/{name}" for name in os.listdir(path) if name not in holes] if holes else [path]  # noqa: PTH208
        paths += [entry for entry in found if os.path.exists(entry)]  # noqa: PTH110
    return paths


def _open_to_all(path: str) -> bool:
    """Whether any user may reach `path`; without namespaces a session's own user must."""
    while path != "/":
        path = os.path.dirname(path)  # noqa: PTH120
        if not os.stat(path).st_mode & 1:  # noqa: PTH116
            return False
    return True
