"""`tir-gym index build` of vectors and fusions, `serve` and `lucene setup`; the rest of `index` is with its formats."""

import hashlib
import io
import json
import subprocess
import tarfile
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from tests.cli.command import tir_gym, told
from tir_gym.cli import index as commands
from tir_gym.retrieval import Passage, build, lucene, opening
from tir_gym.retrieval.encoders import Precomputed
from tir_gym.retrieval.http import Http
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


VECTORS = {"Amber a stone": [1.0, 0.0], "Basin a bowl": [0.0, 1.0], "resin": [0.9, 0.1]}


@pytest.fixture
def passages(tmp_path):
    rows = [{"id": "1", "title": "Amber", "text": "a stone"}, {"id": "2", "title": "Basin", "text": "a bowl"}]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return tmp_path / "p.jsonl"


def test_vectors_and_fusions(tmp_path, passages, monkeypatch):
    pytest.importorskip("faiss", reason="NO FAISS: dense retrieval is not tested (pip install faiss-cpu)")
    names = []
    monkeypatch.setattr(opening, "encoder_named", lambda name: names.append(name) or Precomputed(VECTORS))
    np.save(tmp_path / "vectors.npy", np.array(list(VECTORS.values())[:2], np.float32))
    told("index", "build", passages, tmp_path / "words")
    dense = ("index", "build", passages, tmp_path / "flat", "--backend", "dense", "--encoder", "E", "--kind", "flat")
    built = told(*dense)
    assert (built["kind"], built["index"], built["passages"]) == ("dense", "flat", 2)
    assert names[0] == "E"
    assert told(*dense)["content_hash"] == built["content_hash"]
    given = told(
        "index", "build", passages, tmp_path / "given", "--backend", "dense", "--vectors", tmp_path / "vectors.npy"
    )
    assert given["content_hash"] != built["content_hash"]
    for source in (tmp_path / "flat", tmp_path / "given"):
        ((first, second),) = told("index", "search", source, "resin")
        assert (first["id"], first["score"], second["id"]) == ("1", pytest.approx(0.99388, abs=1e-5), "2")
    both = f"{tmp_path / 'words'},{tmp_path / 'flat'}"
    ((first, second),) = told("index", "search", both, "resin")
    assert (first["id"], first["score"]) == ("1", round(1 / 61, 6))
    (tmp_path / "q.tsv").write_text("q\tresin\n")
    (tmp_path / "qrels").write_text("q 0 1 1\n")
    for source in (tmp_path / "flat", both):
        assert told("index", "eval", source, tmp_path / "q.tsv", tmp_path / "qrels")["ndcg_10"] == 1.0
    about = told("index", "info", both, "--verify")
    assert [(part["kind"], part["damaged"]) for part in about["parts"]] == [("bm25", []), ("dense", [])]
    assert about["kind"] == "hybrid"
    (tmp_path / "flat" / "vectors.npy").unlink()
    assert "vectors.npy" in tir_gym("index", "info", both, "--verify", code=1).stdout


def test_options_that_a_backend_does_not_take_are_named(tmp_path, passages):
    said = tir_gym("index", "build", passages, tmp_path / "x", "--kind", "ivf", code=2).stderr
    assert "bm25 takes b, k1, not kind" in said
    assert (
        "must be one of bm25, dense"
        in tir_gym("index", "build", passages, tmp_path / "x", "--backend", "y", code=2).stderr
    )
    assert [entry.name for entry in tmp_path.iterdir()] == ["p.jsonl"]


def test_progress_is_shown_to_people(tmp_path, passages, monkeypatch):
    screen = io.StringIO()
    monkeypatch.setattr(commands, "console", Console(file=screen, force_terminal=True, width=80))
    tir_gym("index", "build", passages, tmp_path / "index")
    assert "2/?" in screen.getvalue()


def test_the_jar_is_fetched_when_asked_and_only_as_published(tmp_path, monkeypatch):
    monkeypatch.setenv("TIR_GYM_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(lucene, "find_spec", lambda name: None)
    ran = []

    def pip(command, **options):
        ran.append(command)
        content, about = b"a jar", tarfile.TarInfo(f"pyserini-1.6.0/pyserini/resources/jars/{lucene.JAR}")
        about.size = len(content)
        with tarfile.open(Path(command[-2]) / "pyserini-1.6.0.tar.gz", "w:gz") as archive:
            archive.addfile(tarfile.TarInfo("pyserini-1.6.0/README.md"))
            archive.addfile(about, io.BytesIO(content))
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(subprocess, "run", pip)
    tir_gym("lucene", "setup", code=1)
    assert ran == []
    assert "SHA-256 differs" in tir_gym("lucene", "setup", "--yes", code=2).stderr
    ((*_, fetched),) = ran
    assert fetched == "pyserini==1.6.0"
    assert "--no-deps" in ran[0]
    assert list((tmp_path / "cache" / "lucene").iterdir()) == []
    monkeypatch.setattr(lucene, "JAR_HASH", hashlib.sha256(b"a jar").hexdigest())
    assert "pyjnius" in tir_gym("lucene", "setup", "--yes", code=2).stderr
    kept = tmp_path / "cache" / "lucene" / lucene.JAR
    assert kept.read_bytes() == b"a jar"
    monkeypatch.setattr(lucene, "find_spec", lambda name: True if name == "jnius" else None)
    monkeypatch.setenv("JAVA_HOME", "java")
    assert told("lucene", "setup") == {"jar": str(kept), "java": "java"}
    assert len(ran) == 2
    kept.unlink()
    monkeypatch.setattr(subprocess, "run", lambda command, **options: subprocess.CompletedProcess(command, 1))
    assert "failed" in tir_gym("lucene", "setup", "--yes", code=2).stderr
