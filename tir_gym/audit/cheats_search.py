"""Cheats against a judge of searched answers: passages that answer, answers poured out, abstaining on principle.

The policy is granted what it could have seen: the passages that settle the question.
"""

from collections.abc import Iterator

from tir_gym.audit.scene import Scene, cheat
from tir_gym.core.action import ToolCall
from tir_gym.core.interfaces import Passage
from tir_gym.drivers.intake import ActionInput
from tir_gym.envs.search_qa.library import library_of

SEARCH = "SearchQA"
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
