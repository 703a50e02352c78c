"""Terms are those of Lucene; the expected ones were written by it (`lucene_terms.json`)."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tir_gym.retrieval.analysis import MAX_TOKEN, terms, words
from tir_gym.retrieval.porter import stem

LUCENE = json.loads((Path(__file__).parent / "lucene_terms.json").read_text())


@pytest.mark.parametrize(("text", "expected"), LUCENE["texts"])
def test_terms_of_a_text(text, expected):
    assert terms(text) == expected


def test_stems():
    assert {word: stem(word) for word in LUCENE["stems"]} == LUCENE["stems"]


@settings(max_examples=50, deadline=None)
@given(st.text())
def test_words_are_pieces_of_the_text_in_order(text):
    lower, at = text.replace("İ", "i").lower(), 0
    for word in words(text):
        assert 0 < len(word) <= MAX_TOKEN
        at = lower.index(word, at) + len(word)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.text(st.characters(codec="ascii"))))
def test_ascii_reads_the_same_beside_other_scripts(parts):
    text = " ".join(parts)
    assert terms(f"{text} é") == [*terms(text), "é"]


def test_any_text_is_read_in_linear_time():
    for text in ("_" * 50_000, "a." * 20_000, "1," * 20_000, "é'" * 20_000, "\u0301_" * 20_000):
        terms(text)
