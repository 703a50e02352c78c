"""BM25 equals its formula and Lucene, in whatever way it is asked."""

import json
import math
import multiprocessing
import pickle
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.retrieval.collections import cranfield
from tir_gym.retrieval import Bm25, Passage
from tir_gym.retrieval.analysis import terms
from tir_gym.retrieval.evaluation import evaluate
from tir_gym.retrieval.postings import coarse_length

WORDS = st.sampled_from(["amber", "basin", "cedar", "delta", "ember", "fjord"])
TEXTS = st.lists(WORDS, max_size=12).map(" ".join)
CORPORA = st.lists(TEXTS, min_size=1, max_size=40)


def passages(texts):
    return [Passage(f"p{i * 7 % 40:02}", "", text) for i, text in enumerate(texts)]


def by_formula(corpus, query, k, k1, b):
    """Ids and scores straight from the definition (lengths below 40 are exact)."""
    bags = {passage.id: Counter(terms(passage.text)) for passage in corpus}
    average = sum(bag.total() for bag in bags.values()) / len(bags)
    found = {}
    for name, bag in bags.items():
        score = 0.0
        for term, times in Counter(terms(query)).items():
            holding = sum(term in other for other in bags.values())
            idf = math.log(1 + (len(bags) - holding + 0.5) / (holding + 0.5))
            if bag[term]:
                score += times * idf * bag[term] / (bag[term] + k1 * (1 - b + b * bag.total() / average))
        if score:
            found[name] = score
    return dict(sorted(found.items(), key=lambda item: -item[1])[:k]), found


@settings(max_examples=30, deadline=None)
@given(CORPORA, TEXTS, st.integers(1, 50), st.sampled_from([(0.9, 0.4), (1.2, 0.75), (2.0, 0.0), (0.5, 1.0)]))
def test_scores_are_those_of_the_formula(texts, query, k, parameters):
    corpus = passages(texts)
    (hits,) = Bm25.of(corpus, *parameters).search([query], k)
    expected, everything = by_formula(corpus, query, k, *parameters)
    assert [hit.score for hit in hits] == pytest.approx(list(expected.values()), abs=1e-4)
    assert all(hit.score == pytest.approx(everything[hit.id], abs=1e-4) for hit in hits)


@settings(max_examples=30, deadline=None)
@given(CORPORA, st.lists(TEXTS, max_size=5), st.integers(1, 12))
def test_order_batches_and_depth(texts, queries, k):
    index = Bm25.of(passages(texts))
    batch = index.search(queries, k)
    for query, hits in zip(queries, batch, strict=True):
        assert hits == sorted(hits, key=lambda hit: (-hit.score, hit.id))
        assert index.search([query], k) == [hits]
        assert index.search([query], 1000)[0][:k] == hits


@settings(max_examples=30, deadline=None)
@given(CORPORA, st.randoms(use_true_random=False), TEXTS)
def test_the_order_of_the_passages_does_not_matter(texts, random, query):
    corpus = passages(texts)
    shuffled = random.sample(corpus, len(corpus))
    assert Bm25.of(corpus).search([query], 10) == Bm25.of(shuffled).search([query], 10)


def test_equal_scores_come_by_id_even_at_the_edge():
    index = Bm25.of([Passage(name, "", "amber") for name in "dbcae"])
    assert [hit.id for hit in index.search(["amber"], 3)[0]] == ["a", "b", "c"]


def test_pruning_leaves_out_nothing_in_a_larger_corpus():
    rng = np.random.default_rng(0)
    frequency = 1 / np.arange(1, 301)
    drawn = rng.choice(300, (2_000, 30), p=frequency / frequency.sum())
    index = Bm25.of(Passage(f"{i:04}", "", " ".join(f"w{n}" for n in row)) for i, row in enumerate(drawn))
    queries = [" ".join(f"w{n}" for n in rng.choice(300, 6)) for _ in range(30)]
    for query, hits, everything in zip(queries, index.search(queries, 10), index.search(queries, 2_000), strict=True):
        assert hits == everything[:10], query


def test_what_finds_nothing():
    index = Bm25.of([Passage("1", "Amber", "basin")])
    assert index.search(["", "the of and", "unknown", "\ud800 \0"], 3) == [[], [], [], []]
    assert index.search([], 3) == []
    assert Bm25.of([]).search(["amber"], 3) == [[]]
    with pytest.raises(ValueError, match="k=0"):
        index.search(["amber"], 0)


def test_titles_are_searched_and_passages_fetched_by_id():
    index = Bm25.of([Passage("x1", "Amber Basin", "where it is"), Passage("é\ud800", "", "\ud800 cedar")])
    assert index.search(["amber"], 3)[0][0].title == "Amber Basin"
    assert index.get("é\ud800") == Passage("é\ud800", "", "\ud800 cedar")
    with pytest.raises(KeyError, match="x2"):
        index.get("x2")


def test_ids_must_differ():
    with pytest.raises(ValueError, match="'x'"):
        Bm25.of([Passage("x", "", "a"), Passage("x", "", "b")])


def test_the_hash_names_content_and_ranking():
    corpus = [Passage("1", "t", "amber"), Passage("2", "", "basin")]
    same = {Bm25.of(corpus).content_hash, Bm25.of(list(corpus)).content_hash}
    other = {
        Bm25.of(corpus, 1.2).content_hash,
        Bm25.of(corpus, b=0.5).content_hash,
        Bm25.of(corpus[:1]).content_hash,
        Bm25.of([Passage("1", "", "tamber"), corpus[1]]).content_hash,
    }
    assert (len(same), len(other), same & other) == (1, 4, set())


def _in_a_child(index, queries, answers):
    answers.put(index.search(queries, 5))


def test_threads_forks_and_pickles_find_the_same():
    index = Bm25.of(passages(["amber basin", "basin cedar", "cedar delta amber", "ember"] * 10))
    queries = ["amber", "cedar basin", "ember delta", "fjord"] * 25
    expected = index.search(queries, 5)
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda query: index.search([query], 5)[0], queries)) == expected
    assert pickle.loads(pickle.dumps(index)).search(queries, 5) == expected
    fork = multiprocessing.get_context("fork")
    answers = fork.SimpleQueue()
    child = fork.Process(target=_in_a_child, args=(index, queries, answers))
    child.start()
    assert answers.get() == expected
    child.join()
    child.close()
    answers.close()


def test_lengths_are_as_coarse_as_lucenes():
    lengths = np.array([0, 1, 23, 24, 39, 40, 41, 42, 55, 56, 59, 60, 87, 88, 95, 96, 1_000, 100_000], np.int32)
    coarse = [0, 1, 23, 24, 39, 40, 40, 42, 54, 56, 56, 60, 84, 88, 88, 96, 984, 98_328]
    assert coarse_length(lengths).tolist() == coarse


def test_it_ranks_cranfield_as_lucene_does(shared_data):
    corpus, queries, gains = cranfield(shared_data)
    index = Bm25.of(corpus)
    lucene = json.loads((Path(__file__).parent / "lucene_cranfield.json").read_text())["top"]
    found = index.search(list(queries.values()), 10)
    shared = [len({hit.id for hit in hits} & set(top)) / 10 for hits, top in zip(found, lucene, strict=True)]
    assert sum(shared) / len(shared) >= 0.99
    assert evaluate(index, queries, gains).ndcg_10 == pytest.approx(0.351, abs=0.002)
