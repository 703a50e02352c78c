"""Tools are found by searching, named in order, and not to be guessed."""

import json
from collections import Counter

import pytest

from tests.play import make
from tir_gym.core.task import Gold, Task
from tir_gym.core.transcript import CallRecord, CallStatus
from tir_gym.core.verify import Answer, Evidence
from tir_gym.envs.tool_retrieval.catalogue import ACTIONS, OBJECTS, catalogue, index_of
from tir_gym.envs.tool_retrieval.tasks import make_tasks
from tir_gym.envs.tool_retrieval.verify import ToolsVerifier


def test_a_catalogue_has_thousands_of_different_tools_with_opaque_names():
    offers = catalogue(1, 3_000)
    assert len({one.name for one in offers}) == len({(one.action, one.thing, one.place) for one in offers}) == 3_000
    assert offers == catalogue(1, 3_000) != catalogue(2, 3_000)
    words = {word.lower() for key in (*ACTIONS, *OBJECTS) for word in key.split()}
    assert not any(one.name.split("_")[0] in words for one in offers)


def test_requests_grow_with_difficulty_and_some_needs_are_met_by_none():
    needs, lacking = Counter(), 0
    for level in range(1, 11):
        tasks = make_tasks(None, "train", level, 3_000)
        for index in range(20):
            task = tasks.task(1, index)
            names = task.gold.answer.split("; ")
            needs[level, len(names)] += 1
            lacking += "none" in names
            assert set(names) != {"none"}
            assert "none" not in names or len(names) > 2  # of two, "none" alone has two thirds of the words' F1
            assert not any(name in task.prompt for name in names if name != "none")
            there = {one.name for one in catalogue(*task.data["catalogue"])}
            assert set(task.gold.data["tools"]) <= there
    assert sorted(needs) == [(1, 1), (2, 1), (3, 1), (4, 2), (5, 2), (6, 2), (7, 3), (8, 3), (9, 3), (10, 4)]
    assert lacking > 20


def test_what_is_met_by_none_is_not_there():
    tasks = make_tasks(None, "test", 10, 3_000)
    checked = 0
    for index in range(30):
        task = tasks.task(2, index)
        descriptions = {one.description for one in catalogue(*task.data["catalogue"])}
        for name, step in zip(task.gold.answer.split("; "), task.gold.plan, strict=True):
            assert any(text.startswith(step["text"]) for text in descriptions) == (name != "none")
            checked += name == "none"
    assert checked >= 5


def judged(answer, gold, *rankings, measure="complete"):
    calls = tuple(
        CallRecord(i, 1, "agent", "search", {}, str(i), "evidence", CallStatus.OK, facts={"hits": hits})
        for i, hits in enumerate(rankings)
    )
    evidence = Evidence(Task("t", "?"), None if answer is None else Answer(answer), calls, None, (), "answer")
    return ToolsVerifier(measure, 5).score(evidence, gold)


def test_the_verdict():
    gold = Gold("a_1; none; b_2", data={"tools": ["a_1", "b_2"]})
    assert judged("a_1; none; b_2", gold).value == judged("`a_1`, none, b_2", gold).value == 1.0
    for wrong in (
        "a_1; b_2; none",
        "a_1; none",
        "a_1; none; b_2; c_3",
        "",
        "none; none; none",
        "a_1; none; b_2 " * 500,
    ):
        assert judged(wrong, gold).value == 0.0
    assert judged("a_1; none; c_3", gold, measure="f1").value == pytest.approx(2 / 3)
    for blind in ("none", "none; none; none", "c_3; none"):
        assert judged(blind, gold, measure="f1").value == 0.0
    assert judged(None, gold).value == 0.0
    assert judged("b_2; a_1", Gold("a_1; b_2", data={"tools": ["a_1", "b_2"], "any_order": True})).value == 1.0


def test_the_evidence_measures_the_searches():
    gold = Gold("a; b", data={"tools": ["a", "b"]})
    facts = judged("a; z", gold, ["x", "a"], ["y", "q"]).evidence
    assert (facts["recall"], facts["complete"], facts["named_unseen"]) == (0.5, 0.0, 1)
    assert 0 < facts["ndcg"] < 1
    assert judged("a; b", gold, ["a", "b"]).evidence == {"recall": 1.0, "complete": 1.0, "ndcg": 1.0, "named_unseen": 0}
    assert judged("a; b", gold).evidence["recall"] == 0.0


def test_a_search_shows_names_and_descriptions():
    env = make("tir/ToolRetrieval-v0", catalogue_size=300, top_k=2)
    env.reset(seed=0)
    offer = catalogue(*env.episode.task.data["catalogue"])[7]
    observation, *_ = env.call("search", {"query": offer.description})
    assert f"Tool 1: {offer.name} | {offer.description}" in observation
    assert env.episode.calls[0].facts["hits"][0] == offer.name
    assert len(env.episode.calls[0].facts["hits"]) == 2
    assert "Nothing was found" in env.call("search", {"query": "qqqq"})[0]
    assert index_of(env.episode.task.data) is index_of(env.episode.task.data)
    env.close()


def test_metatools_files(tmp_path):
    (tmp_path / "plugin_des.json").write_text(json.dumps({"News": "Tells the news.", "Money": "Knows prices."}))
    (tmp_path / "queries_first1000.csv").write_text("Query,Tool\nWhat happened?,News\nWho?,Gone\n")
    rows = [{"query": "News of prices?", "tool": ["Money", "News"]}]
    (tmp_path / "multi_tool_first100.json").write_text(json.dumps(rows))
    env = make("tir/ToolRetrieval-v0", tasks=f"metatool:{tmp_path}", split="all")
    tasks = env.setting.tasks
    assert [tasks.task(0, i).gold.answer for i in range(tasks.size)] == ["News", "Money; News"]
    env.reset(options={"task_id": tasks.task(0, 1).id})
    assert "News" in env.call("search", {"query": "prices and news"})[0]
    assert env.step("<answer>News; Money</answer>")[1] == 1.0
    env.close()
    for wrong in ("nope:x", "metatool"):
        with pytest.raises(ValueError, match="metatool:FOLDER"):
            make_tasks(wrong, "all", None, 3_000)


def test_real_metatool_queries(shared_data):
    tasks = make_tasks(f"metatool:{shared_data / 'metatool'}", "all", None, 3_000)
    assert tasks.size > 900
    found = 0
    for index in range(0, tasks.size, 10):
        task = tasks.task(0, index)
        (hits,) = index_of(task.data).search([task.prompt], 10)
        found += set(task.gold.data["tools"]) <= {hit.id for hit in hits}
    assert found / len(range(0, tasks.size, 10)) > 0.3
