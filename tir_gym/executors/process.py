"""The host's handle of one fork server process: starting it, talking to it, ending it."""

import array
import importlib.util
import json
import os
import platform
import select
import socket
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from tir_gym.core.interfaces import ExecutorUnavailable
from tir_gym.executors.sweep import remove_tree

START_S = 60.0
"""Seconds a fork server has to come up."""
_HERE = Path(__file__).parent
_PROGRAMS = (
    "sweep",
    "jail",
    "cgroup",
    "seccomp",
    "sink",
    "trace",
    "halves",
    "guest",
    "confine",
    "launcher",
    "procfs",
    "rooms",
    "births",
    "server",
)
Preload = tuple[str, ...] | Literal["lean", "full"]
"""Packages, or the name of a profile."""
_LEAN = ("numpy", "sympy")
PROFILES = {"lean": _LEAN, "full": (*_LEAN, "mpmath", "scipy", "networkx", "pandas")}
"""What the names stand for; all of it comes with the extra `science`."""
_NEEDS = {"sympy": ("mpmath",), "scipy": ("numpy",), "pandas": ("numpy", "dateutil", "tzdata", "pytz", "six")}
_NOT_ALWAYS = ("tzdata", "pytz", "six")
"""Needed by some versions of pandas and python-dateutil, which pip installs with those."""
LOAD = """parent = types.ModuleType("tir_gym")
package = parent.executors = types.ModuleType("tir_gym.executors")
sys.modules.update({"tir_gym": parent, "tir_gym.executors": package})
for name, source in config["programs"]:
    module = types.ModuleType("tir_gym.executors." + name)
    sys.modules[module.__name__] = module
    setattr(package, name, module)
    exec(compile(source, "<" + name + ">", "exec", dont_inherit=True), module.__dict__)
"""
"""Makes modules of the programs in `config`, for an interpreter that cannot import this package."""
# The module `random` must not seed itself anew in a live copy; each session is seeded by `guest`.
_BOOT = f"""import json, os, sys, types
stage, fd = sys.argv[1], int(sys.argv[2])
config = json.loads(os.pread(fd, 1 << 24, 0))
if stage == "server" and not config["execute"]:
    register, os.register_at_fork = os.register_at_fork, lambda **_: None
    import random
    os.register_at_fork = register
    del random, register
{LOAD}main = module.__dict__["main"] if stage == "server" else package.launcher.main
del parent, package, module, name, source
main(config, fd)
"""


def programs(names: Sequence[str]) -> list[tuple[str, str]]:
    """Modules of this folder with their sources, in the order in which they can be loaded."""
    return [(name, (_HERE / f"{name}.py").read_text("utf-8")) for name in names]


def profile(preload: Preload) -> tuple[str, ...]:
    """The packages that `preload` stands for. Raises `ValueError`."""
    if isinstance(preload, str):
        if preload not in PROFILES:
            raise ValueError(f"preload={preload!r} must be {' or '.join(map(repr, PROFILES))}, or a tuple of packages")
        return PROFILES[preload]
    return package_names("preload", preload)


def package_names(option: str, names: Sequence[str]) -> tuple[str, ...]:
    """The value of an option that lists packages. Raises `ValueError`."""
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise ValueError(f"{option}={names!r} must be a tuple of package names")
    return tuple(names)


def require_whole(executor: Any, *names: str) -> None:
    """Raise `ValueError` that names the first of these options that is no whole number, 0 or more."""
    for name in names:
        value = getattr(executor, name)
        if isinstance(value, bool) or not isinstance(value, int) or value < 0:
            raise ValueError(f"{name}={value!r} must be a whole number, 0 or more")


def _packages(names: Sequence[str]) -> list[str]:
    """Paths of the top-level packages `names` and of what they need. Raises `ExecutorUnavailable`."""
    paths: list[str] = []
    for name in dict.fromkeys(n for top in names for n in (top, *_NEEDS.get(top, ()))):
        spec = importlib.util.find_spec(name) if name.isidentifier() else None
        if spec is None or spec.origin is None:
            if name in _NOT_ALWAYS and name not in names:
                continue
            what = "'tir-gym[science]'" if name in PROFILES["full"] else name
            raise ExecutorUnavailable(f"sessions are to have the package {name!r}; install it: pip install {what}")
        path = Path(spec.origin)
        if spec.submodule_search_locations:
            path = path.parent
            libraries = path.parent / f"{path.name}.libs"
            if libraries.is_dir():
                paths.append(str(libraries))
        paths.append(str(path))
    return paths


def configuration(
    preload: Sequence[str], packages: Sequence[str], workdir: str, control: int, execute: bool = False
) -> dict[str, Any]:
    """Which interpreter, directories and packages of this machine sessions have. Raises `ExecutorUnavailable`.

    `execute`: they have its shell and other programs, too.
    """
    if execute and not Path("/bin/bash").exists():
        raise ExecutorUnavailable("sessions are to start programs, and there is no /bin/bash; install bash")
    python = os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable)
    stdlib = [sysconfig.get_path(kind, vars={"base": sys.base_prefix}) for kind in ("stdlib", "platstdlib")]
    stdlib = [os.path.realpath(os.__file__.rsplit("/", 1)[0]), stdlib[0]]
    multiarch = sysconfig.get_config_var("MULTIARCH") or f"{platform.machine()}-linux-gnu"
    libraries = sorted(str(p) for p in (Path(sys.base_prefix) / "lib").glob("libpython*.so*"))
    if (Path(sys.base_prefix) / "conda-meta").is_dir():
        libraries = sorted(str(p) for p in (Path(sys.base_prefix) / "lib").glob("*.so*"))
    system = ["/lib64", "/usr/lib64", f"/lib/{multiarch}", f"/usr/lib/{multiarch}", "/usr/share/zoneinfo"]
    shell = ["/usr/bin", "/bin", "/etc/alternatives", "/usr/lib/locale"] if execute else []
    found = _packages([*preload, *packages])
    return {
        "boot": _BOOT,
        "control": control,
        "execute": execute,
        "host_pid": os.getpid(),
        "masked": [f"{path}/{name}" for path in stdlib for name in ("site-packages", "dist-packages")],
        "namespaces": not workdir,
        "packages": found,
        "paths": [*shell, python, *dict.fromkeys(stdlib), *libraries, *system],
        "preload": [*preload],
        "programs": programs(_PROGRAMS),
        "python": python,
        "search": [f"{workdir}/packages"],
        "workdir": workdir,
    }


class NoNamespacesError(ExecutorUnavailable):
    """The machine gives no namespaces; a server without them may do."""


class ServerProcess:
    """One running fork server. Thread-safe but for `close`."""

    def __init__(
        self,
        preload: Sequence[str],
        packages: Sequence[str],
        namespaces: bool,
        execute: bool = False,
        pool: tuple[int, int] = (0, 0),
    ) -> None:
        """Start it and wait until it is confined. It warms up at the order "tried". Raises `ExecutorUnavailable`.

        `pool`: bytes and tasks that all sessions together may take where cgroups can be made; 0: see `cgroup`.
        """
        self.execute = execute
        self._lock = threading.Lock()
        self._waiting: deque[tuple[bytes, list[socket.socket]]] = deque()
        self._sid = 0
        self.dead = False
        self.last_birth = 0.0
        """`time.monotonic()` when a session of it came up the last time."""
        self._workdir = "" if namespaces else tempfile.mkdtemp(prefix="tir_gym-")
        if self._workdir:
            Path(self._workdir).chmod(0o711)
        self.control, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            config = configuration(preload, packages, self._workdir, far.fileno(), execute)
            config["pool_memory"], config["pool_tasks"] = pool
            if self._workdir:
                links = Path(self._workdir, "packages")
                links.mkdir()
                links.chmod(0o755)
                for path in config["packages"]:
                    (links / Path(path).name).symlink_to(path)
            memory = os.memfd_create("tir_gym")
            try:
                os.pwrite(memory, json.dumps(config).encode(), 0)
                self.process = subprocess.Popen(  # noqa: S603
                    [config["python"], "-I", "-S", "-B", "-c", _BOOT, "launcher", str(memory)],
                    env={},
                    cwd="/",
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    pass_fds=(far.fileno(), memory),
                    start_new_session=True,
                )
            finally:
                os.close(memory)
        except BaseException:
            self.control.close()
            self._sweep()
            raise
        finally:
            far.close()
        self.hello: dict[str, Any] = self._greet(any(pool))
        self.control.setblocking(False)

    def _greet(self, bounded: bool) -> dict[str, Any]:
        self.control.settimeout(START_S)
        try:
            hello: dict[str, Any] = json.loads(self.control.recv(1 << 16) or b"null") or {}
        except OSError as error:
            hello = {"text": f"it was silent for {START_S:.0f} s ({error})"}
        if hello.get("t") != "hello":
            self.close()
            kind = NoNamespacesError if hello.get("t") == "refused" else ExecutorUnavailable
            ended = "it ended at once" + ("; pool_memory_mb or pool_tasks may be too small for it" if bounded else "")
            raise kind(f"the fork server did not start: {hello.get('text', ended)}")
        return hello

    def warm(self) -> int:
        """Wait until it has warmed up after "tried": the bytes it has of its own. Raises `ExecutorUnavailable`."""
        wait_readable(self.control.fileno(), time.monotonic() + START_S)
        try:
            word = json.loads(self.control.recv(1 << 16) or b"null")
        except OSError:
            word = None
        if word is None:
            raise ExecutorUnavailable("the fork server ended while it warmed up")
        return int(word["memory"])

    def new_sid(self) -> int:
        """A number no other session of this server has."""
        with self._lock:
            self._sid += 1
            return self._sid

    @property
    def busy(self) -> bool:
        """True while messages wait for room in the socket; `flush` must be called again."""
        return bool(self._waiting)

    def post(self, message: dict[str, Any], sockets: Sequence[socket.socket] = ()) -> None:
        """Have a message sent with the next `flush`; takes no lock, so finalizers may call it."""
        self._waiting.append((json.dumps(message).encode(), [s.dup() for s in sockets]))

    def send(self, message: dict[str, Any], sockets: Sequence[socket.socket] = ()) -> None:
        """Send a message with descriptors (duplicated); never blocks. A dead server is noted in `dead`."""
        self.post(message, sockets)
        self.flush()

    def flush(self) -> None:
        """Send what waits, as far as there is room."""
        with self._lock:
            while self._waiting:
                data, sockets = self._waiting[0]
                fds = array.array("i", [s.fileno() for s in sockets])
                ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)] if sockets else []
                try:
                    if not self.dead:
                        self.control.sendmsg([data], ancillary, socket.MSG_NOSIGNAL)
                except OSError as error:
                    if error.errno in (11, 105, 109):  # EAGAIN, ENOBUFS, ETOOMANYREFS
                        return
                    self.dead = True
                self._waiting.popleft()
                for end in sockets:
                    end.close()

    def alive(self) -> bool:
        """Whether it still holds its end of the control socket."""
        if not self.dead:
            with self._lock:
                try:
                    while not self.dead:  # what it says is for `warm` only
                        self.dead = not self.control.recv(1 << 16)
                except BlockingIOError:
                    pass
                except OSError:  # it ended, or another thread has just closed this
                    self.dead = True
        return not self.dead

    def forget(self) -> None:
        """In a process forked from the owner: close what was inherited, touch nothing else."""
        self.dead = True
        self.control.close()
        for _, sockets in self._waiting:
            for end in sockets:
                end.close()
        self._waiting.clear()
        self.process.returncode = 0  # another process's child

    def close(self) -> None:
        """End the server with all its sessions; returns when every process of it is gone."""
        self.dead = True
        self.control.close()
        self.flush()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._sweep()

    def _sweep(self) -> None:
        if self._workdir:
            remove_tree(self._workdir)


def wait_readable(fd: int, until: float) -> bool:
    """Wait until `fd` has something to read or `time.monotonic()` is `until`."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(max(0.0, until - time.monotonic()) * 1000))
