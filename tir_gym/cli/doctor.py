"""What this machine can do, tried rather than guessed."""

import platform
import sys
from importlib import metadata

from tir_gym.core.interfaces import ExecutorUnavailable
from tir_gym.executors import ForkServer, shared


def diagnose() -> tuple[dict[str, str], bool]:
    """Each check and its finding, and whether untrusted code can run here."""
    findings = {
        "python": f"ok: {platform.python_version()}" if sys.version_info >= (3, 11) else "missing: needs 3.11 or newer",
        "kernel": f"ok: {platform.system()} {platform.release()} {platform.machine()}",
    }
    for package in ("gymnasium", "numpy", "pydantic", "sympy"):
        findings[package] = f"ok: {metadata.version(package)}"
    executor = shared(ForkServer())
    try:
        executor.acquire()
    except ExecutorUnavailable as error:
        return {**findings, "executor": f"missing: {error}"}, False
    try:
        return {**findings, **executor.report()}, True
    finally:
        executor.release()
