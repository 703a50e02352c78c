"""The transcript for people: who wrote what, in colour."""

import io
from collections.abc import Iterable

from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from tir_gym.core.action import Part
from tir_gym.core.episode import Episode
from tir_gym.core.transcript import Entry, Source, images_of

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


_VISIBLE = {code: 0x2400 + code for code in range(32) if chr(code) not in "\n\t"} | {0x7F: 0x2421, 0x9B: 0x2421}
"""Control characters as symbols of the same width: a policy must not drive the reader's terminal."""


def render_ansi(episode: Episode, width: int = 100) -> str:
    """The whole transcript and how it ended, as text with ANSI colours."""
    out = io.StringIO()
    _print(Console(file=out, force_terminal=True, width=width), episode, episode.transcript)
    return out.getvalue()


def render_human(episode: Episode, shown: int) -> int:
    """Print the entries from number `shown` on; returns how many there are."""
    _print(Console(), episode, list(episode.transcript)[shown:])
    return len(episode.transcript)


def _print(console: Console, episode: Episode, entries: Iterable[Entry]) -> None:
    for entry in entries:
        colour = _COLOURS[entry.source]
        body = Text(entry.text.translate(_VISIBLE))
        for span in entry.spans:
            if style := _PARTS.get(span.part):
                body.stylize(style, span.start, span.end)
        for image in images_of(entry.content):
            body.append(f"\n[image {image.id}, {image.pixels.shape[1]}x{image.pixels.shape[0]}]")
        title = entry.source.value if entry.source.value == entry.actor else f"{entry.source.value} ({entry.actor})"
        if entry.call >= 0:
            title = f"tool {episode.calls[entry.call].tool}"
        console.print(Panel(body, title=title, title_align="left", border_style=colour))
    if episode.outcome:
        verdict = "not judged" if episode.score is None else f"score {episode.score.value:g}"
        console.print(Text(f"{episode.outcome.value}: {verdict} ({episode.ended_by or episode.failure})", style="bold"))
