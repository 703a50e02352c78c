"""Porter's stemmer (M. F. Porter, An algorithm for suffix stripping, Program 14(3), 1980) with two departures.

The departures, `bli` -> `ble` and `logi` -> `log` in step 2, are the author's own later ones, and Lucene's.
"""

import re

_STEP_2 = (
    ("ational", "ate"),
    ("tional", "tion"),
    ("enci", "ence"),
    ("anci", "ance"),
    ("izer", "ize"),
    ("bli", "ble"),
    ("alli", "al"),
    ("entli", "ent"),
    ("eli", "e"),
    ("ousli", "ous"),
    ("ization", "ize"),
    ("ation", "ate"),
    ("ator", "ate"),
    ("alism", "al"),
    ("iveness", "ive"),
    ("fulness", "ful"),
    ("ousness", "ous"),
    ("aliti", "al"),
    ("iviti", "ive"),
    ("biliti", "ble"),
    ("logi", "log"),
)
_STEP_3 = (
    ("icate", "ic"),
    ("ative", ""),
    ("alize", "al"),
    ("iciti", "ic"),
    ("ical", "ic"),
    ("ful", ""),
    ("ness", ""),
)
_STEP_4 = re.findall(
    r"\w+", "al ance ence er ic able ible ant ement ment ent sion tion ou ism ate iti ous ive ize"
)  # the longer before the shorter


def stem(word: str) -> str:
    """The stem of a word in lower case; words of one or two letters are their own."""
    if len(word) < 3:
        return word
    word = _plural(word)
    word = _past(word)
    if word.endswith("y") and "v" in _shape(word[:-1]):
        word = word[:-1] + "i"
    word = _replace(_replace(word, _STEP_2), _STEP_3)
    word = _residue(word)
    return _tidy(word)


def _shape(word: str) -> str:
    """Each letter as "v" (vowel, or y after a consonant) or "c"."""
    shape = ""
    for letter in word:
        vowel = letter in "aeiou" or (letter == "y" and shape.endswith("c"))
        shape += "v" if vowel else "c"
    return shape


def _measure(word: str) -> int:
    """How often a consonant follows a vowel: m of [C](VC)^m[V]."""
    return _shape(word).count("vc")


def _ends_short(word: str) -> bool:
    """Whether it ends consonant, vowel, consonant, and the last is not w, x or y (*o of the paper)."""
    return _shape(word).endswith("cvc") and word[-1] not in "wxy"


def _ends_double(word: str) -> bool:
    """Whether it ends in two equal consonants."""
    return len(word) > 1 and word[-1] == word[-2] and _shape(word).endswith("c")


def _plural(word: str) -> str:
    """Step 1a."""
    if word.endswith(("sses", "ies")):
        return word[:-2]
    return word[:-1] if word.endswith("s") and not word.endswith("ss") else word


def _past(word: str) -> str:
    """Step 1b."""
    if word.endswith("eed"):
        return word[:-1] if _measure(word[:-3]) else word
    for suffix in ("ed", "ing"):
        root = word.removesuffix(suffix)
        if root != word:
            if "v" not in _shape(root):
                return word
            if root.endswith(("at", "bl", "iz")):
                return root + "e"
            if _ends_double(root):
                return root if root[-1] in "lsz" else root[:-1]
            return root + "e" if _measure(root) == 1 and _ends_short(root) else root
    return word


def _replace(word: str, rules: tuple[tuple[str, str], ...]) -> str:
    """Steps 2 and 3: the first suffix that fits decides, and goes if something is left to measure."""
    for suffix, new in rules:
        if word.endswith(suffix):
            root = word[: -len(suffix)]
            return root + new if _measure(root) else word
    return word


def _residue(word: str) -> str:
    """Step 4."""
    for suffix in _STEP_4:
        if word.endswith(suffix):
            root = word[: -len(suffix)] + (suffix[0] if suffix in ("sion", "tion") else "")
            return root if _measure(root) > 1 else word
    return word


def _tidy(word: str) -> str:
    """Step 5."""
    measure = _measure(word)
    if word.endswith("e") and (measure > 1 or (measure == 1 and not _ends_short(word[:-1]))):
        word = word[:-1]
    return word[:-1] if word.endswith("ll") and measure > 1 else word
