"""Vectors: faiss finds what plain arithmetic finds; fusion and reranking by hand."""

import multiprocessing
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tir_gym.core.interfaces import Hit
from tir_gym.retrieval import Bm25, Passage, dense
from tir_gym.retrieval.dense import Dense, build_dense
from tir_gym.retrieval.encoders import MiniLm, Precomputed, encoder_named, unit
from tir_gym.retrieval.fusion import Hybrid, Reranked

pytest.importorskip("faiss", reason="NO FAISS: dense retrieval is not tested (pip install faiss-cpu)")

COUNT, WIDTH = 1_500, 24
RNG = np.random.default_rng(0)
CENTRES = unit(RNG.standard_normal((40, WIDTH)).astype(np.float32))
VECTORS = unit(CENTRES[RNG.integers(40, size=COUNT)] + RNG.standard_normal((COUNT, WIDTH)).astype(np.float32) / 6)
VECTORS[700:760] = VECTORS[100]  # ties
PASSAGES = [Passage(f"p{(i * 7) % COUNT:04}", "", f"text {i}") for i in range(COUNT)]
QUERIES = [f"query {i}" for i in range(30)]
ENCODER = Precomputed(dict(zip(QUERIES, VECTORS[::50] + 0.05, strict=True)) | {"tied": VECTORS[100]})


def exact(query, k):
    scores = np.round((VECTORS @ ENCODER.encode([query])[0]).astype(np.float64), 5)
    ranked = sorted(zip(PASSAGES, scores.tolist(), strict=True), key=lambda pair: (-pair[1], pair[0].id))
    return [(passage.id, score) for passage, score in ranked[:k]]


@pytest.fixture(scope="module")
def indexes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dense")
    reach = {"flat": 1, "ivf": 8, "hnsw": 64}
    return {
        kind: build_dense(PASSAGES, folder / kind, ENCODER, kind=kind, reach=reach[kind], vectors=VECTORS)
        for kind in reach
    }


def found(index, queries, k):
    return [[(hit.id, hit.score) for hit in hits] for hits in index.search(queries, k)]


def test_flat_is_exact_and_breaks_ties_by_id(indexes):
    for query, hits in zip([*QUERIES, "tied"], found(indexes["flat"], [*QUERIES, "tied"], 10), strict=True):
        assert [name for name, _ in hits] == [name for name, _ in exact(query, 10)]
        assert [score for _, score in hits] == pytest.approx([score for _, score in exact(query, 10)], abs=2e-5)


@pytest.mark.parametrize("kind", ["flat", "ivf", "hnsw"])
def test_batches_copies_and_rebuilding(indexes, kind, tmp_path):
    index = indexes[kind]
    batch = index.search(QUERIES, 5)
    assert [index.search([query], 5)[0] for query in QUERIES] == batch
    assert pickle.loads(pickle.dumps(index)).search(QUERIES, 5) == batch
    again = build_dense(
        PASSAGES, tmp_path / "again", ENCODER, kind=kind, reach=index.manifest["reach"], vectors=VECTORS
    )
    assert (again.search(QUERIES, 5), again.content_hash) == (batch, index.content_hash)
    right = [
        len({name for name, _ in exact(query, 5)} & {hit.id for hit in hits})
        for query, hits in zip(QUERIES, batch, strict=True)
    ]
    assert sum(right) / (5 * len(QUERIES)) >= 0.9


@pytest.mark.parametrize("kind", ["flat", "ivf", "hnsw"])
def test_equal_scores_come_by_id_whatever_faiss_proposes(indexes, kind):
    tied = sorted(PASSAGES[row].id for row in [100, *range(700, 760)])
    for k in (1, 3, 20, 61):
        assert [hit.id for hit in indexes[kind].search(["tied"], k)[0]] == tied[:k]


def _search_and_tell(index, answers):
    answers.put(index.search(QUERIES, 5))


def test_threads_and_a_fork_after_a_search_find_the_same(indexes):
    expected = indexes["ivf"].search(QUERIES, 5)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda query: indexes["ivf"].search([query], 5)[0], QUERIES * 3)) == expected * 3
    fork = multiprocessing.get_context("fork")
    answers = fork.SimpleQueue()
    child = fork.Process(target=_search_and_tell, args=(indexes["ivf"], answers))
    child.start()
    assert answers.get() == expected
    child.join()
    child.close()
    answers.close()


def test_files_are_let_go(indexes):
    indexes["flat"].close()
    index = Dense(indexes["flat"]._path, ENCODER)
    assert str(index._path) not in Path("/proc/self/maps").read_text()
    assert index.search(["tied"], 1)
    assert str(index._path) in Path("/proc/self/maps").read_text()
    assert index.get("p0000").text == "text 0"
    index.close()
    assert str(index._path) not in Path("/proc/self/maps").read_text()
    assert index.search(["tied"], 1)
    index.close()


def test_what_does_not_fit_is_named(indexes, tmp_path):
    with pytest.raises(ValueError, match="not with the encoder"):
        Dense(indexes["flat"]._path, Precomputed({"a": [1.0, 0.0]}))
    with pytest.raises(ValueError, match="as many vectors"):
        build_dense(PASSAGES, tmp_path / "x", ENCODER, vectors=VECTORS[1:])
    for other in ({"vectors": -VECTORS}, {"vectors": VECTORS, "kind": "ivf"}):
        with pytest.raises(FileExistsError, match="remove it"):
            build_dense(PASSAGES, indexes["flat"]._path, ENCODER, **{"reach": 1} | other)
    with pytest.raises(ValueError, match="flat, ivf, hnsw"):
        build_dense(PASSAGES, tmp_path / "x", ENCODER, kind="tree", vectors=VECTORS)
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(KeyError, match="other"):
        indexes["flat"].search(["other"], 1)
    with pytest.raises(ValueError, match="cannot be made from its name"):
        encoder_named(ENCODER.name)


class Interrupted(Precomputed):
    """Encodes so many chunks, and keeps a list of what it was asked for."""

    def __init__(self, vectors, chunks):
        super().__init__(vectors)
        self.left, self.asked = chunks, []

    def encode_passages(self, texts):
        if not self.left:
            raise KeyboardInterrupt
        self.left -= 1
        self.asked += texts
        return super().encode_passages(texts)


def test_an_interrupted_build_goes_on_where_it_was_and_a_whole_one_is_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(dense, "CHUNK", 400)
    texts = [passage.text for passage in PASSAGES]
    vectors = dict(zip(texts, VECTORS, strict=True))
    first, second, third = (Interrupted(vectors, chunks) for chunks in (2, 2, 0))
    with pytest.raises(KeyboardInterrupt):
        build_dense(PASSAGES, tmp_path / "index", first)
    assert not (tmp_path / "index").exists()
    seen = []
    index = build_dense(PASSAGES, tmp_path / "index", second, progress=seen.append)
    assert (first.asked, second.asked) == (texts[:800], texts[800:])
    assert seen == [400, 800, 1200, 1500]
    assert [entry.name for entry in tmp_path.iterdir()] == ["index"]
    assert build_dense(PASSAGES, tmp_path / "index", third).content_hash == index.content_hash
    queries = texts[:900:100]
    given = build_dense(PASSAGES, tmp_path / "given", second, vectors=VECTORS)
    assert index.search(queries, 5) == given.search(queries, 5)
    for opened in (index, given):
        opened.close()


def test_reciprocal_ranks_by_hand():
    first = Bm25.of([Passage("a", "", "amber amber"), Passage("b", "", "amber x"), Passage("c", "", "basin")])
    second = Bm25.of([Passage("b", "", "amber"), Passage("d", "", "amber amber z"), Passage("c", "", "x")])
    assert [[hit.id for hit in part.search(["amber"], 9)[0]] for part in (first, second)] == [["a", "b"], ["d", "b"]]
    hybrid = Hybrid([first, second], c=60)
    (hits,) = hybrid.search(["amber"], 9)
    assert [(hit.id, hit.score) for hit in hits] == [
        ("b", round(2 / 62, 6)),
        ("a", round(1 / 61, 6)),
        ("d", round(1 / 61, 6)),
    ]
    assert [hit.id for hit in hybrid.search(["amber"], 2)[0]] == ["b", "a"]
    assert hybrid.get("d").text == "amber amber z"
    assert pickle.loads(pickle.dumps(hybrid)).search(["amber"], 9) == [hits]
    assert len({hybrid.content_hash, Hybrid([second, first]).content_hash, first.content_hash}) == 3
    with pytest.raises(ValueError, match="two"):
        Hybrid([first])


def shortest_first(query, hits):
    return [-len(hit.text) for hit in hits]


def test_reranking():
    index = Bm25.of([Passage("a", "", "amber x y z"), Passage("b", "", "amber amber y"), Passage("c", "", "amber")])
    again = Reranked(index, shortest_first, "shortest")
    assert again.search(["amber", "none"], 2) == [[Hit("c", -5.0, "", "amber"), Hit("a", -11.0, "", "amber x y z")], []]
    assert pickle.loads(pickle.dumps(again)).content_hash == again.content_hash != index.content_hash


def test_mini_lm_gives_the_likeness_that_its_authors_print():
    try:
        encoder = MiniLm()
    except ModuleNotFoundError as error:
        pytest.skip(f"NO MODEL: {error}")
    vectors = encoder.encode(["That is a happy person", "That is a happy dog", "Today is a sunny day"])
    assert vectors[0] @ vectors[1:].T == pytest.approx([0.695, 0.257], abs=1e-3)  # the model's page
    assert encoder.tokens("Naïve unaffable!") == [101, 15743, 14477, 20961, 3468, 999, 102]
    assert len(encoder.tokens("a " * 500)) == 256
