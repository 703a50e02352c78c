"""One spelling for what is written in many: LaTeX and plain text made comparable as strings."""

from __future__ import annotations

import re

from tir_gym.scoring.numerals import CURRENCY_MARK, GROUP_MARK

__all__ = ["ASCII_FORMS", "clean", "text_key"]

_SEPARATOR = re.compile(r"\{,\}|,\\!\s*+")
_TOKEN = re.compile(
    r"\\(?:text(?:bf|it|rm|sf|tt|normal)?|mbox|math(?:rm|bf|it|sf|tt)|operatorname|boxed|fbox)\s*+\{|\\[A-Za-z]++|\\.|[{}$]",
    re.DOTALL,
)

ASCII_FORMS: dict[int, str] = {
    **{code: chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)},
    **dict.fromkeys([0xA0, 0x2009, 0x202F, 0x3000], " "),
    **dict.fromkeys([0x2212, 0x2013, 0xFE63], "-"),
    **{ord(sign): f" {name} " for sign, name in {"×": "\\times", "≤": "\\leq", "≥": "\\geq", "≠": "\\neq"}.items()},
    **{
        ord(sign): name + " "
        for sign, name in {
            "π": "\\pi",
            "∞": "\\infty",
            "∪": "\\cup",
            "∈": "\\in",
            "∅": "\\varnothing",
            "±": "\\pm",
            "·": "\\cdot",
            "ℝ": "\\mathbb{R}",
            "≈": "\\approx",
        }.items()
    },
    0x221A: "\\surd ",
    **{ord(sign): name for sign, name in {"²": "^2", "³": "^3", "°": "^\\circ"}.items()},
    **{ord(sign): f"\\frac{part}" for sign, part in {"½": "{1}{2}", "¼": "{1}{4}", "¾": "{3}{4}"}.items()},
}

_COMMANDS: dict[str, str] = {
    **dict.fromkeys(
        ["\\left", "\\right", "\\!", "\\displaystyle", "\\big", "\\Big", "\\bigl", "\\bigr", "\\limits"], ""
    ),
    **dict.fromkeys(["\\,", "\\;", "\\:", "\\ ", "\\quad", "\\qquad", "\\(", "\\)", "\\[", "\\]"], " "),
    **dict.fromkeys(["\\dfrac", "\\tfrac", "\\cfrac"], "\\frac"),
    **dict.fromkeys(["\\le", "\\leqslant"], "\\leq"),
    **dict.fromkeys(["\\ge", "\\geqslant"], "\\geq"),
    **dict.fromkeys(["\\emptyset", "\\oslash", "\\O"], "\\varnothing"),
    **dict.fromkeys(["\\dbinom", "\\tbinom"], "\\binom"),
    **dict.fromkeys(["\\lvert", "\\rvert", "\\vert", "\\mid"], "|"),
    **dict.fromkeys(["\\simeq", "\\doteq"], "\\approx"),
    "\\langle": "(",
    "\\rangle": ")",
    "\\backslash": "\\setminus",
    "\\colon": ":",
    "\\ne": "\\neq",
    "\\lt": "<",
    "\\gt": ">",
    "\\lbrace": "\\{",
    "\\rbrace": "\\}",
    "\\degree": "^\\circ",
    "\\%": "%",
    "\\$": CURRENCY_MARK,
}


def clean(text: str) -> str:
    """Drop spacing and size commands, math delimiters and text wrappers; currency dollars become `CURRENCY_MARK`."""
    if not any(sign in text for sign in "\\${"):
        return text
    dollar = CURRENCY_MARK if text.count("$") - text.count("\\$") == 1 else " "
    text = _SEPARATOR.sub(GROUP_MARK, text)
    out: list[str] = []
    kept: list[bool] = []
    end = 0
    for match in _TOKEN.finditer(text):
        out.append(text[end : match.start()])
        end = match.end()
        mark = match.group()
        if mark == "$":
            out.append(dollar)
        elif mark == "{":
            kept.append(True)
            out.append(mark)
        elif mark == "}":
            out.append(mark if not kept or kept.pop() else " ")
        elif len(mark) > 2 and mark[-1] == "{":
            kept.append(False)
            out.append(" ")
        else:
            out.append(_COMMANDS.get(mark, mark))
    out.append(text[end:])
    return "".join(out)


_SHORT_FRACTION = re.compile(r"\\(frac|sqrt) ?([0-9a-zA-Z])")
_SHORT_DENOMINATOR = re.compile(r"(\\frac\{[^{}]*+\}) ?([0-9a-zA-Z])")
_SINGLE_SCRIPT = re.compile(r"([\^_]) ?\{ ?([0-9a-zA-Z]) ?\}")
_LOOSE_SPACE = re.compile(r"(?<![0-9A-Za-z]) | (?![0-9A-Za-z])|(?<=[0-9]) (?=[A-Za-z])|(?<=[A-Za-z]) (?=[0-9])")
_RELATIONS = (("<=", "\\leq "), (">=", "\\geq "), ("!=", "\\neq "))
_INFINITIES = {"inf": "\\infty", "infinity": "\\infty", "oo": "\\infty"}


def text_key(body: str) -> str:
    """What a text that is no mathematics is compared by."""
    sign, word = (body[0], body[1:].lower()) if body[:1] in {"+", "-"} else ("", body.lower())
    if word in _INFINITIES:
        return sign.replace("+", "") + _INFINITIES[word]
    if "\\" in body or "^" in body or "_" in body:
        body = _SHORT_FRACTION.sub(r"\\\1{\2}", body)
        body = _SHORT_DENOMINATOR.sub(r"\1{\2}", body)
        body = _SINGLE_SCRIPT.sub(r"\1\2", body)
    for plain, latex in _RELATIONS:
        body = body.replace(plain, latex)
    body = _LOOSE_SPACE.sub("", " ".join(body.split()))
    return body.casefold() if len(body) > 1 and body.replace(" ", "").isalpha() else body
