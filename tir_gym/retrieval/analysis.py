"""Text to terms, as Lucene's `EnglishAnalyzer` (and with it Anserini) does it.

Words by the rules of Unicode Standard Annex 29 as `StandardTokenizer` reads them, without possessive 's, in lower case,
without 33 stop words, stemmed by Porter's algorithm. What differs: words in scripts that need a dictionary (Thai, Lao,
Khmer, Myanmar) follow Python's character tables, and every emoji is a term of its own.
"""

import re
import sys
import unicodedata
from functools import cache, lru_cache
from itertools import chain

from tir_gym.retrieval.porter import stem

NAME = "lucene-english-1"
"""Names this analysis in the manifest of an index."""

STOP_WORDS = frozenset(
    re.findall(
        r"\w+",
        "a an and are as at be but by for if in into is it no not of on or such that the their then there these they "
        "this to was will with",
    )
)

MAX_TOKEN = 255
"""Longer tokens are cut into pieces of this many characters."""

_ASCII = re.compile(r"(?<!_)_*+[a-z0-9](?:[a-z0-9_]++|(?<=[a-z])[:.'](?=[a-z])|(?<=[0-9])[.,;'](?=[0-9]))*+")
_POSSESSIVE = ("'s", "’s", "＇s")

_HAN = r"\u2e80-\u2fd5\u3007\u3021-\u3029\u3038-\u303b\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_HIRAGANA = r"\u3041-\u3096\u309d-\u309f\U0001b001-\U0001b11f"
_KATAKANA = r"\u3031-\u3035\u309b\u309c\u30a0-\u30fa\u30fc-\u30ff\u31f0-\u31ff\u32d0-\u32fe\u3300-\u3357\uff66-\uff9f"
_DICTIONARY = r"\u0e01-\u0e3a\u0e40-\u0e4e\u0e81-\u0edf\u1000-\u109f\u1780-\u17dd"
_EMOJI = r"\xa9\xae\u2122\U0001f1e6-\U0001f64f\U0001f680-\U0001f6ff\U0001f900-\U0001faff"
_JOINING = r"_\u202f\u203f\u2040\u2054\ufe33\ufe34\ufe4d-\ufe4f\uff3f"
_MID_BOTH = r".'\u2018\u2019\u2024\ufe52\uff07\uff0e"
_MID_LETTER = r":\xb7\u0387\u055f\u05f4\u2027\ufe13\ufe55\uff1a" + _MID_BOTH
_MID_NUMBER = r",;\u037e\u0589\u060c\u060d\u066c\u07f8\u2044\ufe10\ufe14\ufe50\ufe54\uff0c\uff1b" + _MID_BOTH
"""Classes of Unicode's WordBreakProperty and of scripts, as the insides of character classes."""


@cache
def _unicode() -> re.Pattern[str]:
    """The pattern for text beyond ASCII; made at first need, from Python's character tables."""
    marks, numbers = [], []
    for code in chain(range(0x80, 0x20000), range(0xE0000, min(0xE01F0, sys.maxunicode))):
        match unicodedata.category(chr(code)):
            case "Mn" | "Mc" | "Me" | "Cf" if code != 0x200B:
                marks.append(code)
            case "No":
                numbers.append(code)
    mark, number = _ranges(marks), _ranges(numbers)
    alone = _HAN + _HIRAGANA + _KATAKANA + _DICTIONARY
    letter = rf"[^\W\d_{number}{alone}]"
    word = (
        rf"(?:(?<![{_JOINING}{mark}])(?:[{_JOINING}][{mark}]*+)++)?+(?:{letter}|\d)(?:(?:{letter}|[\d{_JOINING}{mark}])++"
        rf"|(?:(?<={letter})|(?<=[{mark}]))[{_MID_LETTER}](?={letter})|(?<=\d)[{_MID_NUMBER}](?=\d))*+"
    )
    return re.compile(
        rf"{word}|[{_HAN}{_HIRAGANA}{_EMOJI}][{mark}]*+|[{_KATAKANA}][{_KATAKANA}{mark}]*+"
        rf"|[{_DICTIONARY}][{_DICTIONARY}{mark}]*+"
    )


def _ranges(codes: list[int]) -> str:
    """Code points in ascending order as the inside of a character class."""
    spans: list[list[int]] = []
    for code in codes:
        if spans and spans[-1][1] == code - 1:
            spans[-1][1] = code
        else:
            spans.append([code, code])
    return "".join(f"\\U{low:08x}-\\U{high:08x}" for low, high in spans)


def words(text: str) -> list[str]:
    """The words of a text, in lower case, with stop words and endings."""
    lower = text.replace("İ", "i").lower()
    found: list[str] = (_ASCII if lower.isascii() else _unicode()).findall(lower)
    if found and max(map(len, found)) > MAX_TOKEN:
        found = [word[at : at + MAX_TOKEN] for word in found for at in range(0, len(word), MAX_TOKEN)]
    return found


@lru_cache(1 << 16)
def term(word: str) -> str:
    """The term that a word from `words` is found by; "" for a stop word."""
    if word.endswith(_POSSESSIVE):
        word = word[:-2]
    return "" if word in STOP_WORDS else stem(word)


def terms(text: str) -> list[str]:
    """The terms of a text, in order."""
    return [found for found in map(term, words(text)) if found]
