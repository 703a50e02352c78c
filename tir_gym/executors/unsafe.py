"""`UnsafeSubprocess`: sessions in bare processes of this machine, for debugging what one trusts."""

import tempfile
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from tir_gym.core.interfaces import Limits
from tir_gym.executors.cell import BOOT, Process, keeper_config
from tir_gym.executors.launcher import ENVIRONMENT
from tir_gym.executors.pool import PooledExecutor
from tir_gym.executors.process import Preload, configuration
from tir_gym.executors.tiers import Tier, UnsafeExecutorWarning

__all__ = ["UnsafeExecutorWarning", "UnsafeSubprocess"]


@dataclass(frozen=True)
class UnsafeSubprocess(PooledExecutor):
    """No isolation: code can do whatever this process can. Limits of time, memory and output hold, for likeness.

    `preload`: packages imported before a session needs them; sessions find these and the standard library.
    """

    preload: Preload = ()
    spare: int = 1
    min_tier = "unsafe"
    best: ClassVar[Tier] = Tier.UNSAFE
    namespaces: ClassVar[bool] = False
    why: ClassVar[str] = "UnsafeSubprocess isolates nothing; use ForkServer"

    def __post_init__(self) -> None:
        warnings.warn("UnsafeSubprocess runs code with the rights of this process", UnsafeExecutorWarning, stacklevel=3)
        super().__post_init__()

    def _prepare(self) -> None:
        configuration(self.preload, (), "", -1)

    def _start(self, limits: Limits) -> Process:
        machine = configuration(self.preload, (), "", -1)
        search = sorted({str(Path(path).parent) for path in machine["packages"]})
        folder = tempfile.mkdtemp(prefix="tir_gym-")
        arguments = [machine["python"], "-P", "-s", "-S", "-B", "-c", BOOT]
        cell = Process(arguments, self._own, ENVIRONMENT, folder=folder)
        cell.greet(keeper_config(folder, self.preload, isolate=False, search=search, remove=folder))
        return cell
