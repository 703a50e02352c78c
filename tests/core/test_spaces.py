"""`Unicode`: a Gymnasium space of any text."""

import copy
import pickle

import pytest
from gymnasium import spaces
from gymnasium.error import CustomSpaceError
from gymnasium.vector.utils import batch_space, create_shared_memory
from hypothesis import given
from hypothesis import strategies as st

from tir_gym.core.action import Completion
from tir_gym.core.spaces import Unicode


@given(text=st.text(st.characters(), max_size=30), limit=st.integers(1, 30))
def test_any_text_up_to_the_length_belongs_to_it(text, limit):
    assert Unicode(limit).contains(text) == (len(text) <= limit)
    assert (text in Unicode(limit)) == (len(text) <= limit)


def test_what_is_no_text_does_not_belong_to_it():
    assert "" in Unicode(1)
    assert "\ud800" in Unicode(1)
    assert Completion("yes", stop_reason="stop") in Unicode()
    for other in (None, 3, b"bytes", ["a"], {"text": "a"}):
        assert other not in Unicode()


def test_samples_belong_to_it_and_follow_the_seed():
    space = Unicode(10, seed=3)
    drawn = [space.sample() for _ in range(100)]
    assert all(text in space for text in drawn)
    assert len(set(drawn)) > 50
    assert {len(text) for text in drawn} == set(range(11))
    assert [Unicode(10, seed=3).sample() for _ in range(2)] == [drawn[0]] * 2
    space.seed(3)
    assert [space.sample() for _ in range(100)] == drawn
    with pytest.raises(ValueError, match="no mask"):
        space.sample(mask=(1, None))
    with pytest.raises(ValueError, match="no probability"):
        space.sample(probability=(1, None))


def test_equal_spaces_have_equal_lengths():
    assert Unicode(5) == Unicode(5)
    assert hash(Unicode(5)) == hash(Unicode(5))
    assert Unicode(5) != Unicode(6)
    assert Unicode(5) != spaces.Text(5)
    assert repr(Unicode(5)) == "Unicode(5)"
    with pytest.raises(ValueError, match="max_length=0 must be at least 1"):
        Unicode(0)


def test_it_is_a_text_space_that_copies_and_pickles_with_its_generator():
    space = Unicode(20, seed=1)
    assert isinstance(space, spaces.Text)
    twins = [copy.deepcopy(space), pickle.loads(pickle.dumps(space))]
    drawn = [space.sample() for _ in range(3)]
    for twin in twins:
        assert twin == space
        assert [twin.sample() for _ in range(3)] == drawn


def test_texts_are_json_as_they_are():
    texts = ("a", "\ud800", "")
    assert Unicode().to_jsonable(texts) == list(texts)
    assert Unicode().from_jsonable(list(texts)) == list(texts)


def test_it_has_no_array_form():
    assert not Unicode().is_np_flattenable
    assert isinstance(spaces.flatten_space(spaces.Dict({"text": Unicode()})), spaces.Dict)


def test_it_is_batched_but_never_shared():
    batch = batch_space(Unicode(5), 3)
    assert ("a", "", "bcd") in batch
    assert ("a", "", "bcdefg") not in batch
    with pytest.raises(CustomSpaceError, match="shared_memory=False"):
        create_shared_memory(Unicode(5), n=3)
