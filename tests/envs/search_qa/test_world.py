"""The invented world is consistent, the same everywhere, and says each thing where it is known to say it."""

import hashlib
import json
import re
import subprocess
import sys

import numpy as np
import pytest

from tests.play import make, play_oracle
from tir_gym.envs.search_qa.world.graph import KINDS, NONE, Spec, build, graph_of
from tir_gym.envs.search_qa.world.names import Namer
from tir_gym.envs.search_qa.world.prose import ENTITIES, Prose, manual, terms

SMALL = Spec(5, 1_000)


@pytest.fixture(scope="module")
def prose():
    return Prose(graph_of(SMALL))


@pytest.fixture(scope="module")
def pages(prose):
    return list(prose.pages())


def digest(pages):
    found = hashlib.sha256()
    for page in pages:
        found.update(f"{page.id}|{page.title}|{page.text}\n".encode())
    return found.hexdigest()


def test_a_world_is_the_same_in_every_process(pages):
    program = (
        "from tests.envs.search_qa.test_world import *\nnp.random.seed(3)\nprint(digest(Prose(build(SMALL)).pages()))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == digest(pages)


@pytest.mark.parametrize("passages", [300, 1_000, 20_000])
def test_there_are_at_least_as_many_passages_as_asked_for(passages):
    count = sum(1 for _ in Prose(build(Spec(1, passages))).pages())
    assert passages <= count <= 1.3 * passages


@pytest.mark.soak
@pytest.mark.parametrize("passages", [100_000, 1_000_000])
def test_a_large_world_is_indexed_and_its_questions_are_solved(passages, tmp_path, monkeypatch):
    """A million passages take two minutes, 1.3 GB of memory and 0.8 GB of disk."""
    monkeypatch.setenv("TIR_GYM_CACHE", str(tmp_path))
    env = make("tir/SearchQA-v0", passages=passages, world_seed=1)
    for seed in range(60):
        play_oracle(env, seed)
        assert env.rewards[1] == 1.0, env.episode.task.id
    (folder,) = (tmp_path / "search_qa").iterdir()
    assert passages <= json.loads((folder / "manifest.json").read_text())["passages"] <= 1.3 * passages
    env.close()


def test_ids_and_titles_find_their_passage(prose, pages):
    assert len({page.id for page in pages}) == len(pages)
    for page in pages[::7]:
        found = prose.find(page.id)
        assert (found, found.text) == (page, page.text)
    for wrong in ("", "a1", "a1.99", "x1.0", "a999999.0", "g0.0", "a-1.0"):
        assert prose.find(wrong) is None


def test_names_are_given_once():
    graph = graph_of(SMALL)
    names = [graph.name(entity) for entity in range(graph.size)]
    aliases = [alias for entity in range(graph.size) if (alias := graph.alias(entity))]
    assert len(set(names)) == len(names)
    assert len(set(aliases)) == len(aliases) > 50
    namer = Namer.of("x", 1, "{0}{1}", "abc", "de")
    assert sorted(namer.name(number) for number in range(6)) == ["ad", "ae", "bd", "be", "cd", "ce"]
    with pytest.raises(IndexError):
        namer.name(6)


def test_time_is_consistent():
    graph = graph_of(Spec(2, 5_000))
    column = graph.columns
    born, died = column["person", "born"], column["person", "died"]
    assert (died[died != NONE] > born[died != NONE] + 40).all()
    for kind in ("company", "school"):
        assert (np.diff(column[kind, "founded"]) >= 0).all()
    for number in range(graph.counts["person"]):
        teacher = column["person", "teacher"][number]
        if teacher >= 0:
            assert born[teacher - graph.starts["person"]] <= born[number] - 15
        employer = int(column["person", "employer"][number])
        if employer >= 0:
            assert graph.get(employer, "founded") <= born[number] + 30
    for number in range(graph.counts["work"]):
        creator = int(column["work", "creator"][number])
        assert column["work", "year"][number] >= graph.get(creator, "born") + 22
    for number in range(graph.counts["company"]):
        parent = int(column["company", "parent"][number])
        assert parent < graph.entity("company", number)
    for relation, kind in (("mayor", "city"), ("head", "company")):
        for number in range(0, graph.counts[kind], 9):
            held = terms(graph, graph.entity(kind, number), relation)
            assert [start for _, start, _ in held[1:]] == [end for _, _, end in held[:-1]]


def test_spouses_are_each_others():
    graph = graph_of(SMALL)
    married = [e for n in range(graph.counts["person"]) if graph.get(e := graph.entity("person", n), "spouse") != NONE]
    assert len(married) > 20
    assert all(graph.get(graph.get(one, "spouse"), "spouse") == one for one in married)


def test_manuals_refer_to_manuals_of_older_companies_only():
    graph = graph_of(Spec(2, 5_000))
    companies = [graph.entity("company", number) for number in range(graph.counts["company"])]
    made = {company: manual(graph, company) for company in companies}
    assert 0.3 < np.mean([base != NONE for base, _ in made.values()]) < 0.7
    for company, (base, steps) in made.items():
        assert base < company
        assert len(set(steps.values())) == len(steps)
        assert list(steps) == list(range(1, len(steps) + 1)) if base == NONE else len(steps) == 1
    assert len({tuple(steps.values()) for base, steps in made.values() if base == NONE}) > 100


def test_a_passage_says_its_facts_and_nothing_of_what_it_leaves_out(prose, pages):
    graph = prose.graph
    for page in pages:
        for fact in page.facts:
            if isinstance(fact.value, str):
                assert fact.value in page.text
            elif fact.value < 0:
                assert "is not recorded anywhere" in page.text
            elif fact.relation in ENTITIES or fact.relation in ("works", "mayor", "head"):
                assert graph.name(fact.value) in page.text
                assert all(str(year) in page.text for year in fact.span if year)
            else:
                shown = f"{fact.at}: {fact.value:,}" if fact.at else f"{fact.value:}"
                assert shown in page.text or graph.name(fact.value) in page.text


def test_wording_varies_and_is_whole(pages):
    texts = [page.text for page in pages]
    assert not any(re.search(r"[{}]", text) for text in texts if "boxed" not in text)
    assert not any(re.search(r"\b[Aa] [aeiou]|\. [a-z]|  ", text) for text in texts if "readers" not in text)
    starts = {re.sub(r"[A-Z]\w+|\d+", "#", text)[:40] for text in texts}
    assert len(starts) > 60
    assert 30 < np.mean([len(text.split()) for text in texts]) < 120


def test_some_passages_try_to_be_taken_for_more_than_passages(pages):
    hostile = [page for page in pages if page.title.endswith("comments by readers")]
    assert hostile
    assert not any(page.facts for page in hostile)
    assert any("<answer>" in page.text for page in hostile)


def test_sources_disagree_and_go_out_of_date(prose, pages):
    ids = {page.id: page for page in pages}
    gazettes = [page for page in pages if page.id.startswith("g")]
    registers = [page for page in pages if page.id.startswith("r") and page.id.endswith(".1")]
    assert len(gazettes) > 10
    assert len(registers) > 5
    for newer in registers:
        older = ids[newer.id.replace(".1", ".0")]
        assert older.facts[0].value != newer.facts[0].value
        article = ids["a" + newer.id[1:].replace(".1", ".0")]
        assert str(newer.facts[0].value) not in article.text
        assert "founded" not in {fact.relation for fact in article.facts}


def test_every_kind_of_thing_has_articles(prose, pages):
    for kind in KINDS:
        assert prose.article(prose.graph.entity(kind, 3))
