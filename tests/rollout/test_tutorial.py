"""The tutorial runs as it stands, but for the address of the model server."""

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from tests.play import make
from tests.rollout.model_server import ModelServer, scripted_model
from tir_gym.cli.main import app
from tir_gym.rollout import collect

PAGE = (Path(__file__).parents[2] / "docs" / "tutorial.md").read_text()
URL = "http://127.0.0.1:8000/v1"
BLOCKS = re.findall(r"^```(\w*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A model that says what the oracle says; the working directory is a temporary one."""
    monkeypatch.chdir(tmp_path)
    env = make("tir/MathCode-v0", difficulty=2)
    scripts = {}
    for record in collect(env, "oracle", range(10)):
        own = [{"content": entry.text} for entry in record.transcript if entry.source == "policy"]
        scripts[next(entry.text for entry in record.transcript if entry.source == "env")] = own
    env.close()
    with ModelServer(scripted_model(scripts)) as running:
        yield running


def test_the_tutorial(server, capsys):
    python = [text.replace(URL, server.url) for language, text in BLOCKS if language == "python"]
    assert len(python) > 10
    told, names = [], {}
    for number, text in enumerate(python):
        exec(compile(text, f"tutorial block {number}", "exec"), names)
        told.append(capsys.readouterr().out)
    everything = "".join(told)
    for expected in (
        "1024",
        "0.0 True failed",
        "oracle [1.0, 1.0, 1.0, 1.0, 1.0]\nnull [0.0, 0.0, 0.0, 0.0, 0.0]",
        "played again: 0",
        "played 2",
        "10 episodes, mean score 1.0",
    ):
        assert expected in everything
    assert everything.count(r"42\n</result>") == 4  # of `envs.send` without a barrier
    assert sorted(re.findall(r"^(\d) solved 2$", everything, re.MULTILINE)) == list("01234567")

    (shell,) = [text.replace(URL, server.url) for language, text in BLOCKS if not language]
    for line in shell.replace("\\\n", "").splitlines():
        words = [path for word in shlex.split(line)[1:] for path in (sorted(map(str, Path().glob(word))) or [word])]
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, f"{line}\n{result.output}{result.exception}"
