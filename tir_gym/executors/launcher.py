"""The first program of a fork server: enters namespaces, builds the root directory a session sees, starts the server.

It is exec'd by the host with an empty environment, stays outside the namespaces as parent of the server, and ends it
when the host's process ends. Standard library only; see `server` for what runs inside.
"""

import contextlib
import json
import os
import select
import signal
import socket
from pathlib import Path
from typing import Any

from tir_gym.executors import cgroup, jail
from tir_gym.executors.sweep import remove_tree

ENVIRONMENT = {
    "PYTHONHASHSEED": "0",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "2",
    "LANG": "C.UTF-8",
    "HOME": "/box/work",
    "TMPDIR": "/box/work",
}
_ROOT = "/proc"  # every system has it and nothing that is bound into the new root lies under it
_DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")


def main(config: dict[str, Any], memory_fd: int) -> None:
    """Run as the launcher; `memory_fd` holds sources and configuration. Ends the process."""
    host = os.pidfd_open(config["host_pid"])
    if os.getppid() != config["host_pid"]:
        os._exit(0)
    with contextlib.suppress(OSError):
        jail.personality(jail.NO_RANDOM_ADDRESSES)
    config["whole_ids"] = whole_ids()
    pool = cgroup.Pool(config["pool_memory"], config["pool_tasks"])
    try:
        if config["namespaces"]:
            _enter()
        else:
            jail.adopt_orphans()
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)
        child = os.fork()
    except OSError as error:
        _refuse(config["control"], f"cannot enter namespaces: {error}")
        pool.remove()
        os._exit(1)
    if child == 0:
        os.close(host)
        pool.join()
        config["cgroup"] = pool.why
        _become_server(config, memory_fd)
    os.close(config["control"])
    server = os.pidfd_open(child)
    poll = select.poll()
    poll.register(host, select.POLLIN)
    poll.register(server, select.POLLIN)
    poll.poll()
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        if not config["namespaces"]:
            _end_orphans()
        os.waitpid(child, 0)
    pool.remove()
    if config["workdir"]:
        remove_tree(config["workdir"])
    os._exit(0)


def _end_orphans() -> None:
    """Without a pid namespace: kill what the server left, which falls to this process."""
    children = Path(f"/proc/self/task/{os.getpid()}/children")
    while pids := children.read_text("ascii").split():
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(pid), signal.SIGKILL)


def whole_ids() -> bool:
    """True for root with (nearly) all user ids at hand, so that each session gets its own."""
    if os.geteuid() != 0:
        return False
    spans = [line.split() for line in Path("/proc/self/uid_map").read_text("ascii").splitlines()]
    return any(int(first) == 0 and int(count) > 1 << 31 for first, _, count in spans)


def _enter() -> None:
    kinds = jail.NEWNS | jail.NEWPID | jail.NEWNET | jail.NEWIPC | jail.NEWUTS | jail.NEWCGROUP
    uid, gid = os.geteuid(), os.getegid()
    if uid == 0:
        with contextlib.suppress(OSError):
            jail.unshare(kinds)
            return
    jail.unshare(kinds | jail.NEWUSER)
    proc = os.open("/proc", os.O_PATH)
    jail.map_user(0, uid, gid, proc)
    os.close(proc)


def _refuse(control: int, text: str) -> None:
    with socket.socket(fileno=os.dup(control)) as channel:
        channel.send(json.dumps({"t": "refused", "text": text}).encode())


def _become_server(config: dict[str, Any], memory_fd: int) -> None:
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        jail.die_with_parent()
        sizes, proc = os.open("/proc/self/statm", os.O_RDONLY), os.open("/proc", os.O_PATH)
        if config["namespaces"]:
            config["whole_ids"] = config["whole_ids"] and whole_ids()
            _build(config)
        arguments = [config["python"], "-P", "-s", "-S", "-B", "-c", config["boot"], "server", str(memory_fd)]
        config["statm"], config["proc"] = sizes, proc
        os.ftruncate(memory_fd, 0)
        os.pwrite(memory_fd, json.dumps(config).encode(), 0)
        for fd in (sizes, proc, memory_fd, config["control"]):
            os.set_inheritable(fd, True)
        os.execve(config["python"], arguments, ENVIRONMENT)  # noqa: S606
    except BaseException as error:
        _refuse(config["control"], f"cannot build the session's root directory: {error!r}")
    os._exit(1)


def _build(config: dict[str, Any]) -> None:
    """Build and enter the new root: the interpreter, the packages allowed, four devices, nothing else."""
    jail.mount("none", "/", "none", jail.REC | jail.PRIVATE)
    jail.mount("tmpfs", _ROOT, "tmpfs", jail.NOSUID, "size=1m,nr_inodes=4096,mode=0755")
    done: list[str] = []
    for path in config["paths"]:
        _bind(path, path, jail.NODEV, done)
    for path in config["masked"]:
        if Path(_ROOT + path).is_dir():
            jail.mount("tmpfs", _ROOT + path, "tmpfs", jail.RDONLY | jail.NOSUID, "size=4k,nr_inodes=2,mode=0755")
    for path in config["packages"]:
        _bind(path, "/packages/" + Path(path).name, jail.NODEV, done)
    for path in _DEVICES:
        _bind(path, path, jail.NOEXEC, done)
    if config["execute"]:
        Path(_ROOT, "programs").mkdir()
        for name in ("python3", "python"):
            Path(_ROOT, "programs", name).symlink_to(config["python"])
    for name in ("box/work", "box/copies"):
        Path(_ROOT, name).mkdir(parents=True)
    jail.pivot(_ROOT)
    jail.seal_root()
    with contextlib.suppress(OSError):
        socket.sethostname("session")


def _bind(source: str, target: str, attributes: int, done: list[str]) -> None:
    """Bind `source` read-only at `target`, with the symbolic links on the way to it."""
    if source == target:
        for part in (*reversed(Path(source).parents), Path(source)):
            if part.is_symlink():
                link = Path(_ROOT + str(part))
                link.parent.mkdir(parents=True, exist_ok=True)
                if not link.is_symlink():
                    link.symlink_to(part.readlink())
                rest = Path(source).relative_to(part)
                resolved = str(part.parent / part.readlink() / rest)
                _bind(os.path.normpath(resolved), os.path.normpath(resolved), attributes, done)
                return
    if not Path(source).exists() or any(target == d or target.startswith(d + "/") for d in done):
        return
    here = Path(_ROOT + target)
    if Path(source).is_dir():
        here.mkdir(parents=True, exist_ok=True)
    else:
        here.parent.mkdir(parents=True, exist_ok=True)
        here.touch()
    jail.mount(os.path.realpath(source), str(here), "none", jail.BIND | jail.REC)
    jail.seal_mount(str(here), jail.RDONLY | jail.NOSUID | attributes)
    done.append(target)
