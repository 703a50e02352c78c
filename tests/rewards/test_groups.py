"""Statistics of rollouts, and the schedules that training drives."""

import math
import pickle
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.play import make
from tests.rewards.views import searched
from tir_gym.core.view import Progress
from tir_gym.rewards import RewardProgram, Term
from tir_gym.rewards.catalogue import program_of
from tir_gym.rewards.cost import ToolOrchestra
from tir_gym.rewards.efficiency import OTC, PixelReasoner
from tir_gym.rewards.format import TurnFormat
from tir_gym.rewards.groups import GroupStore
from tir_gym.rewards.program import Base
from tir_gym.rewards.schedules import (
    Cosine,
    Piecewise,
    Sigmoid,
    Stages,
    cosine,
    piecewise,
    ruscarl_reveal,
    sigmoid,
    stages,
)
from tir_gym.rollout import finalize_group, record_of
from tir_gym.rollout.collect import play
from tir_gym.rollout.policies import POLICIES, ScriptedPolicy

ID = "toy/Archive-v0"
PROGRAM = RewardProgram((Term(Base(), 0.0), OTC(), PixelReasoner(), ToolOrchestra(tools=(("search", 1.0),))))


@pytest.fixture(scope="module")
def records():
    """Rollouts of one task: the oracle's two calls, one that dawdles, one that knows, and one that is wrong."""
    env = make(ID, rewards=PROGRAM)
    play(env, POLICIES["oracle"], 3)
    oracle = record_of(env)
    turns = [data.action().raw for data in oracle.state.actions]
    courses = [[*turns[:2], turns[1], turns[2]], [turns[-1]], [turns[0], "<answer>1</answer>"]]
    found = [oracle]
    for course in courses:
        env.reset(seed=3)
        for text in course:
            env.step(text)
        found.append(record_of(env))
    env.close()
    return found


def test_a_group_gives_every_member_its_reward(records):
    assert all(math.isnan(record.total) for record in records if record.verdict.value)
    done = finalize_group(records)
    two, three, none, wrong = (record.rewards for record in done)
    assert none["otc"] == 1.0
    assert 0 < three["otc"] < two["otc"] < 1.0
    assert wrong["otc"] == 0.0
    assert done[0].group.least_calls == 0
    assert (done[0].group.rollouts, done[0].group.correct, done[0].group.with_calls) == (4, 3, 3)
    assert done[0].group.ranges["calls:search"] == (0.0, 3.0)
    assert wrong["toolorchestra"] == 0.0 < three["toolorchestra"]
    assert not math.isnan(done[0].total)


@settings(deadline=None, max_examples=20)
@given(st.randoms(use_true_random=False))
def test_no_order_of_rollouts_changes_a_snapshot_or_a_reward(records, rng):
    shuffled = list(records)
    rng.shuffle(shuffled)
    stores = [GroupStore(), GroupStore()]
    stores[0].add(records)
    for record in shuffled:
        stores[1].add([record])
    assert stores[0].freeze() == stores[1].freeze()
    wanted = {id(r): d.rewards for r, d in zip(records, finalize_group(records), strict=True)}
    assert all(wanted[id(r)] == d.rewards for r, d in zip(shuffled, finalize_group(shuffled), strict=True))


def test_what_was_known_before_counts_too(records):
    store = GroupStore()
    store.add([records[2]])
    before = store.freeze()
    assert finalize_group([records[0]])[0].rewards["otc"] == 1.0
    assert finalize_group([records[0]], store=store)[0].rewards["otc"] < 1.0
    assert before.view(ID, records[0].state.task.id).rollouts == 1
    assert before.id != store.freeze().id


def test_a_snapshot_gives_the_number_live_and_is_in_the_record(records):
    store = GroupStore()
    store.add(records)
    snapshot = pickle.loads(pickle.dumps(store.freeze()))
    env = make(ID, rewards=PROGRAM)
    env.set_groups(snapshot)
    play(env, POLICIES["oracle"], 3)
    record = record_of(env)
    assert record.group.snapshot == snapshot.id
    assert record.rewards["otc"] == finalize_group(records)[0].rewards["otc"]
    play(env, lambda *_: ScriptedPolicy(["<answer>1</answer>"]), 4)
    unknown = record_of(env).group
    assert (unknown.known, unknown.rollouts) == (True, 0)
    env.close()


def test_rollouts_without_a_verdict_say_nothing(records):
    broken = records[0].model_copy(update={"valid": False, "outcome": "judge_error"})
    store = GroupStore()
    store.add([broken])
    assert store.freeze().tasks == {}
    assert finalize_group([broken]) == [broken]


def test_schedules():
    points = ((0, 1.0), (10, 0.0), (20, 0.5))
    assert [piecewise(step, points) for step in (-5, 0, 5, 10, 15, 20, 99)] == [1.0, 1.0, 0.5, 0.0, 0.25, 0.5, 0.5]
    assert [cosine(step, 10) for step in (0, 10, 11)] == pytest.approx([1.0, 0.0, 0.0])
    assert sigmoid(0.2) == 0.5
    assert sigmoid(1e9) == pytest.approx(0.0)
    assert [stages(step, (6, 3, 0), 50) for step in (0, 49, 50, 1000)] == [6, 6, 3, 0]
    assert ruscarl_reveal(0, 1, 0.0) == pytest.approx(1.0)
    for bad in ((), ((1, 0.0), (1, 1.0))):
        with pytest.raises(ValueError, match="rising steps"):
            piecewise(0, bad)


def test_a_term_can_follow_training():
    plain = Term(TurnFormat())
    for schedule, at, value in (
        (Piecewise(((0, 1.0), (10, 0.0))), Progress(5), 0.5),
        (Cosine(10), Progress(10), 0.0),
        (Cosine(), Progress(5, 10), 0.5),
        (Cosine(), Progress(5), 1.0),
        (Sigmoid(), Progress(2, 10), 0.5),
        (Stages((1.0, 0.25), 10), Progress(10), 0.25),
    ):
        term = replace(plain, schedule=schedule)
        assert term.evaluate(searched(progress=at))["format"] == pytest.approx(value)
        program = RewardProgram((term,))
        assert program_of(program.data()) == program
    for bad in (lambda: Piecewise(()), lambda: Stages((), 1), lambda: Stages((1.0,), 0)):
        with pytest.raises(ValueError, match="need"):
            bad()


@given(st.lists(st.floats(0, 1), min_size=2, max_size=8, unique=True))
def test_fading_schedules_never_rise(shares):
    shares.sort()
    for schedule in (sigmoid, lambda share: cosine(share, 1.0), lambda share: ruscarl_reveal(1, 4, share)):
        values = [schedule(share) for share in shares]
        assert values == sorted(values, reverse=True)
