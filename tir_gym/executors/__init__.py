"""Where untrusted code runs: jailed interpreters behind one small interface."""

from tir_gym.executors.forkserver import ForkServer, shared

__all__ = ["ForkServer", "shared"]
