"""What this machine can do, tried rather than guessed."""

import enum
import platform
import sys
import warnings
from dataclasses import replace
from importlib import metadata
from typing import TYPE_CHECKING

from tir_gym.core.interfaces import ExecutorUnavailable
from tir_gym.executors import ForkServer
from tir_gym.executors.tiers import Tier, UnsafeExecutorWarning

if TYPE_CHECKING:
    from tir_gym.executors.bwrap import BwrapExecutor
    from tir_gym.executors.docker import DockerExecutor


class Kind(enum.StrEnum):
    """The executors that can be examined."""

    FORKSERVER = "forkserver"
    BWRAP = "bwrap"
    DOCKER = "docker"


def diagnose(kind: Kind = Kind.FORKSERVER) -> tuple[dict[str, str], bool]:
    """Each check and its finding, and whether that executor would run code here as it is by default."""
    findings = {
        "python": f"ok: {platform.python_version()}" if sys.version_info >= (3, 11) else "missing: needs 3.11 or newer",
        "kernel": f"ok: {platform.system()} {platform.release()} {platform.machine()}",
    }
    for package in ("gymnasium", "numpy", "pydantic", "sympy"):
        findings[package] = f"ok: {metadata.version(package)}"
    executor = _executor(kind)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UnsafeExecutorWarning)  # the finding says so
            report = replace(executor, min_tier=Tier.UNSAFE.value).report()
    except ExecutorUnavailable as error:
        return {**findings, "executor": f"missing: {error}"}, False
    least, found = Tier(executor.min_tier), Tier(report.pop("tier"))
    usable = found >= least
    finding = f"{'ok' if usable else 'missing'}: {kind.value}, tier {found.value}; needs {least.value} or better"
    return {**findings, "executor": finding, **report}, usable


def _executor(kind: Kind) -> "ForkServer | BwrapExecutor | DockerExecutor":
    match kind:
        case Kind.FORKSERVER:
            return ForkServer()
        case Kind.BWRAP:
            from tir_gym.executors.bwrap import BwrapExecutor

            return BwrapExecutor()
        case Kind.DOCKER:
            from tir_gym.executors.docker import DockerExecutor

            return DockerExecutor()
