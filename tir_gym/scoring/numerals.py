r"""The numeral grammar of `tir_gym.scoring.math`: one cleaned string to an exact rational with an optional unit.

Covers signed integers with thousands separators, decimals, `a/b`, `\frac{a}{b}`, mixed numbers, powers of ten,
percentages, currency signs before and unit words after the numeral. Every pattern uses possessive repeats: linear time.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from fractions import Fraction

__all__ = ["CURRENCY_MARK", "GROUP_MARK", "UNIT_WORDS", "Number", "integer", "number", "unit_name"]

MAX_DIGITS = 4000
MAX_PARTS_DIGITS = 1000
MAX_EXPONENT = 1000

GROUP_MARK = "\u066c"
"""Stands for a thousands separator that cannot be a list comma (`1{,}234`)."""
CURRENCY_MARK = "\uff04"
"""Stands for a dollar sign that is money, not a math delimiter."""


@dataclass(frozen=True, slots=True)
class Number:
    """An exact rational; `unit` is the canonical unit word, "" for none. A percentage is already divided by 100."""

    value: Fraction
    unit: str = ""
    digits: int = field(default=0, compare=False)
    """Significant digits of a decimal point numeral, else 0."""
    worked: bool = field(default=True, compare=False)
    """False where arithmetic had to be done to read it (`2+3`, `36/2`)."""


_CURRENCY_SIGNS = {CURRENCY_MARK: "dollar", "€": "euro", "£": "pound", "¥": "yen", "₹": "rupee"}

_PLURALS = """
apple bag ball banana bird block book bottle bowl box:boxes brick bus:buses cake candy:candies car card cat
chair chicken child:children centimeter clip coin cookie cow crayon cup customer day degree dollar dog duck
egg employee euro fish:fishes flower flyer foot:feet friend gallon game girl boy glass:glasses gram guest hat hour house
inch:inches item jar kid kilogram kilometer letter liter lollipop man:men woman:women marble mark meter mile milligram
milliliter millimeter minute month muffin necklace ounce page pen pencil person:people picture piece
pizza plate player point pound pupil quart rabbit room rose rupee seat second seed sheep shell shirt shoe slice sock
song spoon stamp step sticker stone story:stories student tank teacher ticket time toy train tree truck unit vote
week window word worker yard year yen
"""
_ALIASES = {
    "km": "kilometer", "cm": "centimeter", "mm": "millimeter", "kg": "kilogram", "mg": "milligram", "ml": "milliliter",
    "ft": "foot", "lb": "pound", "lbs": "pound", "oz": "ounce", "mi": "mile", "yd": "yard", "min": "minute",
    "mins": "minute", "sec": "second", "secs": "second", "hr": "hour", "hrs": "hour", "usd": "dollar", "eur": "euro",
    "metre": "meter", "metres": "meter", "litre": "liter", "litres": "liter", "kilometre": "kilometer",
    "kilometres": "kilometer", "centimetre": "centimeter", "centimetres": "centimeter", "grams": "gram",
    "^\\circ": "degree", "^{\\circ}": "degree", "€": "euro", "£": "pound", CURRENCY_MARK: "dollar",
}  # fmt: skip
_PHRASES = {"mph": "mile/hour", "kmh": "kilometer/hour", "km/h": "kilometer/hour"}


def _unit_words() -> dict[str, str]:
    words = dict(_ALIASES)
    for entry in _PLURALS.split():
        singular, _, plural = entry.partition(":")
        words[singular] = singular
        words[plural or singular + "s"] = singular
    return words


UNIT_WORDS: dict[str, str] = _unit_words()
"""Every accepted unit word to its canonical form.

Left out are one-letter units (`5 m` may be algebra) and words that change the number (dozen, pair, cents).
"""

_POWER = re.compile(r"\^(?:\{ ?([23]) ?\}|([23]))$")
_AREA = {"square": "^2", "sq": "^2", "cubic": "^3"}


def unit_name(text: str) -> str | None:
    """Canonical unit ("square meters" and "meter^2" agree, as do "mph" and "miles per hour"); None if not a unit."""
    if len(text) > 40:
        return None
    text = text.strip().lower()
    if text in _PHRASES:
        return _PHRASES[text]
    parts = [_plain_unit(part) for part in text.replace(" per ", "/").split("/")]
    if len(parts) > 2 or None in parts:
        return None
    return "/".join(part for part in parts if part is not None)


def _plain_unit(text: str) -> str | None:
    words = text.replace(" ^", "^").split()
    if not words:
        return None
    power = _AREA.get(words[0], "")
    if power:
        words = words[1:]
    elif (mark := _POWER.search(words[-1])) is not None:
        power = "^" + (mark[1] or mark[2])
        words[-1] = words[-1][: mark.start()]
    if len(words) != 1 or words[0] not in UNIT_WORDS:
        return None
    return UNIT_WORDS[words[0]] + power


_GROUPED = rf"[0-9]{{1,3}}(?:(?:,[0-9]{{3}})++|(?:{GROUP_MARK}[0-9]{{3}})++)(?![0-9])"
_NUMERAL = rf"(?:(?>{_GROUPED}|[0-9]++)(?:\.[0-9]*+)?|\.[0-9]++)"
_SPACED = rf"(?:(?>[0-9]{{1,3}}(?: [0-9]{{3}})++(?![0-9/])|{_GROUPED}|[0-9]++)(?:\.[0-9]*+)?|\.[0-9]++)"
_SIGN = rf"([+-]?) ?([{''.join(_CURRENCY_SIGNS)}]?) ?([+-]?) ?"
_EXPONENT = (
    r"(?:[eE]([+-]?[0-9]{1,6}+)| ?(?:\\times|\\cdot|\*|x) ?10 ?\^ ?(?:\{ ?([+-]?[0-9]{1,6}+) ?\}|([+-]?[0-9]{1,6}+)))?"
)
_ARGUMENT = rf"(?:\{{ ?([+-]?) ?({_NUMERAL}) ?\}}|([0-9]))"

_DECIMAL = re.compile(rf"{_SIGN}({_SPACED}){_EXPONENT}")
_SLASHED = re.compile(rf"{_SIGN}(?:([0-9]++) )?({_NUMERAL}) ?/ ?([+-]?) ?({_NUMERAL})")
_LATEX = re.compile(rf"{_SIGN}({_NUMERAL})? ?\\frac ?{_ARGUMENT} ?{_ARGUMENT}")
_TEN = re.compile(r"([+-]?) ?10 ?\^ ?(?:\{ ?([+-]?[0-9]{1,6}+) ?\}|([+-]?[0-9]{1,6}+))")
_PERCENT = re.compile(r" ?(?:%|percent|pct)")


def number(body: str) -> Number | None:
    """Read the whole of `body` as one numeral with its unit; None if it is anything else."""
    first = body[0]
    if not (first in "+-.\\0123456789" or first in _CURRENCY_SIGNS):
        return None
    try:
        if body.isascii() and body.isdigit():
            return integer(body)
        return _decimal(body) or _slashed(body) or _latex(body) or _ten(body)
    except ValueError:  # the interpreter's own limit on digits may be set below ours
        return None


def integer(body: str) -> Number | None:
    """An optionally signed run of ASCII digits."""
    if len(body) > MAX_DIGITS:
        return None
    try:
        return Number(Fraction(int(body)))
    except ValueError:
        return None


def _decimal(body: str) -> Number | None:
    match = _DECIMAL.match(body)
    if match is None:
        return None
    outer, currency, inner, numeral, *exponents = match.groups()
    shift = next((part for part in exponents if part), "0")
    value = _exact(numeral)
    if value is None or abs(int(shift)) > MAX_EXPONENT:
        return None
    if int(shift):
        value *= Fraction(10) ** int(shift)
    found = _finish(value, outer + inner, currency, body[match.end() :])
    significant = len(numeral.replace(".", "").lstrip("0")) if "." in numeral else 0
    return found if found is None or significant < 12 else replace(found, digits=significant)


def _slashed(body: str) -> Number | None:
    match = _SLASHED.match(body)
    if match is None:
        return None
    outer, currency, inner, whole, top, sign, bottom = match.groups()
    value = _quotient(whole, top, bottom, sign)
    return None if value is None else _finish_quotient(value, outer + inner, currency, body[match.end() :])


def _latex(body: str) -> Number | None:
    match = _LATEX.match(body)
    if match is None:
        return None
    outer, currency, inner, whole, top_sign, top, top_digit, bottom_sign, bottom, bottom_digit = match.groups()
    value = _quotient(whole, top or top_digit, bottom or bottom_digit, (top_sign or "") + (bottom_sign or ""))
    return None if value is None else _finish_quotient(value, outer + inner, currency, body[match.end() :])


def _finish_quotient(value: Fraction, signs: str, currency: str, rest: str) -> Number | None:
    """`36/2` is a division still to be done, `36/5` a fraction."""
    found = _finish(value, signs, currency, rest)
    return replace(found, worked=value.denominator != 1) if found is not None else None


def _ten(body: str) -> Number | None:
    match = _TEN.match(body)
    if match is None:
        return None
    power = int(match[2] or match[3])
    if abs(power) > MAX_EXPONENT:
        return None
    return _finish(Fraction(10) ** power, match[1], "", body[match.end() :])


def _quotient(whole: str | None, top: str, bottom: str, sign: str) -> Fraction | None:
    above, below = _exact(top), _exact(bottom)
    if above is None or not below:
        return None
    value = _signed(above / below, sign)
    if whole is None:
        return value
    base = _exact(whole)
    proper = base is not None and base.denominator == 1 and "." not in top + bottom and 0 < value < 1
    return base + value if base is not None and proper else None


def _exact(numeral: str) -> Fraction | None:
    if len(numeral) > MAX_DIGITS:
        return None
    if not numeral.isdigit():
        numeral = numeral.replace(",", "").replace(GROUP_MARK, "").replace(" ", "")
        whole, point, decimals = numeral.partition(".")
        if point:
            if len(numeral) > MAX_PARTS_DIGITS:
                return None
            return Fraction(int(whole + decimals), 10 ** len(decimals))
    return Fraction(int(numeral))


def _signed(value: Fraction, signs: str) -> Fraction:
    return -value if signs.count("-") % 2 else value


def _finish(value: Fraction, signs: str, currency: str, rest: str) -> Number | None:
    if len(signs) > 1:
        return None
    value = _signed(value, signs)
    unit = _CURRENCY_SIGNS[currency] if currency else ""
    if not rest:
        return Number(value, unit)
    if _PERCENT.fullmatch(rest.rstrip()) is not None:
        return None if unit else Number(value / 100)
    name = unit_name(rest)
    if name is None or (unit and name != unit):
        return None
    return Number(value, name)
