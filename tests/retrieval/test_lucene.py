"""Real Lucene in its own process: it finds what ours finds, and its death harms nobody."""

import math
import multiprocessing
import os
import pickle
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.play import make
from tests.processes import descendants, wait_until_gone
from tir_gym.core.tool import EnvError
from tir_gym.retrieval import Bm25, Passage, lucene
from tir_gym.retrieval.lucene import Lucene, LuceneUnavailable, build_lucene, installed
from tir_gym.retrieval.manifest import damage
from tir_gym.retrieval.opening import open_retriever

needs_java = pytest.mark.skipif(not installed(), reason="NO LUCENE: its backend is not tested (`make lucene`, 200 MB)")
PASSAGES = [
    Passage("1", "Amber", "a stone\nof resin"),
    Passage("2", "Basin", 'a "bowl" of psychology é'),
    Passage("3", "", "resin and stone, psychologically"),
    *(Passage(f"n{i:02}", f"Number {i}", f"stone {'resin ' * i} the U.S.A.'s {i},000.5") for i in range(60)),
]
PATIENT = {"timeout_s": 600, "start_s": 600}
QUERIES = ["stone", "resin bowl", "psychological", "unknown", "", "7,000.5 stone stone", "\ud800 é"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("lucene") / "index"
    build_lucene(PASSAGES, path).close()
    assert [entry.name for entry in path.parent.iterdir()] == ["index"]
    return path


@pytest.fixture(scope="module")
def index(folder):
    opened = Lucene(folder, **PATIENT)
    yield opened
    opened.close()


@needs_java
def test_it_finds_what_our_own_bm25_finds(index):
    ours = Bm25.of(PASSAGES)
    for query, hits, expected in zip(QUERIES, index.search(QUERIES, 100), ours.search(QUERIES, 100), strict=True):
        assert [(hit.id, hit.title, hit.text) for hit in hits] == [(hit.id, hit.title, hit.text) for hit in expected], (
            query
        )
        assert [hit.score for hit in hits] == pytest.approx([hit.score for hit in expected], abs=2e-4)
    assert index.get("2") == ours.get("2")
    with pytest.raises(KeyError, match="none"):
        index.get("none")


@needs_java
def test_a_query_of_very_many_terms_is_a_query(index):
    """Else a policy could make its episode invalid, and those of others that search with it."""
    many = "".join(map(chr, range(0x4E00, 0x4E00 + 1_990))) + " stone"
    assert [hit.id for hit in index.search([many], 3)[0]] == [hit.id for hit in index.search(["stone"], 3)[0]]


@needs_java
def test_it_is_built_once_and_threads_share_it(index, folder):
    assert damage(folder) == []
    again = build_lucene(PASSAGES, folder)
    assert again.content_hash == index.content_hash != Lucene(folder, k1=2.0).content_hash
    with pytest.raises(FileExistsError, match="remove it"):
        build_lucene(PASSAGES[1:], folder)
    expected = index.search(QUERIES, 5)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda query: index.search([query], 5)[0], QUERIES * 5)) == expected * 5
    for source in (str(folder), f"lucene:{folder}"):
        assert open_retriever(source).content_hash == index.content_hash


def _search_and_tell(index, answers):
    answers.put((index.search(["stone"], 3), index.pid))
    index.close()


@needs_java
def test_a_forked_process_and_a_pickle_have_a_machine_of_their_own(index):
    expected, pid = index.search(["stone"], 3), index.pid
    fork = multiprocessing.get_context("fork")
    answers = fork.SimpleQueue()
    child = fork.Process(target=_search_and_tell, args=(index, answers))
    child.start()
    found, other = answers.get()
    child.join()
    child.close()
    answers.close()
    assert (found, other != pid) == (expected, True)
    assert index.search(["stone"], 3) == expected
    assert index.pid == pid
    assert pickle.loads(pickle.dumps(index)).content_hash == index.content_hash


@needs_java
def test_killed_between_and_hung_within_a_search_it_starts_afresh(folder):
    before = descendants()
    index = Lucene(folder, **PATIENT)
    expected = index.search(["stone"], 3)
    os.kill(index.pid, signal.SIGKILL)
    with pytest.raises(EnvError, match="Lucene's process is gone"):
        index.search(["stone"], 3)
    assert index.pid == 0
    assert index.search(["stone"], 3) == expected
    os.kill(index.pid, signal.SIGSTOP)
    index._timeout_s = 0.2
    with pytest.raises(EnvError, match="in time"):
        index.search(["stone"], 3)
    wait_until_gone(descendants() - before)
    index.close()


@needs_java
def test_killed_within_an_episode_that_one_is_invalid_and_the_next_is_not(folder, monkeypatch):
    before = descendants()
    index = Lucene(folder, **PATIENT)
    index.search(["stone"], 1)
    monkeypatch.setattr("tests.toys.archive.env.CardIndex", lambda cards: index)
    call = '<call name="search"><arg name="query">amber</arg></call>'
    env = make("toy/Archive-v0")
    env.reset(seed=0)
    assert "of resin" in env.step(call)[0]
    os.kill(index.pid, signal.SIGKILL)
    _, reward, terminated, truncated, info = env.step(call)
    assert math.isnan(reward)
    assert (terminated, truncated, info["outcome"], info["valid"]) == (False, True, "env_error", False)
    env.reset(seed=1)
    assert "of resin" in env.step(call)[0]
    env.close()
    index.close()
    wait_until_gone(descendants() - before)


def test_what_is_missing_is_said(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match="build_lucene"):
        Lucene(tmp_path)
    monkeypatch.setattr(lucene, "find_spec", lambda name: None)
    monkeypatch.setenv("TIR_GYM_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(LuceneUnavailable, match="tir-gym lucene setup"):
        lucene.jar()
    with pytest.raises(LuceneUnavailable, match="Java 21"):
        lucene.java_home()
    with pytest.raises(LuceneUnavailable, match="pyjnius"):
        build_lucene(PASSAGES, tmp_path / "index")
    assert list(tmp_path.iterdir()) == []
    assert not installed()
