"""Where untrusted code runs: interpreters behind one small interface, jailed as well as each executor can."""

from tir_gym.executors.forkserver import ForkServer, shared

__all__ = ["ForkServer", "shared"]
