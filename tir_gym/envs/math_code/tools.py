"""The agent's tools."""

from tir_gym.tools.python import PythonToolkit


class MathToolkit(PythonToolkit):
    """The interpreter, and nothing else."""
