"""The kernel's side of a session: mounts, namespaces, Landlock, limits and dropped rights, through `ctypes`.

Runs in the launcher and the fork server with the standard library only. Every function raises `OSError` where the
kernel refuses; nothing here decides whether that is acceptable.
"""

import contextlib
import ctypes
import fcntl
import os
import resource
import signal
import stat
import struct
from collections.abc import Sequence

_LIBC = ctypes.CDLL(None, use_errno=True)
_SYS_PIVOT_ROOT, _SYS_MOUNT_SETATTR, _SYS_CAPSET = 155, 442, 126
_SYS_LANDLOCK_CREATE, _SYS_LANDLOCK_ADD, _SYS_LANDLOCK_RESTRICT = 444, 445, 446
_SYS_PIDFD_SEND_SIGNAL, _SYS_OPEN_TREE, _SYS_CLOSE_RANGE = 424, 428, 436

NEWNS, NEWCGROUP, NEWUTS, NEWIPC = 0x20000, 0x02000000, 0x04000000, 0x08000000
NEWUSER, NEWPID, NEWNET = 0x10000000, 0x20000000, 0x40000000
RDONLY, NOSUID, NODEV, NOEXEC, BIND, REC, PRIVATE = 1, 2, 4, 8, 4096, 16384, 1 << 18
_DETACH, _REMOUNT = 2, 32
_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS, _PR_CAP_AMBIENT = 1, 4, 24, 38, 47
NO_RANDOM_ADDRESSES = 0x0040000

_EXECUTE = 1 << 0
_READ = 1 << 2 | 1 << 3
_DEVICE = 1 << 1 | 1 << 2
_NEVER = 1 << 0 | 1 << 6 | 1 << 9 | 1 << 10 | 1 << 11 | 1 << 12  # execute, make devices, sockets, fifos, symlinks
_MADV_COLLAPSE = 25
COPIES = 96
"""Live copies of one session for which the limit on tasks leaves room."""


Places = Sequence[str | int]


def _check(result: int, what: str) -> int:
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{what}: {os.strerror(code)}")
    return result


def _syscall(what: str, *arguments: object) -> int:
    return _check(int(_LIBC.syscall(*arguments)), what)


def _prctl(what: str, *arguments: int) -> None:
    padded = [ctypes.c_ulong(a) for a in (*arguments, 0, 0, 0, 0)[:5]]
    _check(int(_LIBC.prctl(*padded)), what)


def unshare(flags: int) -> None:
    """Leave the namespaces named by `flags`."""
    _check(int(_LIBC.unshare(ctypes.c_int(flags))), "unshare")


def setns(fd: int, flags: int) -> None:
    """Enter the namespaces `flags` of a process (by pid descriptor)."""
    _check(int(_LIBC.setns(ctypes.c_int(fd), ctypes.c_int(flags))), "setns")


def mount(source: str, target: str, kind: str, flags: int, data: str = "") -> None:
    """mount(2)."""
    result = _LIBC.mount(source.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), data.encode() or None)
    _check(int(result), f"mount {target}")


def umount(target: str) -> None:
    """Detach what is mounted at `target`."""
    _check(int(_LIBC.umount2(target.encode(), _DETACH)), f"umount {target}")


def pivot(root: str) -> None:
    """Make `root`, a mount, the root of this mount namespace and forget the old one."""
    os.chdir(root)
    _syscall("pivot_root", _SYS_PIVOT_ROOT, b".", b".")
    _check(int(_LIBC.umount2(b".", _DETACH)), "umount the old root")
    os.chdir("/")


def seal_mount(target: str, attributes: int) -> None:
    """Set mount attributes (`RDONLY`, `NOSUID`, `NODEV`, `NOEXEC`) on everything mounted at and under `target`."""
    attr = struct.pack("=QQQQ", attributes, 0, 0, 0)
    try:
        _syscall(f"mount_setattr {target}", _SYS_MOUNT_SETATTR, -100, target.encode(), 0x8000, attr, len(attr))
    except OSError as error:
        if error.errno != 38:  # ENOSYS before Linux 5.12
            raise
        mount("none", target, "none", BIND | _REMOUNT | attributes)


def second_view(target: str) -> int:
    """What is mounted at `target` once more, with the attributes it has now, mounted nowhere: a descriptor of it."""
    return _syscall(f"open_tree {target}", _SYS_OPEN_TREE, -100, target.encode(), 1 | os.O_CLOEXEC)


def seal_root() -> None:
    """Make the root directory itself read-only, not what is mounted below it."""
    mount("none", "/", "none", BIND | _REMOUNT | RDONLY | NOSUID | NODEV)


def personality(flags: int) -> int:
    """personality(2): the value before."""
    return _check(int(_LIBC.personality(ctypes.c_ulong(flags))), "personality")


def die_with_parent() -> None:
    """Be killed when the parent process (its forking thread) ends."""
    _prctl("PR_SET_PDEATHSIG", _PR_SET_PDEATHSIG, signal.SIGKILL)


def adopt_orphans() -> None:
    """Become the parent of descendants whose own parents end."""
    _prctl("PR_SET_CHILD_SUBREAPER", 36, 1)


def control(fd: int, request: int, data: bytearray) -> None:
    """ioctl(2), again where a signal (of a child that ended) interrupts it."""
    while True:
        with contextlib.suppress(InterruptedError):
            fcntl.ioctl(fd, request, data)
            return


def send_signal(pidfd: int, number: int) -> None:
    """Signal a process by its descriptor."""
    _syscall("pidfd_send_signal", _SYS_PIDFD_SEND_SIGNAL, pidfd, number, None, 0)


def map_user(inside: int, uid: int, gid: int, proc: int) -> None:
    """In a new user namespace: be `inside`, user and group, for the outer ids; `proc` is a descriptor of /proc."""
    _prctl("PR_SET_DUMPABLE", _PR_SET_DUMPABLE, 1)
    for name, text in (("setgroups", "deny"), ("uid_map", f"{inside} {uid} 1"), ("gid_map", f"{inside} {gid} 1")):
        fd = os.open(f"self/{name}", os.O_WRONLY, dir_fd=proc)
        try:
            os.write(fd, text.encode())
        finally:
            os.close(fd)


def close_from(fd: int) -> None:
    """Close every descriptor from `fd` on."""
    if int(_LIBC.syscall(_SYS_CLOSE_RANGE, fd, 0xFFFFFFFF, 0)) < 0:
        os.closerange(fd, 1 << 16)


def collapse_heap(proc: int) -> None:
    """Put this process's private memory into huge pages where the kernel can (Linux 6.1): forks become cheaper."""
    for start, end, rights, _, inode, name in _mappings(proc):
        if rights == "rw-p" and not inode and name in ("", "[heap]"):
            start, end = -(-start >> 21) << 21, end >> 21 << 21
            if end > start:
                _LIBC.madvise(ctypes.c_void_p(start), ctypes.c_size_t(end - start), _MADV_COLLAPSE)


def join_libraries(proc: int) -> None:
    """Make two mappings of the five of each library: what it executes or reads, what it writes. Forks become cheaper.

    Constants become executable and relocations writable, which is no loss where the policy's code has the process.
    """
    joined: list[tuple[int, int, int, int, int]] = []  # start, end, protection, offset of the end, inode
    for start, end, rights, offset, inode, _ in _mappings(proc):
        protection = sum(bit for bit, letter in zip((1, 2, 4), rights, strict=False) if letter != "-")
        if joined and inode and rights.endswith("p"):
            first, until, before, reached, of = joined[-1]
            if (until, reached, of) == (start, offset, inode) and protection and before | protection != 7:
                joined[-1] = first, end, before | protection, offset + end - start, inode
                continue
        joined.append((start, end, protection, offset + end - start, inode))
    known = {(start, end) for start, end, *_ in _mappings(proc)}
    for start, end, protection, _, _ in joined:
        if (start, end) not in known:
            _LIBC.mprotect(ctypes.c_void_p(start), ctypes.c_size_t(end - start), protection)


def _mappings(proc: int) -> list[tuple[int, int, str, int, int, str]]:
    """Of this process: start, end, rights, offset in the file, its inode (0: none), its name."""
    fd = os.open("self/maps", os.O_RDONLY, dir_fd=proc)
    with open(fd, encoding="utf-8", errors="replace") as maps:  # noqa: PTH123
        lines = [line.split(None, 5) for line in maps]
    spans = [[int(part, 16) for part in fields[0].split("-")] for fields in lines]
    return [
        (start, end, fields[1], int(fields[2], 16), int(fields[4]), "".join(fields[5:]).strip())
        for (start, end), fields in zip(spans, lines, strict=True)
    ]


def landlock_abi() -> int:
    """The Landlock version of this kernel, 0 where there is none."""
    return max(0, int(_LIBC.syscall(_SYS_LANDLOCK_CREATE, None, 0, 1)))


def landlock_rules(abi: int, read: Places, write: Places, devices: Places, execute: bool = False) -> int:
    """A rule set (descriptor): read under `read`, also change under `write`, use the files `devices`; no TCP.

    With `execute`, what may be read only may be executed. Places are paths, or descriptors of such.
    """
    top = 13 + (abi >= 2) + (abi >= 3) + (abi >= 5)
    every = (1 << top) - 1
    attr = struct.pack("=QQQ", every, 3 if abi >= 4 else 0, 3 if abi >= 6 else 0)
    attr = attr[: 24 if abi >= 6 else 16 if abi >= 4 else 8]
    ruleset = _syscall("landlock_create_ruleset", _SYS_LANDLOCK_CREATE, attr, len(attr), 0)
    os.set_inheritable(ruleset, False)
    reading = _READ | (_EXECUTE if execute else 0)
    rules = [(p, reading) for p in read] + [(p, every & ~_NEVER) for p in write] + [(p, _DEVICE) for p in devices]
    for place, allowed in rules:
        fd = place if isinstance(place, int) else os.open(place, os.O_PATH | os.O_CLOEXEC)
        try:
            if not stat.S_ISDIR(os.fstat(fd).st_mode):
                allowed &= _DEVICE | _EXECUTE
            rule = struct.pack("=Qi", allowed, fd)
            _syscall(f"landlock_add_rule {place}", _SYS_LANDLOCK_ADD, ruleset, 1, rule, 0)
        finally:
            if fd != place:
                os.close(fd)
    return ruleset


def landlock_enter(ruleset: int) -> None:
    """Confine this process by the rule set; a stack of at most 16."""
    _syscall("landlock_restrict_self", _SYS_LANDLOCK_RESTRICT, ruleset, 0)


def drop_bounding_set() -> None:
    """No later exec gains a capability."""
    for capability in range(64):
        try:
            _prctl("PR_CAPBSET_DROP", _PR_CAPBSET_DROP, capability)
        except OSError:
            return


def drop_rights(uid: int, seen: bool = False) -> None:
    """Become `uid` (-1: stay) without groups, capabilities or new privileges.

    Only with `seen` may other processes of that user look at it (/proc, and what a filter must then refuse: ptrace).
    """
    if uid >= 0:
        os.setgroups([])
        os.setresgid(uid, uid, uid)
        os.setresuid(uid, uid, uid)
    _prctl("PR_CAP_AMBIENT", _PR_CAP_AMBIENT, 4)
    header, none = struct.pack("=Ii", 0x20080522, 0), bytes(24)
    _syscall("capset", _SYS_CAPSET, header, none)
    _prctl("PR_SET_NO_NEW_PRIVS", _PR_SET_NO_NEW_PRIVS, 1)
    _prctl("PR_SET_DUMPABLE", _PR_SET_DUMPABLE, int(seen))


def limit(memory: int, disk: int, cpu_s: int, tasks: int) -> None:
    """Set the resource limits of a session: bytes of address space and of one file, seconds, tasks (-1: leave)."""
    wanted = {
        resource.RLIMIT_AS: memory,
        resource.RLIMIT_FSIZE: disk,
        resource.RLIMIT_NOFILE: 64,
        resource.RLIMIT_CORE: 1,  # what takes core dumps through a pipe heeds 1, not 0
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
        resource.RLIMIT_STACK: 8 << 20,
    }
    if tasks >= 0:
        wanted[resource.RLIMIT_NPROC] = tasks
    for kind, value in wanted.items():
        hard = resource.getrlimit(kind)[1]
        value = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (value, value))
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    kill = cpu_s + 1 if hard == resource.RLIM_INFINITY else min(cpu_s + 1, hard)
    resource.setrlimit(resource.RLIMIT_CPU, (min(cpu_s, kill), kill))
