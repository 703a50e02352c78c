"""bm25s and tantivy rank as our own BM25 does with their parameters, and keep what a retriever promises."""

import multiprocessing
import os
import pickle
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tir_gym.retrieval import Bm25, Passage
from tir_gym.retrieval.bm25s import Bm25s, build_bm25s
from tir_gym.retrieval.manifest import damage
from tir_gym.retrieval.opening import open_retriever
from tir_gym.retrieval.tantivy import build_tantivy

BUILDERS = {"bm25s": build_bm25s, "tantivy": build_tantivy}
PARAMETERS = {"bm25s": (0.9, 0.4, 1.0), "tantivy": (1.2, 0.75, 2.2)}
"""k1, b, and what the score is multiplied with: tantivy keeps the factor k1 + 1."""

CORPUS = [
    *(
        Passage(f"p{i * 7 % 60:02}", f"Title {i}", f"amber {'basin ' * (i % 4)}cedar{i % 5} the runs")
        for i in range(60)
    ),
    *(Passage(f"t{i * 7 % 80:02}", "", "tied ones") for i in range(80)),
]
QUERIES = ["amber basin", "cedar3 cedar3 basin", "title running", "tied", "unknown", "", "the of", "\ud800 é basin"]
SYNTAX = ['+amber -basin "', "title:amber AND (", "amber* OR [a TO b]", "row:1"]


@pytest.fixture(scope="module", params=BUILDERS)
def backend(request):
    name = request.param
    pytest.importorskip(name, reason=f"NO {name.upper()}: its backend is not tested (pip install {name})")
    return name


@pytest.fixture(scope="module")
def index(backend, tmp_path_factory):
    built = BUILDERS[backend](CORPUS, tmp_path_factory.mktemp(backend) / "index")
    yield built
    built.close()


def test_it_ranks_as_its_parameters_say(backend, index):
    k1, b, factor = PARAMETERS[backend]
    expected = Bm25.of(CORPUS, k1, b).search(QUERIES, 200)
    for query, hits, ours in zip(QUERIES, index.search(QUERIES, 200), expected, strict=True):
        assert {hit.id: hit.score for hit in hits} == pytest.approx(
            {hit.id: hit.score * factor for hit in ours}, abs=4e-4
        )
        assert hits == sorted(hits, key=lambda hit: (-hit.score, hit.id)), query
    assert [len(hits) for hits in expected] == [60, 48, 60, 80, 0, 0, 0, 45]
    assert index.get("p07") == next(passage for passage in CORPUS if passage.id == "p07")
    with pytest.raises(KeyError, match="p99"):
        index.get("p99")
    with pytest.raises(ValueError, match="k=0"):
        index.search(["amber"], 0)


def test_any_depth_and_batch_finds_the_same_and_equal_scores_come_by_id(index):
    everything = index.search(QUERIES, 200)
    for k in (1, 3, 20, 79):
        assert index.search(QUERIES, k) == [hits[:k] for hits in everything]
    assert [index.search([query], 200)[0] for query in QUERIES] == everything
    assert [hit.id for hit in index.search(["tied"], 3)[0]] == ["t00", "t01", "t02"]


def test_a_query_has_no_syntax(backend, index):
    k1, b, _ = PARAMETERS[backend]
    found = index.search(SYNTAX, 200)
    expected = Bm25.of(CORPUS, k1, b).search(SYNTAX, 200)
    assert [{hit.id for hit in hits} for hits in found] == [{hit.id for hit in hits} for hits in expected]


def _search_and_tell(index, answers):
    answers.put(index.search(QUERIES, 5))


def test_threads_forks_and_pickles_find_the_same(index):
    expected = index.search(QUERIES, 5)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda query: index.search([query], 5)[0], QUERIES * 5)) == expected * 5
    fork = multiprocessing.get_context("fork")
    answers = fork.SimpleQueue()
    child = fork.Process(target=_search_and_tell, args=(index, answers))
    child.start()
    assert answers.get() == expected
    child.join()
    child.close()
    answers.close()
    again = pickle.loads(pickle.dumps(index))
    assert (again.search(QUERIES, 5), again.content_hash) == (expected, index.content_hash)
    again.close()


def mapped(path):
    return str(path) in Path("/proc/self/maps").read_text()


def unmapped(path):
    """Whether it is let go soon: a thread of tantivy's may be looking at it still."""
    until = time.monotonic() + 60
    while mapped(path) and time.monotonic() < until:
        os.sched_yield()
    return not mapped(path)


def test_it_is_built_once_and_whole_and_mapped_when_searched(backend, tmp_path, monkeypatch):
    build, folder = BUILDERS[backend], tmp_path / "index"

    class Failed(Exception): ...

    def broken():
        yield CORPUS[0]
        raise Failed

    with pytest.raises(Failed):
        build(broken(), folder)
    assert list(tmp_path.iterdir()) == []
    index = build(CORPUS, folder)
    assert not mapped(folder)
    expected = index.search(QUERIES, 5)
    assert mapped(folder)
    index.close()
    assert unmapped(folder)
    assert damage(folder) == []
    inode = folder.stat().st_ino
    assert build(CORPUS, folder).content_hash == index.content_hash
    assert folder.stat().st_ino == inode
    with pytest.raises(FileExistsError, match="remove it"):
        build(CORPUS[1:], folder)
    other = build(CORPUS, tmp_path / "other")
    assert (other.content_hash, other.search(QUERIES, 5)) == (index.content_hash, expected)
    assert build(CORPUS[1:], tmp_path / "less").content_hash != index.content_hash
    opened = open_retriever(str(folder))
    assert opened.search(QUERIES, 5) == expected
    for retriever in (other, opened):
        retriever.close()
    with pytest.raises(ValueError, match="no passage"):
        build([], tmp_path / "empty")


def test_an_index_of_another_kind_is_named(tmp_path):
    from tir_gym.retrieval import build

    build(CORPUS, tmp_path / "index").close()
    with pytest.raises(ValueError, match="kind 'bm25', not 'bm25s'"):
        Bm25s(tmp_path / "index")
