"""An index on disk is built once and whole, whoever interrupts it; and it is what an index in memory is."""

import multiprocessing
import os
import pickle
import signal
from pathlib import Path

import pytest

from tir_gym.retrieval import Bm25, Passage, build, building
from tir_gym.retrieval.manifest import damage

CORPUS = [
    Passage(f"p{i % 10}{i // 10}", f"Title {i}", f"amber {'basin ' * (i % 3)}cedar{i % 7} delta{i}") for i in range(50)
]
QUERIES = ["amber basin", "cedar3", "title delta17", "nothing"]


@pytest.fixture(autouse=True)
def small_segments(monkeypatch):
    monkeypatch.setattr(building, "SEGMENT", 8)


def open_descriptors():
    return len(list(Path("/proc/self/fd").iterdir()))


def mapped(path):
    return str(path) in Path("/proc/self/maps").read_text()


def test_it_finds_what_an_index_in_memory_finds(tmp_path):
    disk, memory = build(CORPUS, tmp_path / "index"), Bm25.of(CORPUS)
    assert disk.search(QUERIES, 20) == memory.search(QUERIES, 20)
    assert disk.content_hash == memory.content_hash
    assert pickle.loads(pickle.dumps(disk)).search(QUERIES, 20) == memory.search(QUERIES, 20)
    assert len(pickle.dumps(disk)) < 500
    assert [entry.name for entry in tmp_path.iterdir()] == ["index"]


def test_files_are_mapped_at_the_first_search_and_let_go(tmp_path):
    index = build(CORPUS, tmp_path / "index")
    descriptors = open_descriptors()
    assert not mapped(tmp_path)
    index.search(["amber"], 1)
    assert mapped(tmp_path)
    index.close()
    assert not mapped(tmp_path)
    assert open_descriptors() == descriptors
    assert index.search(["amber"], 1)
    index.close()


def test_the_same_passages_are_indexed_once_and_others_refused(tmp_path, monkeypatch):
    build(CORPUS, tmp_path / "index")
    monkeypatch.setattr(building, "segment", lambda chunk: pytest.fail("analysed again"))
    assert build(CORPUS, tmp_path / "index").content_hash == Bm25.of(CORPUS).content_hash
    for passages, settings in ((CORPUS[1:], {}), (CORPUS, {"k1": 2.0})):
        with pytest.raises(FileExistsError, match="remove it"):
            build(passages, tmp_path / "index", **settings)


def test_an_interrupted_build_goes_on_where_it_was(tmp_path, monkeypatch):
    def until(stop):
        for place, passage in enumerate(CORPUS):
            if place == stop:
                raise KeyboardInterrupt
            yield passage

    with pytest.raises(KeyboardInterrupt):
        build(until(30), tmp_path / "index")
    assert not (tmp_path / "index").exists()
    analysed, seen = [], []
    segment = building.segment
    monkeypatch.setattr(building, "segment", lambda chunk: analysed.append(len(chunk)) or segment(chunk))
    index = build(CORPUS, tmp_path / "index", progress=seen.append)
    assert analysed == [8, 8, 8, 2]
    assert seen == [8, 16, 24, 32, 40, 48, 50]
    assert index.search(QUERIES, 20) == Bm25.of(CORPUS).search(QUERIES, 20)
    assert [entry.name for entry in tmp_path.iterdir()] == ["index"]


def test_segments_of_other_passages_are_not_taken_over(tmp_path):
    with pytest.raises(ValueError, match="'p00'"):
        build([*CORPUS[:16], CORPUS[0]], tmp_path / "index")
    changed = [Passage(passage.id, "new", passage.text) for passage in CORPUS]
    assert build(changed, tmp_path / "index").content_hash == Bm25.of(changed).content_hash


def _build_and_die(path):
    def passages():
        yield from CORPUS[:20]
        os.kill(os.getpid(), signal.SIGKILL)

    build(passages(), path)


def _build(path):
    build(CORPUS, path)


def test_killed_and_competing_builders(tmp_path):
    fork = multiprocessing.get_context("fork")
    killed = fork.Process(target=_build_and_die, args=(tmp_path / "index",))
    killed.start()
    killed.join()
    assert killed.exitcode == -signal.SIGKILL
    assert not (tmp_path / "index").exists()
    several = [fork.Process(target=_build, args=(tmp_path / "index",)) for _ in range(3)]
    for process in several:
        process.start()
    for process in several:
        process.join()
        assert process.exitcode == 0
        process.close()
    killed.close()
    assert damage(tmp_path / "index") == []


def test_damage_is_named(tmp_path):
    build(CORPUS, tmp_path / "index")
    assert damage(tmp_path / "index") == []
    with (tmp_path / "index" / "docs.npy").open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\xff")
    (tmp_path / "index" / "peaks.npy").unlink()
    assert sorted(damage(tmp_path / "index")) == ["docs.npy", "peaks.npy"]


def test_what_is_no_index_says_so(tmp_path):
    with pytest.raises(FileNotFoundError, match="tir-gym index build"):
        Bm25.open(tmp_path)
    (tmp_path / "manifest.json").write_text('{"format": "other"}')
    with pytest.raises(ValueError, match="build it again"):
        Bm25.open(tmp_path)
    with pytest.raises(ValueError, match="no passage"):
        build([], tmp_path / "empty")
