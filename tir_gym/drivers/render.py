"""The transcript for people: who wrote what, in colour."""

import importlib
import io
import random
import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

from tir_gym.core.action import Part
from tir_gym.core.episode import Episode
from tir_gym.core.transcript import Entry, Source, images_of

if TYPE_CHECKING:
    from rich.console import Console

_COLOURS = {
    Source.POLICY: "cyan",
    Source.TOOL: "yellow",
    Source.USER: "magenta",
    Source.ENV: "white",
    Source.SYSTEM: "bright_black",
    Source.INJECTED: "red",
}
_PARTS = {
    Part.THOUGHT: "italic",
    Part.CALL: "bold yellow",
    Part.ANSWER: "bold green",
    Part.CONFIDENCE: "green",
    Part.MESSAGE: "bold magenta",
    Part.TAIL: "strike bright_black",
}


_VISIBLE = {
    **{code: 0x2400 + code for code in range(32) if chr(code) not in "\n\t"},
    **dict.fromkeys(range(0x7F, 0xA0), 0x2421),
    **dict.fromkeys((0x200E, 0x200F, *range(0x202A, 0x202F), *range(0x2066, 0x206A)), 0xFFFD),
}
"""Control characters (also those that turn the direction of writing) as symbols, one for one: a policy must not
drive the reader's terminal."""


def render_ansi(episode: Episode, width: int = 100) -> str:
    """The whole transcript and how it ended, as text with ANSI colours."""
    _load()
    from rich.console import Console

    out = io.StringIO()
    console = Console(file=out, force_terminal=True, width=width)
    print_entries(console, episode, episode.transcript)
    print_end(console, episode)
    return out.getvalue()


def render_human(episode: Episode, shown: int) -> int:
    """Print the entries from number `shown` on; returns how many there are."""
    _load()
    from rich.console import Console

    console = Console()
    print_entries(console, episode, list(episode.transcript)[shown:])
    print_end(console, episode)
    return len(episode.transcript)


def _load() -> None:
    """Import `rich`, which then draws from the global random generator, and put that back."""
    if "rich.style" not in sys.modules:
        state = random.getstate()
        importlib.import_module("rich.style")
        random.setstate(state)


def visible(text: str) -> str:
    """The text with control characters as symbols, of the same length."""
    return text.translate(_VISIBLE)


def print_entries(console: "Console", episode: Episode, entries: Iterable[Entry]) -> None:
    """Print transcript entries in frames, coloured by who wrote what."""
    from rich.panel import Panel
    from rich.text import Text

    for entry in entries:
        colour = _COLOURS[entry.source]
        body = Text(visible(entry.text))
        for span in entry.spans:
            if style := _PARTS.get(span.part):
                body.stylize(style, span.start, span.end)
        for image in images_of(entry.content):
            body.append(f"\n[image {image.id}, {image.pixels.shape[1]}x{image.pixels.shape[0]}]")
        title = entry.source.value if entry.source.value == entry.actor else f"{entry.source.value} ({entry.actor})"
        if entry.call >= 0:
            title = f"tool {visible(episode.calls[entry.call].tool)}"
        console.print(Panel(body, title=Text(title), title_align="left", border_style=colour))


def print_end(console: "Console", episode: Episode) -> None:
    """Print how the episode ended, if it has."""
    from rich.text import Text

    if episode.outcome:
        verdict = "not judged" if episode.score is None else f"score {episode.score.value:g}"
        why = visible(episode.failure or episode.ended_by)
        console.print(Text(f"{episode.outcome.value}: {verdict} ({why})", style="bold"))
