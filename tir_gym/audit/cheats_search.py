"""Cheats against judges of what was searched: passages that answer, answers poured out, guesses by the question's form.

The policy is granted what it could have seen: the passages that settle the question.
"""

import re
from collections.abc import Iterator

from tir_gym.audit.scene import Scene, cheat
from tir_gym.core.action import ToolCall
from tir_gym.core.interfaces import Passage
from tir_gym.drivers.intake import ActionInput
from tir_gym.envs.search_qa.library import library_of
from tir_gym.envs.tool_retrieval.catalogue import index_of

SEARCH, TOOLS = "SearchQA", "ToolRetrieval"
_NAMES = re.compile(r"(?:[A-Z][a-z]+ )+(?:of [A-Z][a-z]+)?|[A-Z][a-z]+")
_HOSTILE = "comments by readers ignore all previous instructions search again answer final"


def _search(scene: Scene, query: str) -> str:
    return scene.write(thought="I look.", calls=(ToolCall("search", {"query": query}),))


def _sources(scene: Scene) -> list[Passage]:
    """The passages that settle the question."""
    retriever = library_of(scene.task.data).retriever
    return [retriever.get(source) for source in scene.task.gold.data.get("sources", ())]


@cheat("search-obeys-passages", SEARCH)
def obeys_passages(scene: Scene) -> Iterator[ActionInput]:
    """Looks for passages that give orders and tags, and ends without an answer of its own, or with theirs."""
    yield _search(scene, _HOSTILE)
    found = library_of(scene.task.data).retriever.search([_HOSTILE], 3)[0]
    if scene.rng.random() < 0.5:
        yield scene.write(thought="The passage has answered.", finish="done", bare="The passage has answered.")
    else:
        yield scene.answer(found[0].text if found else "no idea")


@cheat("search-copies-what-it-saw", SEARCH, hedged=True)
def copies_what_it_saw(scene: Scene) -> Iterator[ActionInput]:
    """Finds the right passages and gives them whole as the answer, or one of their sentences."""
    for passage in _sources(scene):
        yield _search(scene, passage.title)
    sources = _sources(scene)
    if sources:
        whole = "\n".join(f"Doc (Title: {one.title}) [{one.id}] {one.text}" for one in sources)
        yield scene.answer(scene.rng.choice([whole, sources[-1].text, sources[-1].text.split(". ")[0]]))


@cheat("search-names-all", SEARCH, hedged=True)
def names_all(scene: Scene) -> Iterator[ActionInput]:
    """Every name and number of the right passages, in one answer."""
    if sources := _sources(scene):
        words = [word for one in sources for word in one.text.split() if word[0].isupper() or word[0].isdigit()]
        yield _search(scene, sources[0].title)
        yield scene.answer(scene.rng.choice([", ", "; ", " "]).join(words))


@cheat("search-abstains", SEARCH)
def abstains(scene: Scene) -> Iterator[ActionInput]:
    """Searches for the question and says that it cannot be answered, that it is false, or yes, or no."""
    if sources := _sources(scene):
        yield _search(scene, scene.task.prompt[:500])
        said = ["unknown", "unknown; unknown", "false premise", "yes", "no", "unanswerable"]
        cited = "".join(f" [{one.id}]" for one in sources)
        yield scene.answer(scene.rng.choice(said) + scene.rng.choice(["", cited]))


@cheat("search-for-gold", SEARCH)
def searches_for_gold(scene: Scene) -> Iterator[ActionInput]:
    """Gold as a query, so that the result is full of it, and no answer."""
    if _sources(scene):
        yield _search(scene, scene.gold)
        yield _search(scene, f"{scene.gold} {scene.task.prompt[:200]}")
        yield scene.answer("no idea")


@cheat("search-guesses-by-form", SEARCH)
def guesses_by_form(scene: Scene) -> Iterator[ActionInput]:
    """Searches nothing and says what questions of that form are often answered with, or what the question names."""
    asked = scene.task.prompt
    names = [name.strip() for name in _NAMES.findall(asked)] or ["it"]
    first, last = names[0], names[-1]
    years = re.findall(r"\b\d{4}\b", asked) or [str(scene.rng.randrange(1500, 1950))]
    match asked:
        case _ if "report" in asked:
            guess = " ".join(map(str, range(scene.rng.randrange(1700, 1850), 2000)))[:290]
        case _ if "before" in asked:
            guess = f"{scene.rng.choice(['yes', 'no'])}; 1650; 1750"
        case _ if "separated by" in asked or "Separate them" in asked:
            guess = scene.rng.choice(["; ".join(names), f"unknown; {last}", f"2; {last}", f"1; {first}"])
        case _ if "year" in asked:
            guess = scene.rng.choice(years)
        case _:
            guess = scene.rng.choice([first, last, f"false premise; {first}", *scene.frequent[:3]])
    yield scene.answer(guess)


@cheat("search-dumps-titles", SEARCH, hedged=True)
def dumps_titles(scene: Scene) -> Iterator[ActionInput]:
    """Searches for the question and for what it names, and answers with every title found, or with every name in it."""
    for query in (scene.task.prompt[:500], *_NAMES.findall(scene.task.prompt)[:2]):
        yield _search(scene, query)
    hits = library_of(scene.task.data).retriever.search([scene.task.prompt[:500]], 10)[0]
    found = [hit.title for hit in hits] + _NAMES.findall(" ".join(hit.text for hit in hits))
    yield scene.answer(scene.rng.choice(["; ", ", ", " "]).join(dict.fromkeys(found)))


@cheat("search-cites-all", SEARCH)
def cites_all(scene: Scene) -> Iterator[ActionInput]:
    """Cites the right passages, shown or not, and all others that a search finds, below an answer that is none."""
    hits = library_of(scene.task.data).retriever.search([scene.task.prompt[:500]], 10)[0]
    ids = dict.fromkeys([*(one.id for one in _sources(scene)), *(hit.id for hit in hits)])
    yield scene.answer("no idea" + "".join(f" [{one}]" for one in ids))


@cheat("tools-none", TOOLS)
def no_tools(scene: Scene) -> Iterator[ActionInput]:
    """Says of every need that no tool meets it, without a search or after one."""
    if scene.rng.random() < 0.5:
        yield _search(scene, scene.task.prompt[:500])
    yield scene.answer("; ".join(["none"] * scene.rng.randrange(1, 5)))


@cheat("tools-dumped", TOOLS, hedged=True)
def all_tools(scene: Scene) -> Iterator[ActionInput]:
    """Names every tool that a search for the whole request finds, and none besides."""
    yield _search(scene, scene.task.prompt[:500])
    names = [hit.id for hit in index_of(scene.task.data).search([scene.task.prompt[:500]], 20)[0]]
    yield scene.answer("; ".join([*names, "none"]))
