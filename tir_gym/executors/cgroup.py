"""One cgroup round a fork server and all its sessions: what they may take together of the machine.

Runs in the launcher, which stays outside, with the standard library only. Version 1 (a hierarchy for each controller)
and version 2 (one for all, where a group that holds processes cannot bound a child: the next one up that may is taken).
The group is a child of the host's own, or a sibling, so what already bounds the host is never left by much: unless told
otherwise the bounds are half of the least of what the machine and the groups round the host allow (definition by this
project).
"""

import contextlib
import errno
import fcntl
import os
import time

_PREFIX = "tir_gym-"
_GONE_S = 5.0
_LIMITS = {1: ("memory.limit_in_bytes", "pids.max"), 2: ("memory.max", "pids.max")}
_CONTROLLERS = ("memory", "pids")
MEND = "let this user write to its cgroup (systemd-run --user --scope -p Delegate=yes), or bound the whole host"


class Pool:
    """The groups of one launcher; `why` says what is missing, "" for nothing."""

    def __init__(self, memory: int, tasks: int) -> None:
        """Make them, bounded to so many bytes and tasks (0: half of what there is). Never raises `OSError`."""
        self.why = ""
        self._made: list[tuple[str, int, int, int]] = []
        try:
            version, homes = locate(_read("/proc/self/mountinfo"), _read("/proc/self/cgroup"))
            wanted = [memory or self._half(version, homes[0], 0), tasks or self._half(version, homes[-1], 1)]
            for number, home in enumerate(homes):
                folder = self._make(home if version == 1 else _giving(home))
                for which in (number,) if version == 1 else (0, 1):
                    _bound(f"{folder}/{_LIMITS[version][which]}", wanted[which])
        except (OSError, ValueError) as error:
            self.why = f"{error}; {MEND}"
            self.remove()

    @staticmethod
    def _half(version: int, home: str, which: int) -> int:
        """Half of the least that bounds the host: memory (0) or tasks (1)."""
        if which == 0:
            least = int(_read("/proc/meminfo").split()[1]) << 10
        else:
            least = min(int(_read(f"/proc/sys/kernel/{name}")) for name in ("pid_max", "threads-max"))
        while os.path.exists(f"{home}/cgroup.procs"):  # noqa: PTH110 - text throughout, as it comes from /proc
            with contextlib.suppress(OSError, ValueError):
                least = min(least, int(_read(f"{home}/{_LIMITS[version][which]}")))
            home = os.path.dirname(home)  # noqa: PTH120
        return least // 2

    def _make(self, home: str) -> str:
        """A new group below `home`, locked while this process lives; those whose makers are dead are removed."""
        for name in os.listdir(home):  # noqa: PTH208
            if name.startswith(_PREFIX):
                _remove_stale(f"{home}/{name}")
        while True:
            folder = f"{home}/{_PREFIX}{os.urandom(6).hex()}"
            try:
                os.mkdir(folder)  # noqa: PTH102
            except OSError as error:  # its own text would hold the name, another one each time
                raise OSError(error.errno, f"{error.strerror}, to make a cgroup in {home}") from None
            try:
                lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
            except FileNotFoundError:
                continue  # another launcher took it for a dead one's, as it may until it is locked
            fcntl.flock(lock, fcntl.LOCK_EX)
            if os.path.isdir(folder):  # noqa: PTH112
                # by descriptor: the server will take the root directory of this process away, and in a new cgroup
                # namespace no group could be entered that is not below the host's
                try:
                    entry = os.open(f"{folder}/cgroup.procs", os.O_WRONLY)
                except OSError:
                    os.rmdir(folder)  # noqa: PTH106
                    raise
                self._made.append((os.path.basename(folder), os.open(home, os.O_PATH), entry, lock))  # noqa: PTH119
                return folder
            os.close(lock)

    def join(self) -> None:
        """Put the calling process in, and with it all that it will start. Never raises `OSError`."""
        if self.why:
            return
        try:
            for _, _, entry, _ in self._made:
                os.write(entry, b"0")
            inside = _read("/proc/self/cgroup")
            if not all(name in inside for name, _, _, _ in self._made):
                self.why = f"the kernel does not show this process in its cgroup; {MEND}"
        except OSError as error:
            self.why = f"{error}; {MEND}"

    def remove(self) -> None:
        """Remove the groups once the processes in them are gone; gives up after some seconds. Never raises."""
        until = time.monotonic() + _GONE_S
        for name, home, entry, lock in self._made:
            while True:
                try:
                    os.rmdir(name, dir_fd=home)
                except OSError as error:
                    if error.errno == errno.EBUSY and time.monotonic() < until:
                        time.sleep(0.005)
                        continue
                break
            for fd in (home, entry, lock):
                os.close(fd)
        self._made = []


def locate(mounts: str, groups: str) -> tuple[int, list[str]]:
    """The version, and the folders of this process's own groups: for memory and for tasks (1), for both (2).

    From the texts of /proc/self/mountinfo and /proc/self/cgroup. Raises `OSError` where there are none.
    """
    own = {
        name: path for _, names, path in (line.split(":", 2) for line in groups.splitlines()) for name in _names(names)
    }
    found: dict[str, str] = {}
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        root, point = before.split()[3:5]
        kind, _, options = after.split()[:3]
        held = [c for c in _CONTROLLERS if c in options.split(",")] if kind == "cgroup" else [""]
        if kind not in ("cgroup", "cgroup2"):
            continue
        for name in held:
            path = own.get(name, "")
            if path and (root == "/" or path == root or path.startswith(root + "/")):
                inner = path[len(root) :] if root != "/" else path
                found[name] = f"{point}/{inner.strip('/')}".rstrip("/")
    if all(controller in found for controller in _CONTROLLERS):
        return 1, [found[controller] for controller in _CONTROLLERS]
    if "" in found and not any(controller in own for controller in _CONTROLLERS):
        return 2, [found[""]]
    raise FileNotFoundError(errno.ENOENT, "no cgroups with the controllers memory and pids are mounted")


def _names(field: str) -> list[str]:
    return field.split(",")


def _giving(home: str) -> str:
    """Version 2: the nearest group, from `home` up, whose children get both controllers. Raises `OSError`."""
    with contextlib.suppress(OSError):
        _write(f"{home}/cgroup.subtree_control", "+memory +pids")  # only the root group may, with processes in it
    while os.path.exists(f"{home}/cgroup.subtree_control"):  # noqa: PTH110
        if set(_CONTROLLERS) <= set(_read(f"{home}/cgroup.subtree_control").split()):
            return home
        home = os.path.dirname(home)  # noqa: PTH120
    raise PermissionError(errno.EPERM, "no cgroup above this process hands on the controllers memory and pids")


def _remove_stale(folder: str) -> None:
    """Remove a group unless a living launcher has it."""
    with contextlib.suppress(OSError):
        lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.rmdir(folder)  # noqa: PTH106
        finally:
            os.close(lock)


def _bound(path: str, wanted: int) -> None:
    """Write a limit and read it back. Raises `OSError`."""
    _write(path, str(wanted))
    if not 0 < int(_read(path)) <= wanted:
        raise OSError(errno.EINVAL, f"the kernel does not keep {wanted} in {path}")


def _read(path: str) -> str:
    with open(path, encoding="ascii", errors="replace") as file:  # noqa: PTH123
        return file.read()


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)
