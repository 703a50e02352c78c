"""`BwrapExecutor`: sessions under bubblewrap, for hosts where only its program may make namespaces."""

import os
import random
import shutil
from collections.abc import Hashable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from tir_gym.core.interfaces import ExecutorUnavailable, Limits
from tir_gym.executors.cell import BOOT, Process, keeper_config
from tir_gym.executors.launcher import ENVIRONMENT, whole_ids
from tir_gym.executors.pool import PooledExecutor
from tir_gym.executors.process import Preload, configuration

_FLAGS = "--die-with-parent --new-session --as-pid-1 --clearenv --cap-drop ALL"
_AS_ROOT = (
    "--unshare-ipc --unshare-pid --unshare-net --unshare-uts --unshare-cgroup-try "
    "--cap-add CAP_SETUID --cap-add CAP_SETGID"
)
_AS_USER = "--unshare-all --uid 65533 --gid 65533"
_DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")
_WORK = "/box/work"


@dataclass(frozen=True)
class BwrapExecutor(PooledExecutor):
    """Each session in new namespaces that bubblewrap makes, with Landlock and seccomp on top where the kernel has them.

    Sessions see the interpreter, its libraries and `preload` with what that needs, read-only, and their own directory.
    As root no user namespace is made, and each session gets a user id of its own.
    """

    preload: Preload = "lean"
    spare: int = 1
    min_tier: str = "B"
    why: ClassVar[str] = "bubblewrap made none"

    def _prepare(self) -> None:
        if shutil.which("bwrap") is None:
            raise ExecutorUnavailable("there is no bwrap; install bubblewrap, 0.8 or later")
        configuration(self.preload, (), "", -1)

    def _shape(self, limits: Limits) -> Hashable:
        return limits.disk_mb

    def _start(self, limits: Limits) -> Process:
        machine = configuration(self.preload, (), "", -1)
        program = shutil.which("bwrap") or "bwrap"
        user = random.SystemRandom().randrange(1 << 30, 3 << 30) if whole_ids() else -1
        arguments = [program, *_FLAGS.split(), *(_AS_USER if user < 0 else _AS_ROOT).split(), "--hostname", "session"]
        done: set[str] = set()
        for path in machine["paths"]:
            arguments += _bind(path, path, done)
        for path in machine["masked"]:
            if os.path.isdir(path):  # noqa: PTH112 - as text, like all of these
                arguments += ["--tmpfs", path, "--remount-ro", path]
        for path in machine["packages"]:
            target = "/packages/" + Path(path).name
            arguments += [*_parents(target, done), "--ro-bind", os.path.realpath(path), target]
        for path in _DEVICES:
            arguments += [*_parents(path, done), "--dev-bind", path, path]
        arguments += [
            "--proc",
            "/proc",
            *_parents(_WORK, done),
            "--perms",
            "1777",
            "--size",
            str(limits.disk_mb << 20),
            "--tmpfs",
            _WORK,
        ]
        arguments += ["--chdir", "/", "--remount-ro", "/"]
        for name, value in ENVIRONMENT.items():
            arguments += ["--setenv", name, value]
        arguments += [machine["python"], "-P", "-s", "-S", "-B", "-c", BOOT]
        cell = Process(arguments, self._own, {})
        readable = [path for path in (*machine["paths"], "/packages", *_DEVICES) if path != "/dev/null"]
        search = ["/packages"]
        cell.greet(keeper_config(_WORK, self.preload, user=user, count_tasks=True, readable=readable, search=search))
        return cell


def _bind(source: str, target: str, done: set[str]) -> Iterator[str]:
    """Options that show `source` read-only at `target`, with the symbolic links on the way to it."""
    for part in (*reversed(Path(source).parents), Path(source)):
        if part.is_symlink():
            if str(part) not in done:
                done.add(str(part))
                yield from _parents(str(part), done)
                yield from ("--symlink", str(part.readlink()), str(part))
            resolved = os.path.normpath(part.parent / part.readlink() / Path(source).relative_to(part))
            yield from _bind(resolved, resolved, done)
            return
    if not Path(source).exists() or any(target == d or target.startswith(d + "/") for d in done):
        return
    yield from _parents(target, done)
    done.add(target)
    yield from ("--ro-bind", source, target)


def _parents(target: str, done: set[str]) -> Iterator[str]:
    """Options that make the directories above `target`, which bubblewrap would make for root only."""
    for parent in reversed(Path(target).parents[:-1]):
        if f"{parent}/" not in done:
            done.add(f"{parent}/")
            yield from ("--perms", "0755", "--dir", str(parent))
