"""Rows as arrays: padded, packed and flat hold the same tokens, and say where everything is."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.rollout.test_tokens import IDS, STEPS, filled
from tir_gym.rollout.batch import packs, padded_buffers, split, to_csr, to_packed, to_padded
from tir_gym.rollout.tokens import NO_VERSION, ImageRef, Role, TokenRollout

ROWS = st.lists(st.tuples(IDS, STEPS, st.booleans()), min_size=1, max_size=6)


def rows_of(drawn):
    found = []
    for prompt, steps, valid in drawn:
        rollout = filled(prompt, steps)
        rollout.valid = valid
        found += rollout.rows()
    return found


def some(*lengths):
    rows = []
    for length in lengths:
        rollout = TokenRollout()
        rollout.append_prompt([1] * (length - 1))
        rollout.append_sampled([2])
        rows += rollout.rows()
    return rows


def spoiled(name, spoil):
    buffers = padded_buffers(2, 4)
    return replace(buffers, **{name: spoil(getattr(buffers, name))})


@settings(deadline=None, max_examples=30)
@given(ROWS, st.sampled_from(["left", "right"]), st.integers(1, 9))
def test_a_padded_batch_holds_each_row_and_nothing_else(drawn, side, multiple):
    rows = rows_of(drawn)
    batch = to_padded(rows, side=side, multiple_of=multiple, pad=99_999)
    longest = max(map(len, rows))
    assert batch.ids.shape[1] % multiple == 0
    assert longest <= batch.ids.shape[1] < longest + multiple
    for r, row in enumerate(rows):
        here = batch.attention_mask[r]
        first = int(here.argmax())
        assert (first + len(row) == here.size) if side == "left" else first == 0
        assert batch.ids[r][here].tolist() == row.ids.tolist()
        assert (batch.ids[r][~here] == 99_999).all()
        assert batch.position_ids[r][here].tolist() == list(range(len(row)))
        assert not batch.position_ids[r][~here].any()
        assert batch.loss_mask[r][here].tolist() == row.loss_mask().tolist()
        assert not batch.loss_mask[r][~here].any()
        assert batch.roles[r][here].tolist() == row.roles.tolist()
        assert batch.logprobs[r][here].tolist() == row.logprobs.tolist()
        assert batch.versions[r][here].tolist() == row.versions.tolist()
        assert (batch.versions[r][~here] == NO_VERSION).all()
        turns = slice(batch.rows.turns.ptr[r], batch.rows.turns.ptr[r + 1])
        ends = batch.rows.turns.end[turns]
        assert batch.ids[r][ends].tolist() == [row.ids[end - 1] for end in row.turn_end]
        np.testing.assert_array_equal(batch.rows.turns.reward[turns], row.turn_reward)
    assert batch.waste == pytest.approx(1 - batch.attention_mask.mean())
    assert batch.rows.valid.tolist() == [row.valid for row in rows]


@settings(deadline=None, max_examples=30)
@given(ROWS, st.integers(0, 40))
def test_packs_hold_every_row_once_within_the_budget(drawn, spare):
    rows = rows_of(drawn)
    budget = max(map(len, rows)) + spare
    batches = to_packed(rows, budget)
    assert sorted(i for batch in batches for i in batch.indices.tolist()) == list(range(len(rows)))
    for batch in batches:
        assert len(batch.ids) <= budget
        assert batch.cu_seqlens[-1] == len(batch.ids)
        for index, start, end in zip(batch.indices, batch.cu_seqlens[:-1], batch.cu_seqlens[1:], strict=True):
            assert batch.ids[start:end].tolist() == rows[index].ids.tolist()
            assert batch.loss_mask[start:end].tolist() == rows[index].loss_mask().tolist()
            assert batch.position_ids[start:end].tolist() == list(range(end - start))


@settings(deadline=None, max_examples=30)
@given(ROWS)
def test_rows_one_after_another_are_in_their_order(drawn):
    rows = rows_of(drawn)
    batch = to_csr(rows)
    assert batch.ids.tolist() == [i for row in rows for i in row.ids]
    assert batch.indices.tolist() == list(range(len(rows)))
    starts = batch.rows.turns.start.tolist()
    assert batch.ids[starts].tolist() == [row.ids[start] for row in rows for start in row.turn_start]


@settings(deadline=None, max_examples=30)
@given(ROWS)
def test_an_advantage_lies_on_the_sampled_tokens_of_its_turn(drawn):
    rows = rows_of(drawn)
    by_turn = [[float(10 * r + t + 1) for t in range(len(row.turn_start))] for r, row in enumerate(rows)]
    flat, padded = to_csr(rows, advantages=by_turn), to_padded(rows, advantages=by_turn)
    assert padded.advantages[padded.attention_mask].tolist() == flat.advantages.tolist()
    for r, row in enumerate(rows):
        expected = np.zeros(len(row), np.float32)
        for value, start, end in zip(by_turn[r], row.turn_start, row.turn_end, strict=True):
            expected[start:end] = value if row.valid else 0.0
        assert padded.advantages[r, : len(row)].tolist() == expected.tolist()
    one = np.arange(1, len(rows) + 1, dtype=np.float32)
    everywhere = to_padded(rows, advantages=one)
    assert set(everywhere.advantages[0].tolist()) <= {0.0, 1.0}
    for batch in to_packed(rows, sum(map(len, rows)), advantages=one):
        assert set(batch.advantages.tolist()) <= {0.0, *one.tolist()}


@pytest.mark.parametrize("advantage", [np.nan, [np.nan, 1.0]])
def test_an_advantage_that_an_invalid_episode_has_not_poisons_nothing(advantage):
    rollout = filled([1], [([2, 3], 0, 0.0, Role.TOOL, [4]), ([5], 0, np.nan, Role.TOOL, [6])])
    rollout.valid = False
    rows = rollout.rows() + some(3)
    advantages = [advantage, 2.0]
    padded, flat = to_padded(rows, advantages=advantages), to_csr(rows, advantages=advantages)
    for batch in (padded, flat, *to_packed(rows, 9, advantages=advantages)):
        assert (batch.advantages * batch.loss_mask).sum() == 2.0


def test_an_unknown_advantage_of_a_valid_row_is_not_learned_from():
    """Its reward failed, say: nan * 0 is nan, so it must not reach the loss at all."""
    rows = filled([1], [([2, 3], 0, 1.0, Role.TOOL, [4]), ([5], 0, 0.0, Role.TOOL, [6])]).rows() + some(3)
    advantages = [[2.0, np.nan], np.nan]
    for batch in (to_padded(rows, advantages=advantages), to_csr(rows, advantages=advantages)):
        assert batch.advantages[batch.loss_mask].tolist() == [2.0, 2.0]
        assert np.count_nonzero(batch.advantages) == 2


def test_advantages_may_be_arrays():
    rows = some(3, 4)
    for advantages in (np.array([1.0, 2.0]), [np.array(1.0), np.array([2.0])], np.array([[1.0], [2.0]])):
        assert to_csr(rows, advantages=advantages).advantages.tolist() == [0, 0, 1, 0, 0, 0, 2]


def test_what_forks_share_is_learned_from_once():
    parent = filled([1], [([2, 3], 0, 0.0, Role.TOOL, [4])], episode="a")
    child = parent.fork("b")
    child.append_sampled([5])
    rows = parent.rows() + child.rows()
    assert to_padded(rows, once=True).loss_mask.sum() == to_csr(rows, once=True).loss_mask.sum() == 3
    assert to_padded(rows).loss_mask.sum() == to_csr(rows).loss_mask.sum() == 5


@settings(deadline=None, max_examples=30)
@given(ROWS, ROWS)
def test_buffers_are_written_over(first, second):
    before, rows = rows_of(first), rows_of(second)
    width = max(map(len, before + rows))
    buffers = padded_buffers(max(len(before), len(rows)), width)
    to_padded(before, out=buffers, advantages=[1.0] * len(before), pad=7)
    used, fresh = to_padded(rows, out=buffers), to_padded(rows, length=width)
    assert np.shares_memory(used.ids, buffers.ids)
    for name in ("ids", "attention_mask", "position_ids", "roles", "loss_mask", "logprobs", "versions", "advantages"):
        assert np.array_equal(getattr(used, name), getattr(fresh, name)), name


def test_arrays_go_to_other_libraries_without_a_copy():
    batch = to_padded(some(3, 4))
    for values in (batch.ids, batch.logprobs, batch.loss_mask, batch.advantages):
        assert values.flags.c_contiguous
        assert values.flags.writeable
        assert np.shares_memory(np.from_dlpack(values), values)


def test_torch_takes_the_arrays_without_a_copy():
    torch = pytest.importorskip("torch")
    batch = to_padded(some(3, 4))
    for values in (batch.ids, batch.logprobs, batch.loss_mask, batch.advantages):
        tensor = torch.from_dlpack(values)
        assert tensor.shape == values.shape
        values.flat[0] = 1
        assert tensor.flatten()[0] == 1


def with_images(*places):
    rollout = TokenRollout(episode=f"e{len(places)}", group="g")
    rollout.append_prompt([1] * 5, [ImageRef(f"i{at}", at) for at in places])
    rollout.append_sampled([2])
    return rollout.rows()[0]


def test_a_batch_says_where_the_images_of_its_rows_are():
    rows = [with_images(3), with_images(), with_images(0, 4)]
    left, flat = to_padded(rows, side="left", length=8).rows, to_csr(rows).rows
    (pack,) = to_packed(rows, 100)
    assert left.images.ptr.tolist() == flat.images.ptr.tolist() == [0, 1, 1, 3]
    assert left.images.ids == flat.images.ids == ("i3", "i0", "i4")
    assert (left.images.at.tolist(), flat.images.at.tolist()) == ([5, 2, 6], [3, 12, 16])
    assert [pack.rows.episodes[r] for r in range(3)] == [rows[i].episode for i in pack.indices]
    assert left.episodes == ("e1", "e0", "e2")
    assert left.groups == ("g", "g", "g")


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(1, 500), min_size=1, max_size=60), st.integers(1, 8))
def test_ranks_get_as_many_rows_and_nearly_as_many_tokens(lengths, ranks):
    rows = some(*lengths)
    if ranks > len(rows):
        with pytest.raises(ValueError, match="each needs one"):
            split(rows, ranks)
        return
    parts = split(rows, ranks)
    assert sorted(i for part in parts for i in part) == list(range(len(rows)))
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    tokens = [sum(len(rows[i]) for i in part) for part in parts]
    assert max(tokens) - min(tokens) <= max(lengths)


def test_first_fit_decreasing_fills_packs():
    assert packs(np.array([3, 7, 5, 5]), 10) == [[1, 0], [2, 3]]
    lengths = np.random.default_rng(0).lognormal(6, 0.7, 1_024).clip(1, 4_096).astype(np.int64)
    assert lengths.sum() / (len(packs(lengths, 8_192)) * 8_192) >= 0.97


@pytest.mark.parametrize(
    ("misuse", "message"),
    [
        (lambda: to_padded([]), "no rows"),
        (lambda: to_padded(some(3), side="top"), "side='top'"),
        (lambda: to_padded(some(3), multiple_of=0), "multiple_of=0"),
        (lambda: to_padded(some(2, 9), length=8), "row 1 has 9 tokens, more than length=8"),
        (lambda: to_padded(some(3), out=padded_buffers(1, 2)), "too small"),
        (lambda: to_padded(some(3), out=padded_buffers(1, 9), multiple_of=4), "9 wide, not a multiple of 4"),
        (lambda: to_padded(some(3), out=spoiled("ids", lambda a: np.asfortranarray(a))), "out.ids is int32"),
        (lambda: to_padded(some(3), out=spoiled("loss_mask", lambda a: a[:, ::2])), "out.loss_mask is bool"),
        (lambda: to_padded(some(3), out=spoiled("versions", lambda a: a.astype(np.int64))), "out.versions is int64"),
        (lambda: to_padded(some(3), out=spoiled("roles", lambda a: a[:1])), "out.roles is uint8"),
        (lambda: to_padded(some(3, 3), advantages=[1.0]), "1 advantages for 2 rows"),
        (lambda: to_packed(some(3, 5), 5, advantages=[[1.0, 2.0], 1.0]), "row 0 has 1 turns, but 2 advantages"),
        (lambda: to_csr(some(3), advantages=[[1.0, 2.0]]), "row 0 has 1 turns, but 2 advantages"),
        (lambda: to_packed(some(2, 9), 8), "row 1 has 9 tokens, more than budget=8"),
        (lambda: split(some(2), 0), "ranks=0"),
    ],
)
def test_misuse_is_refused_by_name(misuse, message):
    with pytest.raises(ValueError, match=message):
        misuse()


def test_pinned_memory_is_refused_where_there_is_no_gpu():
    with pytest.raises(RuntimeError, match="pinned memory"):
        padded_buffers(1, 1, pinned=True)
