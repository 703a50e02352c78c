"""What the machine measured is kept apart from what is deterministic."""

import dataclasses

import pytest

from tests.play import ALL_IDS, make, plain, play_oracle
from tir_gym.core.interfaces import Measured
from tir_gym.rollout import record_of

pytestmark = pytest.mark.parametrize("env_id", ALL_IDS)


def names(value):
    if isinstance(value, dict):
        for key, item in value.items():
            yield key
            yield from names(item)


def test_readings_of_the_machine_take_no_part_in_equality_digest_or_info(env_id):
    env = make(env_id)
    play_oracle(env, 2)
    calls, digest = list(env.episode.calls), env.episode.digest
    _, _, _, _, info = env.step("")
    play_oracle(env, 2)
    assert env.episode.calls == calls
    assert env.episode.digest == digest
    assert calls == [dataclasses.replace(call, measured=Measured(1e9, 1e9, 1e9)) for call in calls]
    assert not {"wall_s", "cpu_s", "memory_mb", "pid", "measured", "time"} & set(names(info))
    if env.setting.domain.runs_code:
        runs = [call for call in calls if call.tool in ("python", "bash")]
        assert runs
        assert all(call.measured.wall_s > 0 for call in runs)
    env.close()


def test_virtual_time_is_made_of_declared_latencies_alone(env_id):
    env = make(env_id)
    clocks = set()
    for _ in range(3):
        play_oracle(env, 2)
        clocks.add(env.episode.clock)
        assert env.episode.clock <= sum(call.latency_s for call in env.episode.calls) + 1e-9
    assert len(clocks) == 1
    env.close()


def test_the_record_keeps_the_readings_beside_the_rest(env_id):
    env = make(env_id)
    play_oracle(env, 2)
    first = record_of(env).model_dump()
    play_oracle(env, 2)
    second = record_of(env).model_dump()
    for record in (first, second):
        for call in record["calls"]:
            assert set(call.pop("measured")) == {"wall_s", "cpu_s", "memory_mb"}
    assert plain(first) == plain(second)
    env.close()
