"""Seeds from seeds. The numbers here are pinned: if they change, every recorded episode is lost."""

import random
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tir_gym.core.action import Part
from tir_gym.core.seeding import derive, episode_seed

parts = st.lists(st.integers() | st.text(max_size=4), max_size=4)


def test_known_values():
    assert derive() == 5_460_801_731_388_113_703
    assert derive(0) == 7_210_762_507_766_007_076
    assert derive("world", 7) == 2_643_181_646_505_851_831
    assert derive("world", "7") == 6_647_480_989_063_227_393
    assert derive("é\ud800", -1) == 6_456_703_987_530_329_307
    assert episode_seed(0, 0, 0) == 6_854_344_302_627_926_022
    assert episode_seed(2**62, 3, 1) == 1_281_947_412_696_346_684


@given(one=parts, other=parts)
def test_seeds_differ_wherever_a_part_does(one, other):
    assert (derive(*one) == derive(*other)) == (one == other)


@given(parts)
def test_seeds_have_63_bits_and_leave_global_random_state_alone(given_parts):
    before = random.getstate(), np.random.get_state()[1].tolist()
    assert 0 <= derive(*given_parts) < 2**63
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before


def test_what_equals_an_int_or_a_string_gives_its_seed():
    assert derive(np.int64(5), np.str_("a"), Part.CALL) == derive(5, "a", "call")
    assert episode_seed(np.int32(5), 0, True) == episode_seed(5, 0, 1)
    with pytest.raises(TypeError):
        derive(1.5)


def test_the_seed_is_the_same_in_another_process():
    program = "from tir_gym.core.seeding import derive; print(derive('x', 1))"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    assert int(done.stdout) == derive("x", 1)


def test_episodes_of_slots_and_bases_have_seeds_of_their_own():
    seeds = {episode_seed(base, slot, k) for base in range(5) for slot in range(5) for k in range(5)}
    assert len(seeds) == 125
