"""Text that others wrote (a tool, a web page, an error that quotes them), made safe to show to a policy."""

import re
from collections.abc import Callable, Iterable

_TEMPLATE_NAMES = (
    *("start_of_turn", "end_of_turn", "tool_call", "tool_calls", "tool_response", "bos", "eos", "s"),
    *("unk", "pad", "mask", "image", "start_of_image", "end_of_image"),
)
_TEMPLATE_MARKS = "INST|TOOL_CALLS|TOOL_RESULTS|AVAILABLE_TOOLS|SYSTEM_PROMPT|gMASK"
_INVISIBLE = (
    "\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2064\u2066-\u2069\ufeff"
    "\ud800-\udfff\U000e0000-\U000e007f"
)
_SUSPECT = re.compile(f"[<\\[{_INVISIBLE}]")
_LABEL = re.compile(r"[^\w.-]")


def neutralizer(tags: Iterable[str]) -> Callable[[str], str]:
    r"""A function that disarms text for a syntax with these tags.

    A backslash goes after the `<` of such a tag, opening or closing, in any case, and of a chat template's special
    token (`<|...|>`, `<start_of_turn>`, `[INST]`): `</answer>` is shown as `<\/answer>`. Where the text has backslashes
    there already, it gains one, so nothing is lost. Control and direction characters, unpaired surrogates and
    invisible tag characters are shown as `\x1b` or `\u202e`; new lines and tabs stay.
    """
    names = "|".join(map(re.escape, (*tags, *_TEMPLATE_NAMES)))
    armed = re.compile(
        rf"<(?=\\*+(?:[|｜]|/?(?:{names})\b))|\[(?=\\*+/?(?:{_TEMPLATE_MARKS})\])|[{_INVISIBLE}]", re.IGNORECASE
    )

    def shown(suspect: re.Match[str]) -> str:
        return _disarmed(suspect[0]) if armed.match(suspect.string, suspect.start()) else suspect[0]

    def neutral(text: str) -> str:
        return _SUSPECT.sub(shown, text)  # a search for one of a set of characters is many times as fast as `armed`'s

    return neutral


def _disarmed(found: str) -> str:
    if found in "<[":
        return found + "\\"
    code = ord(found)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def label(name: str) -> str:
    """A tool's name or an error's type as one harmless word of at most 80 characters."""
    return name if name.isidentifier() and len(name) <= 80 else _LABEL.sub("_", name[:80])
