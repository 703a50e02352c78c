r"""Which part of a text is its final answer.

- The last complete `\boxed{...}`. Boxes that touch, or that only commas, `and` or `or` separate, are one answer of
  several values. A percent sign or a unit right after the box belongs to it.
- Without a box: what follows the last "answer is" or "answer:".
- Without that: the whole text. If it is a sentence, its only formula or its only number: a sentence with two of them,
  or with a word that leaves the answer open (`maybe`, `or`), states nothing; of "not 10 but 11" the 10 is denied.
"""

from __future__ import annotations

import re

from tir_gym.scoring.numerals import unit_name

__all__ = ["final_part", "last_boxed"]

_BRACE = re.compile(r"\\(?:boxed|fbox)\s*+\{|\\.|[{}]", re.DOTALL)
_LEAD = re.compile(r"\banswer(?: is)?:?\s++(?:= ?)?|\banswer:|\A\s*+= |\A\s*+#### ", re.IGNORECASE)
_BETWEEN = re.compile(
    r"(?:\\[()\[\]]|\$)?\s*(?:,|;|and|or|,\s*and|(?:\\quad\s*)?\\text\{\s*(?:and|or)\s*\}(?:\s*\\quad)?)\s*(?:\\[()\[\]]|\$)?"
)
_AFTER = re.compile(r"\s*+(?:\\[)\]]|\$)?\s*+(\\?%|percent\b|pct\b|(?:[A-Za-z]+ ){0,2}[A-Za-z]+)")
_MAX_JOINED = 16


def _boxes(text: str) -> list[tuple[int, int, int]]:
    """Of every complete box: where it starts, where its content starts and ends; in the order of closing."""
    found: list[tuple[int, int, int]] = []
    starts: list[tuple[int, int]] = []
    for token in _BRACE.finditer(text):
        mark = token.group()
        if mark == "}":
            opening, start = starts.pop() if starts else (-1, -1)
            if start >= 0:
                found.append((opening, start, token.start()))
        elif mark == "{":
            starts.append((-1, -1))
        elif len(mark) > 2:
            starts.append((token.start(), token.end()))
    return found


def last_boxed(text: str) -> str | None:
    r"""Content of the `\boxed{...}` that closes last, braces balanced; None without a complete one. Linear time."""
    if "box" not in text:
        return None
    boxes = _boxes(text)
    return text[boxes[-1][1] : boxes[-1][2]] if boxes else None


def _from_boxes(text: str, boxes: list[tuple[int, int, int]]) -> str:
    joined = [boxes[-1]]
    for box in reversed(boxes[:-1]):
        between = text[box[2] + 1 : joined[0][0]]
        if (
            box[2] > joined[0][0]
            or len(between) > 40
            or (between and not _BETWEEN.fullmatch(" ".join(between.split())))
        ):
            break
        joined.insert(0, box)
        if len(joined) > _MAX_JOINED:
            return ""
    if len(joined) > 1:
        return ", ".join(text[start:end] for _, start, end in joined)
    _, start, end = boxes[-1]
    content = text[start:end]
    after = _AFTER.match(text, end + 1, end + 80)
    if after is None or not content.strip() or "%" in content:
        return content
    words = after[1].split()
    if words[0] in {"%", "\\%", "percent", "pct"}:
        return f"{content} \\%"
    for count in range(len(words), 0, -1):
        if unit_name(" ".join(words[:count])) is not None and content.strip()[-1].isdigit():
            return f"{content} \\text{{ {' '.join(words[:count])}}}"
    return content


def final_part(text: str) -> str:
    """The part of `text` that states the final answer."""
    if "\\\\" in text and "\\begin" not in text:
        text = _DOUBLED.sub(r"\\", text)
    boxes = _boxes(text) if "box" in text else []
    if boxes:
        return _from_boxes(text, boxes)
    led = False
    if "nswer" in text or "NSWER" in text or text.lstrip().startswith(("=", "#### ")):
        lead = None
        for lead in _LEAD.finditer(text):  # noqa: B007
            pass
        if lead is not None:
            text, led = text[lead.end() :], True
    text = text.partition("I hope it is correct")[0]
    return _from_prose(text, led)


_DOUBLED = re.compile(r"\\\\(?=[A-Za-z]{2,}|[{}])")

# --- sentences ----------------------------------------------------------------------------------------------------

_FORMULA = re.compile(r"\$\$([^$]{1,2000})\$\$|\$([^$]{1,2000})\$|\\\((.{1,2000}?)\\\)|\\\[(.{1,2000}?)\\\]", re.DOTALL)
_WORD = re.compile(r"(?<![\\A-Za-z])[A-Za-z]{2,}+")
_NUMERAL = re.compile(r"(?<![0-9A-Za-z_.,^\\/])[$]?-?[0-9][0-9,]*+(?:\.[0-9]++)?(?![0-9A-Za-z]*[A-Za-ln-z])")
_DENIED = re.compile(r"\bnot(?: (?:be|equal to))?\s*\Z")
_OPEN = frozenset(
    """or maybe perhaps possibly either guess probably might could between about around approximately roughly least most
    more less fewer over under except unless minus plus times divided squared cubed factorial base mod modulo million
    thousand hundred billion trillion dozen dozens pair pairs cent cents half halves quarter quarters third thirds
    percent wrong incorrect isn't cannot never no and""".split()  # noqa: SIM905
)
_SIGN = re.compile(r"\s*(m²|cm²|€|£|%|\\%)")
_SIGNS = {"m²": " meters^2", "cm²": " cm^2", "\\%": "%"}


def _from_prose(text: str, led: bool) -> str:
    """The only formula or number of the last sentence; the text as it is if it is no sentence."""
    if len(text) > 4000:
        if led:
            return text
        text = text[-4000:]
    parts = [text] if led else re.split(r"(?<=[.!?])\s+(?=[A-Z<])", text.strip())
    last = next((part for part in reversed(parts) if not part.startswith("<|")), text).strip()
    outside = _FORMULA.sub(" ", last)
    words = [word.lower() for word in _WORD.findall(outside)]
    if len(words) < 2 or not last[:1].isalpha():
        return text
    if _OPEN & {*words, *re.findall(r"[a-z]+'[a-z]+", outside.lower())}:
        return text
    formulas = [next(part for part in match.groups() if part is not None) for match in _FORMULA.finditer(last)]
    if formulas:
        return formulas[0] if len(formulas) == 1 and "not" not in words and not _NUMERAL.search(outside) else text
    if "\\" in last or "=" in last:
        return text
    found = list(_NUMERAL.finditer(last))
    asserted = [match for match in found if not _DENIED.search(last[max(0, match.start() - 24) : match.start()])]
    if len(asserted) != 1 or ("not" in words and len(found) == 1):
        return text
    start, end = asserted[0].span()
    if _WORD.search(last, 0, start) is None:
        return text
    sign = _SIGN.match(last, end)
    if sign is not None:
        return last[start:end] + _SIGNS.get(sign[1], sign[1])
    unit = re.match(r"\s*([A-Za-z]+)", last[end:])
    if unit is not None and unit_name(unit[1]) is not None:
        return f"{last[start:end]} {unit[1]}"
    return last[start:end]
