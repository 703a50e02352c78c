"""Collections in the forms in which they are published."""

import gzip
import json
import math

import pyarrow
import pytest
from pyarrow import parquet

from tests.cli.command import tir_gym, told
from tests.retrieval.collections import cranfield
from tir_gym.retrieval import Bm25, Passage
from tir_gym.retrieval.evaluation import Evaluation, evaluate
from tir_gym.retrieval.formats import joined_contents, read_passages, read_qrels, read_queries, split_contents

TWO = [Passage("1", "Amber", "a stone\nof resin"), Passage("2", "Basin", "a bowl")]
CONTENTS = [{"id": one.id, "contents": joined_contents(one.title, one.text)} for one in TWO]
FIELDS = [{"_id": one.id, "title": one.title, "text": one.text} for one in TWO]


def lines(rows):
    return "".join(f"{json.dumps(row)}\n" for row in rows)


@pytest.mark.parametrize("rows", [CONTENTS, FIELDS])
def test_passages_from_json_lines_and_parquet(tmp_path, rows):
    (tmp_path / "a.jsonl").write_text(lines(rows))
    with gzip.open(tmp_path / "b.jsonl.gz", "wt") as file:
        file.write(lines(rows))
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "c.parquet")
    for path in sorted(tmp_path.iterdir()):
        assert list(read_passages(path)) == TWO, path.name


def test_passages_from_dpr_columns(tmp_path):
    (tmp_path / "a.tsv").write_text('id\ttext\ttitle\n1\t"a ""stone"""\tAmber\n2\ta bowl\tBasin\n')
    assert list(read_passages(tmp_path / "a.tsv")) == [Passage("1", "Amber", 'a "stone"'), TWO[1]]


def test_contents_and_back():
    assert [split_contents(joined_contents(one.title, one.text)) for one in TWO] == [(p.title, p.text) for p in TWO]
    assert split_contents("one line") == ("", "one line")


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("a.jsonl", '{"id": "1"}\n', "a.jsonl:1: none of text, contents"),
        ("a.jsonl", '{"text": "x"}\n', "a.jsonl:1: none of id"),
        ("a.jsonl", '{"id": "1", "text": "x"}\n[]\n', "a.jsonl:2: expected a JSON object"),
        ("a.jsonl", "x\n", "a.jsonl:1: this is no JSON"),
        ("a.tsv", "1\n", "a.tsv:1: expected id, text and title"),
        ("a.xml", "", "not 'xml'"),
    ],
)
def test_bad_passages_are_named(tmp_path, name, text, complaint):
    (tmp_path / name).write_text(text)
    with pytest.raises(ValueError, match=complaint):
        list(read_passages(tmp_path / name))


def test_queries_and_judgements(tmp_path):
    (tmp_path / "q.tsv").write_text("1\twhat is amber\n2\twhat is a basin\n")
    (tmp_path / "q.jsonl").write_text(
        '{"_id": 1, "text": "what is amber"}\n{"id": "2", "question": "what is a basin"}\n'
    )
    (tmp_path / "q.trec").write_text(
        "<top>\n<num> Number: 1\n<title> what is amber\n<desc> x\n</top>\n"
        "<top>\n<num>2</num><title>what is\na basin</title></top>\n"
    )
    for name in ("q.tsv", "q.jsonl", "q.trec"):
        assert read_queries(tmp_path / name) == {"1": "what is amber", "2": "what is a basin"}, name
    (tmp_path / "trec").write_text("1 0 d1 2\n1 Q0 d2 0\n2 0 d2 1\n")
    (tmp_path / "beir").write_text("query-id\tcorpus-id\tscore\n1\td1\t2\n1\td2\t0\n2\td2\t1\n")
    for name in ("trec", "beir"):
        assert read_qrels(tmp_path / name) == {"1": {"d1": 2.0, "d2": 0.0}, "2": {"d2": 1.0}}, name
    for name, text, complaint in (("x", "1 d1\n", "x:1"), ("x", "1 0 d1 high\n", "x:1"), ("x", "a b c d e\n", "x:1")):
        (tmp_path / name).write_text(text)
        with pytest.raises(ValueError, match=complaint):
            read_qrels(tmp_path / name)
    for text, complaint in (("1 x\n", "no tab"), ("1\tx\n1\ty\n", "twice"), ("", "no query")):
        (tmp_path / "x").write_text(text)
        with pytest.raises(ValueError, match=complaint):
            read_queries(tmp_path / "x")


def test_measures_by_hand():
    """Hits in order: b (gain 1), a (gain 3), c; wanted a, b, and d that is never found."""
    index = Bm25.of([Passage("a", "", "x x y"), Passage("b", "", "x x x"), Passage("c", "", "x y z z z z z z")])
    assert [hit.id for hit in index.search(["x"], 3)[0]] == ["b", "a", "c"]
    gains = {"1": {"a": 3.0, "b": 1.0, "d": 1.0}, "2": {"a": 0.0}}
    ideal = 3 + 1 / math.log2(3) + 1 / 2
    expected = Evaluation(1, (1 + 3 / math.log2(3)) / ideal, 2 / 3, 2 / 3, 2 / 3, 1.0)
    measured = evaluate(index, {"1": "x", "2": "x", "3": "x"}, gains)
    assert measured.queries == 1
    for name in ("ndcg_10", "recall_10", "recall_100", "map_100", "mrr_10"):
        assert getattr(measured, name) == pytest.approx(getattr(expected, name)), name
    with pytest.raises(ValueError, match="do the ids"):
        evaluate(index, {"9": "x"}, gains)


def test_the_command_line(tmp_path):
    source, index = tmp_path / "p.jsonl", tmp_path / "index"
    source.write_text(lines(CONTENTS))
    built = told("index", "build", source, index)
    assert (built["passages"], built["kind"]) == (2, "bm25")
    assert told("index", "info", index, "--verify")["damaged"] == []
    ((hit,), nothing) = told("index", "search", index, "resin", "zinc")
    assert (hit["id"], hit["title"], nothing) == ("1", "Amber", [])
    assert "Amber" in tir_gym("index", "search", index, "resin").stdout
    (tmp_path / "q.tsv").write_text("q\tresin\n")
    (tmp_path / "qrels").write_text("q 0 1 1\n")
    assert told("index", "eval", index, tmp_path / "q.tsv", tmp_path / "qrels")["ndcg_10"] == 1.0
    assert "ndcg@10" in tir_gym("index", "eval", index, tmp_path / "q.tsv", tmp_path / "qrels").stdout
    (index / "docs.npy").unlink()
    assert told("index", "info", index, "--verify", code=1)["damaged"] == ["docs.npy"]
    assert "no index" in tir_gym("index", "info", tmp_path, code=2).stderr


def test_the_command_line_measures_cranfield(tmp_path, shared_data):
    corpus, queries, gains = cranfield(shared_data)
    rows = [{"id": one.id, "title": one.title, "text": one.text} for one in corpus]
    (tmp_path / "p.jsonl").write_text(lines(rows))
    (tmp_path / "q.tsv").write_text("".join(f"{name}\t{text}\n" for name, text in queries.items()))
    (tmp_path / "r").write_text(
        "".join(f"{query} 0 {name} {gain}\n" for query, found in gains.items() for name, gain in found.items())
    )
    told("index", "build", tmp_path / "p.jsonl", tmp_path / "index")
    measured = told("index", "eval", tmp_path / "index", tmp_path / "q.tsv", tmp_path / "r")
    assert measured["ndcg_10"] == pytest.approx(0.351, abs=0.002)
    assert measured["recall_100"] == pytest.approx(0.722, abs=0.005)
