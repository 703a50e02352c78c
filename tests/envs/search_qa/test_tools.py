"""The tools: what they find, how it is shown, and what becomes of text that would be more than text."""

import contextlib
import copy

import pytest

from tests.play import make, play_oracle
from tir_gym.core.interfaces import Hit, Passage, Retriever
from tir_gym.core.outcome import Outcome
from tir_gym.core.tool import ToolError
from tir_gym.envs.search_qa import show
from tir_gym.envs.search_qa.library import Library, WorldLibrary, cache_root, library_of
from tir_gym.envs.search_qa.show import Room
from tir_gym.envs.search_qa.tables import tables_in
from tir_gym.envs.search_qa.tools import BrowseToolkit, Desk
from tir_gym.envs.search_qa.world.graph import Spec
from tir_gym.retrieval import Bm25
from tir_gym.retrieval.http import Http
from tir_gym.retrieval.layers import Cached
from tir_gym.retrieval.server import RetrieverServer

SMALL = {"passages": 600}


class Shelf(Library):
    """A library of given passages."""

    def __init__(self, *passages):
        super().__init__()
        self._passages = passages

    def _opened(self):
        return Bm25.of(self._passages)


LONG = "Whales sing. " * 200
SHELF = Shelf(
    Passage("d1.0", "Whales", "Whales live in the sea. They sing."),
    Passage("d1.1", "Whales: songs", LONG),
    Passage("d1.3", "Whales: end", "A closing remark on (krill)."),
    Passage("plain", "Ships", "Ships cross the sea."),
    Passage(
        "t1.0",
        "Ports",
        "Figures:\n\n| Port | 1901 | Flag |\n|:-----|---:|---|\n| Ulm | 30,931 | red \\| blue |\n| Bar | 12 |",
    ),
)


@pytest.fixture
def env():
    made = make("tir/SearchQA-v0", tools="browse", max_turns=20, **SMALL)
    yield made
    made.close()


def said(env, name, **arguments):
    observation, *_ = env.call(name, arguments)
    return observation, env.episode.calls[-1]


def test_a_search_brings_titles_ids_and_text(env):
    env.reset(seed=0)
    prose = WorldLibrary(Spec(*env.episode.task.data["world"])).prose
    page = prose.article(40)[0]
    text, record = said(env, "search", query=page.title)
    assert f"(Title: {page.title}) [{page.id}] {page.text}" in text
    assert page.id in record.facts["hits"]
    assert len(record.facts["hits"]) == 3
    _, record = said(env, "search", query=page.title, k=1)
    assert record.facts["hits"] == [page.id]


def test_several_queries_are_one_call(env):
    env.reset(seed=0)
    prose = WorldLibrary(Spec(*env.episode.task.data["world"])).prose
    pages = [prose.article(entity)[0] for entity in (20, 30, 40)]
    _, record = said(env, "search", query=pages[0].title, queries=[page.title for page in pages[1:]])
    assert {page.id for page in pages} <= set(record.facts["hits"])
    assert record.facts["queries"] == 3
    assert env.episode.tally.calls == 1


def test_what_is_not_found_is_said(env):
    env.reset(seed=0)
    text, record = said(env, "search", query="qqqq zzzz")
    assert "Nothing was found" in text
    assert (record.facts["hits"], record.error) == ([], "")
    for name, arguments, told in (
        ("open", {"doc_id": "a99999999"}, "no document"),
        ("open", {"doc_id": "a20", "page": 99}, "ask for one of them"),
        ("find", {"doc_id": "a20", "pattern": "qqqq"}, "does not stand"),
        ("find", {"doc_id": "a20", "pattern": "  "}, "empty"),
        ("lookup", {"doc_id": "a1"}, "no table"),
        ("search", {"query": "x" * 3_000}, "2000"),
        ("search", {"query": "x", "queries": ["y" * 3_000]}, "2000"),
    ):
        text, record = said(env, name, **arguments)
        assert record.error, name
        assert told in text
    assert not env.episode.outcome


def test_open_reads_a_document_from_the_id_of_any_part():
    kit = BrowseToolkit(Desk(SHELF, Room(600)))
    first = kit.open("d1.1")
    assert first.facts["hits"] == ["d1.0"]
    assert first.value.startswith("(page 1 of ")
    assert kit.open("d1").value == kit.open("[d1.3]").value == first.value
    count = int(first.value.split()[3].rstrip(")").split(")")[0])
    pages = [kit.open("d1", page=number) for number in range(1, count + 1)]
    assert all(len(page.value) <= 600 + 20 for page in pages)
    assert pages[-1].facts["hits"][-1] == "d1.3"
    assert "".join(page.value for page in pages).count("Whales sing.") >= 195
    assert kit.open("plain").facts["hits"] == ["plain"]


def test_of_a_search_server_an_episode_opens_what_it_found_itself_and_nothing_that_others_found():
    with RetrieverServer(SHELF.retriever, port=0) as server, contextlib.closing(Http(server.address)) as client:
        shelf = Shelf()
        shelf._opened = lambda: Cached(client)
        finder, stranger = BrowseToolkit(Desk(shelf, Room(600), k=9)), BrowseToolkit(Desk(shelf, Room(600)))
        request = next(searching := finder.search("krill ships"))
        with pytest.raises(StopIteration):
            searching.send(request.perform_all([request])[0])
        twin = copy.deepcopy(finder)
        for kit in (finder, twin):
            assert kit.open("plain").facts["hits"] == ["plain"]
            assert kit.open("d1.3").facts["hits"] == ["d1.3"]
        for doc_id in ("plain", "d1.3"):
            assert client.get(doc_id)
            with pytest.raises(ToolError, match="no document"):
                stranger.open(doc_id)


def test_find_is_literal_and_says_where():
    kit = BrowseToolkit(Desk(SHELF, Room(4_000)))
    found = kit.find_in("d1", "(KRILL)")
    assert found.value == "[d1.3] ...A closing remark on (krill).... "[:-1]
    assert found.facts["hits"] == ["d1.3"]
    assert kit.find_in("d1", "WHALES LIVE").facts["hits"] == ["d1.0"]
    assert (
        BrowseToolkit(Desk(Shelf(Passage("i", "I", "\u0130zmir \u00df ON")), Room(99))).find_in("i", "on").facts["hits"]
    )
    assert BrowseToolkit(Desk(SHELF, Room(52))).find_in("d1", "sing").facts["hits"] == ["d1.0"]  # no room for more
    many = kit.find_in("d1", "sing")
    assert "(190 more)" in many.value
    assert many.facts["hits"] == ["d1.0", "d1.1"]


def test_a_pattern_of_re2_never_backtracks():
    pytest.importorskip("re2")
    kit = BrowseToolkit(Desk(Shelf(Passage("x", "X", "a" * 20_000 + "!")), Room(4_000), regular=True))
    assert kit.find_in("x", "A{3}").facts["hits"] == ["x"]
    for pattern, told in (("(a+)+$", "does not stand"), ("(", "no regular expression"), (r"(a)\1", "no regular")):
        with pytest.raises(Exception, match=told):
            kit.find_in("x", pattern)


def test_lookup_reads_tables(env):
    env.reset(seed=0)
    prose = WorldLibrary(Spec(*env.episode.task.data["world"])).prose
    city = prose.graph.entity("city", 5)
    year, value = next((fact.at, fact.value) for fact in prose.section(city, 2).facts)
    text, record = said(env, "lookup", doc_id=f"a{city}", table="population", row=str(year))
    assert f"{year}: {value:,}" in text
    assert text.count(":") < 6
    assert record.facts["hits"] == [f"a{city}.2"]
    assert "population" in said(env, "lookup", doc_id=f"a{city}.0", table="staff")[0]


def test_lookup_reads_tables_of_any_passage():
    kit = BrowseToolkit(Desk(SHELF, Room(4_000)))
    assert kit.lookup("t1").value == "[t1.0] 1901\nUlm: 30,931\nBar: 12\n[t1.0] Flag\nUlm: red | blue"
    found = kit.lookup("t1.0", table="flag", row="ulm")
    assert (found.value, found.facts["hits"]) == ("[t1.0] Flag\nUlm: red | blue", ["t1.0"])
    with pytest.raises(Exception, match="its tables are: 1901, Flag; leave the row out"):
        kit.lookup("t1", row="Paris")
    with pytest.raises(Exception, match="it has no table"):
        kit.lookup("plain")


def test_tables_are_told_from_other_lines():
    assert tables_in("a | b\n--|--\nx | 1\nx | 2\n\ny | 3") == {"b": {"x": "1", "x (2)": "2"}}
    two = "| k | n |\n|---|---|\n| a | 1 |\ntext\n| k | n |\n|---|---|\n| a | 2 |"
    assert tables_in(two) == {"n": {"a": "1"}, "n (2)": {"a": "2"}}
    assert tables_in("either | or\nnothing | else") == tables_in("") == tables_in("|-|-|") == {}
    assert len(tables_in("|a|b|\n" + "|-|-|\n" * 5_000)["b"]) == 4_999


@pytest.mark.parametrize("room", [Room(120), Room(10_000, 20, lambda text: len(text.split()))])
def test_a_budget_is_kept_and_ids_are_of_what_is_shown(room):
    hits = [Hit(f"p{n}", 1.0, f"T{n}", "word " * 12) for n in range(6)]
    text, shown = show.hits([hits[:3], hits[2:]], room)
    assert room.fits(text) or text.endswith("left out)")
    assert shown == [hit.id for hit in hits[: len(shown)]]
    assert 1 <= len(shown) < 6
    whole, every = show.hits([hits], Room(10_000))
    assert every == [hit.id for hit in hits]
    assert whole.count("Doc ") == 6


def test_closing_tags_survive_the_budget_and_tags_in_documents_do_not():
    env = make("tir/SearchQA-v0", protocol="search_r1", result_chars=400, **SMALL)
    env.reset(seed=1)
    prose = WorldLibrary(Spec(*env.episode.task.data["world"])).prose
    hostile = next(page for page in prose.pages() if "<answer>" in page.text)
    observation, *_ = env.step(f"<search>{hostile.title} {hostile.text.split('<')[0]}</search>")
    assert hostile.id in env.episode.calls[-1].facts["hits"]
    assert observation.count("</information>") == 1
    assert observation.rstrip().endswith("</information>")
    assert "<answer>" not in observation
    assert "<\\answer>" in observation
    env.close()


def test_what_a_document_answers_is_not_the_policys_answer(env):
    for seed in range(20):
        env.reset(seed=seed)
        prose = WorldLibrary(Spec(*env.episode.task.data["world"])).prose
        hostile = next(page for page in prose.pages() if "<answer>" in page.text)
        env.step([])
        said(env, "open", doc_id=hostile.id)
        assert not env.episode.outcome
        assert env.episode.evidence.answer is None


class Broken(Retriever):
    @property
    def content_hash(self):
        return "broken"

    def search(self, queries, k):
        raise ConnectionError("no route")

    def get(self, doc_id):
        raise ConnectionError("no route")


def test_a_retriever_that_fails_makes_the_episode_invalid(monkeypatch):
    env = make("tir/SearchQA-v0", **SMALL)
    texts = play_oracle(env, 0)
    monkeypatch.setattr(WorldLibrary, "retriever", Broken())
    env.reset(seed=0)
    _, reward, terminated, truncated, info = env.step(texts[0])
    assert reward != reward
    assert (terminated, truncated, info["outcome"]) == (False, True, Outcome.ENV_ERROR)
    env.close()


def test_an_index_that_cannot_be_made_makes_the_episode_invalid(monkeypatch, tmp_path):
    monkeypatch.setenv("TIR_GYM_CACHE", str(tmp_path / "file" / "below"))
    (tmp_path / "file").write_text("not a folder")
    env = make("tir/SearchQA-v0", passages=2_100)
    env.reset(seed=0)
    *_, info = env.call("search", {"query": "x"})
    assert info["outcome"] == Outcome.ENV_ERROR
    env.close()


def test_an_index_is_built_once_and_shared(monkeypatch, tmp_path):
    monkeypatch.setenv("TIR_GYM_CACHE", str(tmp_path))
    assert cache_root() == tmp_path
    one, two = WorldLibrary(Spec(77, 2_000)), WorldLibrary(Spec(77, 2_000))
    assert one.retriever.search(["school"], 2) == two.retriever.search(["school"], 2)
    (folder,) = (tmp_path / "search_qa").glob("world-77-2000-*")
    assert (folder / "manifest.json").is_file()
    assert library_of({"world": [77, 2_000]}) is library_of({"world": [77, 2_000]})
    with pytest.raises(ValueError, match="no corpus"):
        library_of({})


def test_making_and_resetting_build_nothing(monkeypatch, tmp_path):
    monkeypatch.setenv("TIR_GYM_CACHE", str(tmp_path))
    env = make("tir/SearchQA-v0", passages=2_200)
    env.reset(seed=0)
    assert not any(tmp_path.iterdir())
    env.close()


def test_with_an_interpreter_code_can_search(warm_executor):
    env = make("tir/SearchQA-v0", tools="search+python", **SMALL)
    env.reset(seed=0)
    text, _ = said(env, "python", code="found = search('city river')\nprint(len(found) > 50, 'Doc 1' in found)")
    assert "True True" in text
    assert [call.tool for call in env.episode.calls] == ["python", "search"]
    assert env.episode.calls[1].facts["hits"]
    env.close()


def test_options_that_do_not_fit_are_refused_by_name():
    with pytest.raises(ValueError, match="count_tokens"):
        make("tir/SearchQA-v0", result_tokens=100)
    with pytest.raises(ValueError, match="passages"):
        make("tir/SearchQA-v0", passages=10)
    with pytest.raises(ValueError, match="tools"):
        make("tir/SearchQA-v0", tools="everything")
    with pytest.raises(ValueError, match="search_r1"):
        make("tir/SearchQA-v0", tools="browse", protocol="search_r1")
