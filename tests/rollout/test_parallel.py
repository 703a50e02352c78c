"""Rescoring on several cores gives what one gives."""

import pytest

from tests.play import make
from tir_gym.rollout import RescoreError, record_of
from tir_gym.rollout.collect import play
from tir_gym.rollout.parallel import ALONE, rescore_many
from tir_gym.rollout.policies import POLICIES
from tir_gym.wrappers import FormatReward

ID = "toy/Archive-v0"


@pytest.fixture(scope="module")
def records():
    """As many as make processes worth while; every third was tampered with, every seventh is of other tasks."""
    env = FormatReward(make(ID)).unwrapped
    found = []
    for number in range(ALONE + 70):
        play(env, POLICIES["oracle" if number % 2 else "constant"], number)
        record = record_of(env, key=str(number))
        if number % 3 == 0:
            record = record.model_copy(update={"total": 9.0, "rewards": {"base": 9.0, "format": 0.0}})
        if number % 7 == 0:
            task = record.state.task.model_copy(update={"fingerprint": "0123456789abcdef"})
            record = record.model_copy(update={"state": record.state.model_copy(update={"task": task})})
        found.append(record)
    env.close()
    return found


def shown(pairs):
    return [
        (record.key, str(result) if isinstance(result, RescoreError) else result.model_dump_json())
        for record, result in pairs
    ]


def test_one_and_several_workers_give_the_same_in_the_same_order(records):
    alone = shown(rescore_many(records, workers=1))
    together = shown(rescore_many(iter(records), workers=2, modules=["tests.toys"]))
    assert alone == together
    assert [key for key, _ in alone] == [record.key for record in records]
    assert sum("these are other tasks" in result for _, result in alone) == len(records[::7])
    assert not any('"total":9.0' in result for _, result in alone)


def test_it_can_be_left_half_way(records):
    pairs = rescore_many(records, workers=2, modules=["tests.toys"])
    next(pairs)
    pairs.close()


def test_few_records_start_no_process(records):
    assert len(shown(rescore_many(records[:5], workers=8))) == 5
    with pytest.raises(ValueError, match="at least 1"):
        next(rescore_many(records, workers=0))
