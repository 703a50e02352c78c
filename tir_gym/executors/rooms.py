"""Who is kin to whom in the fork server, and where live copies keep their files.

Under `/box/copies` (without namespaces: a directory of the host's) each copy has a room, which is what its Landlock
rules let it reach, and in the room a cell with its working directory; the rooms of its own copies are in its room. All
names are random, and nobody in the family can list or change rooms and cells: they are out of reach for whoever does
not know their names. Runs in the fork server with the standard library only.
"""

import contextlib
import errno
import os
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field

from tir_gym.executors import jail
from tir_gym.executors.confine import Confinement
from tir_gym.executors.sweep import remove_tree

_COPIES = "/box/copies"
_FLAGS = jail.NOSUID | jail.NODEV | jail.NOEXEC
_LAYERS = 16
"""Landlock layers that a process may have; a session begins with one, each copy adds one."""


@dataclass(eq=False)
class Family:
    """The first process of a session, with the copies forked from it: one pid namespace, user and fork gate."""

    pid: int
    pidfd: int
    uid: int
    disk: int
    tasks: int
    root: str
    gate: int = -1
    frozen: bool = False
    tree: int = -1
    """With namespaces: descriptor of `/box/copies`, writable."""
    sealed: bool = False
    """Whether the family itself sees it read-only."""
    members: set["Member"] = field(default_factory=set)


@dataclass(eq=False)
class Member:
    """One session: the process that runs its code, the server's end of its channel and where its files are."""

    sid: int
    family: Family
    channel: socket.socket
    secret: bytes
    room: str = ""
    box: str = ""
    pid: int = -1
    pidfd: int = -1
    device: int = -1
    """With namespaces: what its working directory is mounted from."""
    layers: int = 1
    walled: bool = False
    """A copy with a room of its own, beyond which Landlock does not let it."""


class Rooms:
    """Makes, renames and removes the rooms and cells of copies."""

    def __init__(self, confinement: Confinement) -> None:
        self._jail = confinement
        self._namespaces = confinement.spaces

    def make(self, parent: Member, child: Member) -> int:
        """Make a working directory for `child`. Returns its Landlock rules (descriptor, -1: it can have no more).

        A room is beneath that of the parent, since rules can only be narrowed.
        """
        child.layers = parent.layers + 1
        child.walled = bool(self._jail.abi) and child.layers <= _LAYERS
        child.room = f"{parent.room}/{_name()}" if child.walled else parent.room
        cell = f"{child.room}/{_name()}"
        child.box = cell + "/work"
        if not self._namespaces:
            if child.walled:
                os.mkdir(child.room, 0o311)  # noqa: PTH102
            self._jail.make_box(cell, child.family.uid)
            return self._rules(child)
        with self._inside(child.family):
            self._make_cell(parent, child, cell)
            return self._rules(child)

    def _make_cell(self, parent: Member, child: Member, cell: str) -> None:
        family = child.family
        if family.tree < 0:
            self._plant(family)
        if parent.device < 0:
            parent.device = os.stat(parent.box).st_dev  # noqa: PTH116
        for path in (child.room, cell, child.box)[not child.walled :]:
            os.mkdir(_below(path), 0o111 if family.sealed else 0o711, dir_fd=family.tree)
        owner = f"uid={max(family.uid, 0)},gid={max(family.uid, 0)}"
        jail.mount("tmpfs", child.box, "tmpfs", _FLAGS, f"size={family.disk},nr_inodes=2048,mode=0700,{owner}")
        child.device = os.stat(child.box).st_dev  # noqa: PTH116

    def _rules(self, child: Member) -> int:
        return self._jail.copy_rules(child.room) if child.walled else -1

    def _plant(self, family: Family) -> None:
        """In the mount namespace of `family`: make the tree for its copies.

        Before Linux 5.2 there is but one view of a mount, and a family that has the server's user may change it.
        """
        jail.mount("tmpfs", _COPIES, "tmpfs", _FLAGS, "size=1m,nr_inodes=4096,mode=0711")
        try:
            family.tree = jail.second_view(_COPIES)
        except OSError as error:
            if error.errno != errno.ENOSYS:
                raise
            family.tree = os.open(_COPIES, os.O_PATH | os.O_CLOEXEC)
            return
        os.chmod(_COPIES, 0o111)  # noqa: PTH101, S103
        jail.seal_mount(_COPIES, jail.RDONLY | _FLAGS)
        family.sealed = True

    def move(self, member: Member) -> None:
        """Give a copy's cell another name, so that those no longer find it who knew the first. Raises `OSError`."""
        cell = os.path.dirname(member.box)  # noqa: PTH120
        fresh = f"{member.room}/{_name()}"
        if self._namespaces:
            tree = member.family.tree
            os.rename(_below(cell), _below(fresh), src_dir_fd=tree, dst_dir_fd=tree)
        else:
            os.rename(cell, fresh)  # noqa: PTH104
        member.box = fresh + "/work"

    def clear(self, member: Member) -> None:
        """Remove what a copy that has ended leaves, and rooms from there up until one is in use (then `OSError`)."""
        if member.layers == 1 or not member.box:
            return
        room, top = member.room, f"{member.family.root}/copies"
        if self._namespaces:
            with self._inside(member.family):
                jail.umount(member.box)
            for path in (member.box, os.path.dirname(member.box)):  # noqa: PTH120
                os.rmdir(_below(path), dir_fd=member.family.tree)
        else:
            remove_tree(os.path.dirname(member.box))  # noqa: PTH120
        while room != top:
            os.rmdir(_below(room), dir_fd=member.family.tree if self._namespaces else None)
            room = os.path.dirname(room)  # noqa: PTH120

    def mark(self, member: Member) -> str:
        """What a line of /proc/PID/maps holds if it is about a file of `member`."""
        if member.device < 0:
            return f"{member.box}/"
        return f" {os.major(member.device):02x}:{os.minor(member.device):02x} "

    @contextlib.contextmanager
    def _inside(self, family: Family) -> Iterator[None]:
        jail.setns(family.pidfd, jail.NEWNS)
        try:
            yield
        finally:
            jail.setns(self._jail.mounts, jail.NEWNS)


def _name() -> str:
    return os.urandom(16).hex()


def _below(path: str) -> str:
    return path.removeprefix(_COPIES + "/")
