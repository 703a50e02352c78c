"""On real collections words and vectors together find more than either. Vectors are made once, in the user's cache."""

import pytest

from tests.conftest import USER_CACHE
from tests.retrieval.collections import cranfield, hotpot
from tir_gym.retrieval import Bm25, Passage
from tir_gym.retrieval.dense import build_dense
from tir_gym.retrieval.encoders import MiniLm
from tir_gym.retrieval.evaluation import evaluate
from tir_gym.retrieval.fusion import Hybrid

pytestmark = pytest.mark.soak


@pytest.mark.parametrize(("name", "collection"), [("cranfield", cranfield), ("hotpot", hotpot)])
def test_fusion_beats_both_parts(shared_data, name, collection):
    pytest.importorskip("faiss", reason="NO FAISS: dense retrieval is not tested (pip install faiss-cpu)")
    try:
        encoder = MiniLm()
    except ModuleNotFoundError as error:
        pytest.skip(f"NO MODEL: {error}")
    passages, queries, gains = collection(shared_data)
    cut = [Passage(passage.id, passage.title, passage.text[:1_000]) for passage in passages]
    dense = build_dense(cut, USER_CACHE / "tests" / f"{name}-minilm", encoder)
    words = Bm25.of(passages)
    parts = [evaluate(part, queries, gains) for part in (words, dense)]
    both = evaluate(Hybrid([words, dense]), queries, gains)
    dense.close()
    for measure in ("ndcg_10", "map_100", "recall_100"):
        assert getattr(both, measure) >= max(getattr(part, measure) for part in parts), measure
    assert both.ndcg_10 > max(part.ndcg_10 for part in parts) + 0.01
