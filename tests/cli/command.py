"""The command line, run in this process."""

import json
from typing import Any

from typer.testing import CliRunner

from tir_gym.cli.main import app


def tir_gym(*arguments: object, code: int = 0) -> Any:
    """Run a command, which ends with this status."""
    done = CliRunner().invoke(app, list(map(str, arguments)))
    assert done.exit_code == code, done.output
    return done


def told(*arguments: object, code: int = 0) -> Any:
    """The JSON that a command prints."""
    return json.loads(tir_gym(*arguments, "--json", code=code).stdout)
