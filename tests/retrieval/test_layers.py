"""A cache changes nothing but the work; noise and latency depend on seed and query alone."""

import copy
import pickle
import statistics
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tir_gym.retrieval import Bm25, Corpus, Passage
from tir_gym.retrieval.layers import Cached, Noisy, seeded_latency

INDEX = Bm25.of(Passage(f"p{i}", "", f"amber {'basin ' * (i % 4)}cedar{i % 5}") for i in range(30))
POOL = Corpus.of(Passage(f"noise{i}", "", "unrelated") for i in range(50))
QUERIES = st.lists(st.sampled_from(["amber", "basin", "cedar1", "cedar2 basin", "none"]), max_size=8)


class Counted(Bm25):
    asked = ()

    def search(self, queries, k):
        self.asked = (*self.asked, *queries)
        return super().search(queries, k)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(QUERIES, st.integers(1, 4)), max_size=6), st.integers(1, 4))
def test_a_cache_of_any_size_finds_what_the_index_finds(batches, size):
    cached = Cached(INDEX, size)
    for queries, k in batches:
        assert cached.search(queries, k) == INDEX.search(queries, k)


def test_a_cache_asks_once_and_forgets_the_least_recently_used():
    index = Counted(INDEX._source, INDEX.content_hash)
    cached = Cached(index, 2)
    cached.search(["amber", "basin", "amber"], 3)
    cached.search(["amber"], 3)
    cached.search(["cedar1"], 3)  # basin goes
    cached.search(["amber", "basin"], 3)
    cached.search(["amber"], 4)
    assert index.asked == ("amber", "basin", "cedar1", "basin", "amber")
    assert (cached.asked, cached.found) == (8, 3)
    assert cached.content_hash == index.content_hash
    assert cached.get("p3") == index.get("p3")


def test_threads_share_a_small_cache():
    cached, queries = Cached(INDEX, 2), ["amber", "basin", "cedar1", "cedar2", "none"]
    expected, before = INDEX.search(queries, 2), sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        with ThreadPoolExecutor(4) as pool:
            found = list(pool.map(lambda place: cached.search(queries[place % 5 :], 2), range(600)))
    finally:
        sys.setswitchinterval(before)
    assert found == [expected[place % 5 :] for place in range(600)]
    assert len(cached._hits) <= 2


def test_what_a_caller_does_to_its_hits_is_its_own():
    cached = Cached(INDEX)
    cached.search(["amber"], 3)[0].clear()
    assert cached.search(["amber"], 3) == INDEX.search(["amber"], 3)


def test_noise_is_the_same_for_the_same_seed_and_query():
    noisy, again, other = (Noisy(INDEX, POOL, 0.5, seed) for seed in (1, 1, 2))
    queries = ["amber", "basin", "cedar1"]
    found = noisy.search(queries, 8)
    assert again.search(queries[::-1], 8)[::-1] == found
    assert other.search(queries, 8) != found
    assert pickle.loads(pickle.dumps(noisy)).search(queries, 8) == found
    assert noisy.content_hash == again.content_hash != other.content_hash
    clean = INDEX.search(queries, 8)
    for hits, before in zip(found, clean, strict=True):
        assert [hit.score for hit in hits] == [hit.score for hit in before]
        assert len({hit.id for hit in hits}) == len(hits)
        for hit in hits:
            assert noisy.get(hit.id).text == hit.text
    share = statistics.mean(
        hit.id.startswith("noise")
        for hits in Noisy(INDEX, POOL, 0.3, 0).search([f"amber {i}" for i in range(60)], 10)
        for hit in hits
    )
    assert share == pytest.approx(0.3, abs=0.08)


@pytest.mark.parametrize(("rate", "expected"), [(0.0, False), (1.0, True)])
def test_no_noise_and_noise_alone(rate, expected):
    (hits,) = Noisy(INDEX, POOL, rate, 0).search(["amber"], 5)
    assert [hit.id.startswith("noise") for hit in hits] == [expected] * 5
    with pytest.raises(ValueError, match="rate"):
        Noisy(INDEX, POOL, 1.1, 0)


def test_latency_is_drawn_from_seed_and_query():
    latency = seeded_latency(0.3, 0.5, 7)
    drawn = [latency(f"query {i}") for i in range(400)]
    assert drawn == [seeded_latency(0.3, 0.5, 7)(f"query {i}") for i in range(400)]
    assert statistics.median(drawn) == pytest.approx(0.3, rel=0.15)
    assert min(drawn) > 0
    assert seeded_latency(0.3, 0.0, 7)("x") == 0.3


def test_copies_share_the_index():
    cached = Cached(INDEX)
    assert copy.deepcopy(cached) is cached
