"""`tir-gym serve` and `lucene setup`; `index` itself is tested with the formats that it reads."""

import subprocess

from tests.cli.command import tir_gym, told
from tir_gym.cli import index as commands
from tir_gym.retrieval import Passage, build
from tir_gym.retrieval.http import Http
from tir_gym.retrieval.lucene import LuceneUnavailable
from tir_gym.retrieval.server import RetrieverServer


def test_serving_until_interrupted(tmp_path, monkeypatch):
    index = build([Passage("1", "Amber", "a stone")], tmp_path / "index")
    found = []

    def ask(server):
        client = Http(server.address)
        found.extend(client.search(["stone"], 1))
        client.close()
        raise KeyboardInterrupt

    monkeypatch.setattr(RetrieverServer, "wait", ask)
    said = tir_gym("serve", "--retriever", tmp_path / "index", "--port", 0, code=130).stdout
    assert "serving" in said
    assert found == index.search(["stone"], 1)
    index.close()
    assert "no index" in tir_gym("serve", "--retriever", tmp_path, code=2).stderr


def test_nothing_is_fetched_without_a_yes(monkeypatch):
    ran = []
    monkeypatch.setattr(subprocess, "run", lambda command, **options: ran.append(command))
    monkeypatch.setattr(commands, "installed", lambda: False)

    def missing():
        raise LuceneUnavailable("there is no jar")

    monkeypatch.setattr(commands, "jar", missing)
    tir_gym("lucene", "setup", code=1)
    assert ran == []
    assert "there is no jar" in tir_gym("lucene", "setup", "--yes", code=2).stderr
    assert [command[1:] for command in ran] == [["-m", "pip", "install", "--no-deps", "pyserini==1.6.0"]]
    monkeypatch.setattr(commands, "installed", lambda: True)
    monkeypatch.setattr(commands, "jar", lambda: "x.jar")
    monkeypatch.setattr(commands, "java_home", lambda: "java")
    assert told("lucene", "setup") == {"jar": "x.jar", "java": "java"}
    assert len(ran) == 1
