"""Answers to questions: the same as gold up to the writing of names, numbers and dates; lists, abstention, nuggets.

`golds` are alternatives, of which any one will do. All functions look at the answer alone and take linear time in it.
"""

import re
from collections.abc import Iterable, Sequence
from datetime import date
from decimal import Decimal, InvalidOperation

from tir_gym.scoring.text import contains, f1, normalize_qa

MAX_CHARS = 2_000
"""A longer answer is no short answer, and is never the same as gold."""

_MONTHS = (
    *("january", "february", "march", "april", "may", "june"),
    *("july", "august", "september", "october", "november", "december"),
)
_MONTH = "|".join(f"{month[:3]}(?:{month[3:]})?" if len(month) > 3 else month for month in _MONTHS)
_DAY_FIRST = re.compile(rf"(\d{{1,2}})(?:st|nd|rd|th)? (?:of )?({_MONTH})\.?,? (\d{{3,4}})")
_MONTH_FIRST = re.compile(rf"({_MONTH})\.? (\d{{1,2}})(?:st|nd|rd|th)?,? (\d{{3,4}})")
_ISO = re.compile(r"(\d{4})-(\d{2})-(\d{2})")
_NUMBER = re.compile(r"[-+−]?(?:\d{1,3}(?:,\d{3})+|\d{1,40})(?:\.\d{1,40})?")
_WORDS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"),
    *("thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen", "twenty"),
)
_EMPTY = frozenset(
    ("of", "in", "on", "at", "to", "for", "and", "or", "by", "with", "from", "as", "is", "was", "be", "it")
)
_ABSTAINING = frozenset(
    normalize_qa(text)
    for text in (
        *("unknown", "unanswerable", "no answer", "noanswer", "cannot be answered", "not answerable", "not stated"),
        *("i don't know", "i do not know", "it is unknown", "it is not known", "not recorded", "cannot be determined"),
        *("there is no answer", "the answer is unknown", "insufficient information", "not enough information"),
    )
)


def number_of(text: str) -> Decimal | None:
    """The number that a text is, in digits (`30,931`, `-2.50`) or, up to twenty, in a word; None for anything else."""
    plain = text.strip().lower()
    if plain in _WORDS:
        return Decimal(_WORDS.index(plain))
    if not _NUMBER.fullmatch(plain):
        return None
    try:
        return Decimal(plain.replace(",", "").replace("−", "-"))
    except InvalidOperation:
        return None


def date_of(text: str) -> date | None:
    """The day that a text is (`20 June 1837`, `June 20th, 1837`, `1837-06-20`), None for anything else."""
    plain = " ".join(text.lower().split()).removesuffix(".")
    if found := _ISO.fullmatch(plain):
        year, month, day = map(int, found.groups())
    elif found := _DAY_FIRST.fullmatch(plain):
        day, month, year = int(found[1]), _month(found[2]), int(found[3])
    elif found := _MONTH_FIRST.fullmatch(plain):
        month, day, year = _month(found[1]), int(found[2]), int(found[3])
    else:
        return None
    try:
        return date(year, month, day)
    except ValueError:
        return None


def _month(name: str) -> int:
    return next(number for number, month in enumerate(_MONTHS, 1) if month.startswith(name[:3]))


def same(answer: str, golds: Sequence[str]) -> bool:
    """Whether the answer is one of the golds: equal after SQuAD's normalisation, or the same number or day.

    What is nothing after normalisation (`The`) equals nothing.
    """
    if len(answer) > MAX_CHARS:
        return False
    said, amount, day = normalize_qa(answer), number_of(answer), date_of(answer)
    for gold in golds:
        if said and said == normalize_qa(gold):
            return True
        if (amount is not None and amount == number_of(gold)) or (day is not None and day == date_of(gold)):
            return True
    return False


def sub_em(answer: str, golds: Sequence[str]) -> float:
    """Substring EM, guarded: 1.0 if a gold stands in an answer of at most 3 times its words plus 10, else 0.0.

    Without the guard an answer that lists every name there is would be right (the bound is this project's).
    """
    words = len(answer.split()) if len(answer) <= MAX_CHARS else MAX_CHARS
    near = [gold for gold in golds if words <= 3 * len(gold.split()) + 10]
    return contains(answer, near)


def guarded_f1(answer: str, golds: Sequence[str]) -> float:
    """Token F1 with the best gold, in [0, 1]; 1 where `same` says so, 0 for an answer over `MAX_CHARS`.

    A gold with which the answer shares words like `of` and no others counts as 0: half of all titles hold one, so that
    guessing would pay (this project's definition; `scoring.text.f1` is the published one).
    """
    if len(answer) > MAX_CHARS:
        return 0.0
    if same(answer, golds):
        return 1.0
    said = set(normalize_qa(answer).split()) - _EMPTY
    return f1(answer, [gold for gold in golds if not said.isdisjoint(normalize_qa(gold).split())])


def items_of(answer: str) -> list[str]:
    """The items of a list in an answer: between semicolons or new lines, or where there are none between commas."""
    mark = r"[;\n]" if re.search(r"[;\n]", answer) else ","
    items = (re.sub(r"^(?:[-*•]|\d{1,3}[.)]|and\b)\s*", "", item.strip()).strip() for item in re.split(mark, answer))
    return [item for item in items if item]


def set_f1(answer: Iterable[str], golds: Sequence[Sequence[str]]) -> float:
    """F1 in [0, 1] between the items of an answer and those wanted, each with its alternatives; each is matched once.

    Nothing wanted and nothing given is 1.
    """
    given = list(dict.fromkeys(normalize_qa(item) for item in answer))
    if not given and not golds:
        return 1.0
    left = list(golds)
    matched = 0
    for item in given:
        hit = next((gold for gold in left if same(item, gold)), None)
        if hit is not None:
            left.remove(hit)
            matched += 1
    return 2 * matched / (len(given) + len(golds)) if matched else 0.0


def abstains(answer: str) -> bool:
    """Whether the answer is that there is none: `unknown`, `I don't know`, `unanswerable` and the like, and no more."""
    return len(answer) <= MAX_CHARS and normalize_qa(answer) in _ABSTAINING


def nugget_recall(answer: str, nuggets: Sequence[Sequence[str]], longest: int = MAX_CHARS) -> float:
    """Share of the nuggets of which a wording stands in the answer as whole words, in [0, 1].

    An answer of more than `longest` characters has none, so that pouring out all that was read earns nothing (KARL
    measures recall with a judge; matching wordings is this project's definition). 1 where none is wanted.
    """
    if len(answer) > longest:
        return 0.0
    said = f" {normalize_qa(answer)} "
    held = sum(any(f" {wanted} " in said for text in nugget if (wanted := normalize_qa(text))) for nugget in nuggets)
    return held / len(nuggets) if nuggets else 1.0
