"""MessagePack: examples from its specification, and there and back."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tir_gym.retrieval.msgpack import packb, unpackb

DEEP = "91" * 99
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 63), (1 << 64) - 1) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)


@settings(max_examples=30, deadline=None)
@given(VALUES)
def test_there_and_back(value):
    assert unpackb(packb(value)) == value


@pytest.mark.parametrize("size", [0, 15, 16, 31, 32, 255, 256])
def test_every_length(size):
    for value in ("x" * size, list(range(size)), {str(i): None for i in range(size)}):
        assert unpackb(packb(value)) == value


def test_the_longest_forms():
    for value in ("x" * 65_535, "x" * 65_536, [0] * 65_536):
        assert unpackb(packb(value)) == value


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        ("82a7636f6d70616374c3a6736368656d6100", {"compact": True, "schema": 0}),  # the example of msgpack.org
        ("93c0c2c3", [None, False, True]),
        ("cc80", 128),
        ("cd0100", 256),
        ("ce00010000", 65_536),
        ("d0df", -33),
        ("d1ff00", -256),
        ("d2ffff0000", -65_536),
        ("ca3fc00000", 1.5),
        ("d903616263", "abc"),
        ("c4026162", b"ab"),
        ("dc000101", [1]),
        ("de0001a161c0", {"a": None}),
    ],
)
def test_forms_that_others_write(raw, value):
    assert unpackb(bytes.fromhex(raw)) == value


@pytest.mark.parametrize(
    "raw", ["", "92c0", "a3616", "c1", "c0c0", "dd7fffffff", "dbffffffff61", "81c0", "8190c0", "91" * 99]
)
def test_what_is_no_message(raw):
    with pytest.raises(ValueError):
        unpackb(bytes.fromhex(raw))


def test_what_cannot_be_packed():
    with pytest.raises(TypeError, match="set"):
        packb({1})
    with pytest.raises(OverflowError):
        packb(1 << 64)
