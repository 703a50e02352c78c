"""The agent's tools."""

from tir_gym.tools.python import PythonToolkit, StatelessPythonToolkit


class MathToolkit(PythonToolkit):
    """The interpreter, and nothing else."""


class StatelessMathToolkit(StatelessPythonToolkit):
    """An interpreter that is new at every call, and nothing else."""
