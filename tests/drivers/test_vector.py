"""The vector environment: send and receive, stragglers, autoreset modes, groups and copies, asyncio."""

import asyncio
import math

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.error import ClosedEnvironmentError
from gymnasium.vector import AutoresetMode
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import tir_gym
from tests.contract.test_drivers import observation_of, take_apart
from tests.play import as_bytes, make, plain, play_oracle, replay
from tir_gym.core.interfaces import ForkError
from tir_gym.drivers.vector import Straggler

MATH = "tir/MathCode-v0"
CALL = '<call name="python"><arg name="code">{}</arg></call>'
HANG = CALL.format("while True: pass")
ANSWER = "<answer>0</answer>"


def rows(batch):
    """(slot, what `ToolEnv.step` returned for it) of what was received, and the reset that came with it."""
    observations, rewards, terminations, truncations, infos = batch
    for row, slot in enumerate(infos["env_id"].tolist() if "env_id" in infos else []):
        over = bool(terminations[row] or truncations[row])
        info = take_apart(infos, row)
        info.pop("env_id")
        final = info.pop("final_obs", None), info.pop("final_info", None)
        news = observation_of(observations, row), info
        observation, said = final if over and final[1] else news
        yield slot, (observation, float(rewards[row]), bool(terminations[row]), bool(truncations[row]), said), news


@pytest.mark.parametrize("env_id", [MATH, "toy/Helpdesk-v0", "toy/Shapes-v0"])
@settings(deadline=None, max_examples=4, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_any_order_of_sending_and_receiving_gives_the_bytes_of_single_environments(env_id, data):
    seeds = [3, 4, 5, 6]
    env = make(env_id)
    texts = [play_oracle(env, seed) for seed in seeds]
    alone = [replay(env, seed, texts[i]) for i, seed in enumerate(seeds)]
    env.close()
    vector = tir_gym.make_vec(env_id, len(seeds), max_running=data.draw(st.sampled_from([1, 2, None])))
    observations, infos = vector.reset(seed=seeds)
    together = [[(observation_of(observations, i), take_apart(infos, i))] for i in range(len(seeds))]
    left = {i: list(own) for i, own in enumerate(texts)}
    resting = set(left)
    while left:
        able = sorted(resting & set(left))
        if able and (vector.in_flight == 0 or data.draw(st.booleans())):
            chosen = data.draw(st.lists(st.sampled_from(able), min_size=1, unique=True))
            vector.send([left[i].pop(0) for i in chosen], chosen)
            resting -= set(chosen)
        else:
            batch = vector.recv(data.draw(st.integers(1, 3)))
            for slot, turn, _ in rows(batch):
                together[slot].append(turn)
                resting.add(slot)
                if not left[slot]:
                    del left[slot]
    assert as_bytes(together) == as_bytes(alone)
    vector.close()


def test_between_turns_there_is_nothing_to_wake_up_for(envs):
    vector = envs(2, step_deadline_s=60.0)
    vector.reset(seed=1)
    vector.step([CALL.format("1"), "<think>hm</think>"])
    assert vector._seats.wakeup() == math.inf  # or who waits for that would run all the time, once it is past


def test_only_what_is_ready_is_received_and_a_slow_turn_holds_up_nobody(envs, tmp_path):
    vector = envs(3)
    vector.reset(seed=1)
    vector.send([HANG, CALL.format("1 + 1"), "<think>hm</think>"])
    received = []
    while len(received) < 2:
        received += [slot for slot, *_ in rows(vector.recv())]
    assert sorted(received) == [1, 2]
    assert vector.in_flight == 1
    assert list(rows(vector.recv(timeout=0.0))) == []
    with pytest.raises(ValueError, match="slot 0 is at a turn already"):
        vector.send([ANSWER], [0])
    vector.cancel([0])
    ((slot, (_, reward, terminated, truncated, info), (_, fresh)),) = rows(vector.recv())
    assert (slot, terminated, truncated, info["outcome"], info["valid"]) == (0, False, True, "env_error", False)
    assert math.isnan(reward)
    assert fresh["turn"] == 0


def test_a_turn_that_waits_for_room_can_be_cancelled(envs):
    vector = envs(2, max_running=1)
    vector.reset(seed=1)
    vector.send([HANG, HANG])
    vector.cancel([1, 0])
    assert {info["outcome"] for _, (*_, info), _ in rows(vector.recv(2))} == {"env_error"}
    assert vector.in_flight == 0


def test_the_room_of_a_turn_that_is_broken_off_goes_to_who_waits_for_it(envs):
    vector = envs(4, max_running=2)
    vector.reset(seed=1)
    vector.send([HANG, HANG, "<think>a</think>", "<think>b</think>"])
    vector.cancel([0])
    received = [slot for slot, *_ in rows(vector.recv(3))]
    assert received == [0, 2, 3]
    vector.send([HANG, "<think>a</think>"], [0, 2])
    vector.reset(options={"reset_mask": np.array([True, False, False, False])})
    assert [slot for slot, *_ in rows(vector.recv())] == [2]


@pytest.mark.parametrize("straggler", [Straggler.TIMEOUT, Straggler.TRUNCATE])
def test_a_straggler_is_stopped_recorded_and_replayed(envs, straggler):
    vector = envs(2, step_deadline_s=1.0, straggler=straggler)
    vector.reset(seed=[1, 2])
    vector.step([CALL.format("x = 1")] * 2)
    vector.send([HANG], [0])
    ((_, turn, _),) = rows(vector.recv())
    observation, reward, terminated, truncated, info = turn
    if straggler is Straggler.TIMEOUT:
        assert "Stopped: use a faster method." in observation
        assert (terminated, truncated, info["outcome"]) == (False, False, "")
        state = vector.slots[0].state()
        single = make(MATH)
        single.set_state(state)
        assert single.episode.digest.hex() == info["state_digest"]
        assert "NameError" in single.step(CALL.format("x"))[0]
        single.close()
    else:
        assert (reward, terminated, truncated, info["outcome"]) == (0.0, False, True, "timeout")
        assert info["valid"]


def test_an_episode_that_was_cut_is_replayed_as_cut_and_so_is_its_copy(envs):
    vector = envs(2, step_deadline_s=1.0, straggler="truncate", autoreset_mode="Disabled")
    vector.reset(seed=[1, 2])
    vector.step([CALL.format("x = 1")] * 2)
    vector.send([HANG], [0])
    ((_, (*_, info), _),) = rows(vector.recv())
    vector.fork_env(0, [1])
    single = make(MATH)
    for slot in vector.slots:
        single.set_state(slot.state())
        assert single.episode.digest.hex() == info["state_digest"]
        assert single.episode.outcome == info["outcome"] == "timeout"
    single.close()


def test_without_a_deadline_a_straggler_is_waited_for(envs):
    vector = envs(1, step_deadline_s=1e-9, straggler="wait")  # which every turn overruns
    vector.reset(seed=1)
    observations, *_ = vector.step([CALL.format("print('late')")])
    assert "late" in observations[0]


# --- autoreset --------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("mode", list(AutoresetMode))
def test_gymnasiums_own_vector_environment_gives_the_same_arrays(envs, mode):
    ours = envs(3, "toy/Ledger-v0", autoreset_mode=mode)
    theirs = gym.make_vec(
        "toy/Ledger-v0", num_envs=3, vectorization_mode="sync", vector_kwargs={"autoreset_mode": mode}
    )
    thinks, over = "<think>hm</think>", np.zeros(3, bool)
    begun = [vector.reset(seed=[1, 2, 3]) for vector in (ours, theirs)]
    for actions in ([thinks, thinks, ANSWER], [ANSWER, thinks, ANSWER], [thinks] * 3, [ANSWER] * 3, [thinks] * 3):
        if mode is AutoresetMode.DISABLED and over.any():
            begun = [vector.reset(options={"reset_mask": over.copy()}) for vector in (ours, theirs)]
        (seen, infos), (expected, said) = begun
        assert (seen, plain(infos)) == (tuple(expected), plain(said))
        (seen, *arrays, infos), (expected, *columns, said) = (vector.step(actions) for vector in (ours, theirs))
        assert (seen, plain(arrays), plain(infos)) == (tuple(expected), plain(columns), plain(said))
        over = arrays[1] | arrays[2]
    theirs.close()


def test_in_the_next_step_the_action_is_not_used(envs):
    vector = envs(2, autoreset_mode=AutoresetMode.NEXT_STEP)
    assert vector.metadata["autoreset_mode"] is AutoresetMode.NEXT_STEP
    vector.reset(seed=[1, 2])
    observations, _, terminations, _, infos = vector.step([ANSWER, "<think>hm</think>"])
    assert terminations.tolist() == [True, False]
    assert infos["outcome"][0] in ("failed", "solved")
    assert "final_obs" not in infos
    observations, rewards, terminations, _, infos = vector.step([ANSWER, ANSWER])
    assert terminations.tolist() == [False, True]
    assert infos["turn"].tolist()[0] == 0
    single = make(MATH)
    single.reset(seed=1)
    assert observations[0] == single.reset()[0]
    assert rewards[0] == 0.0
    single.close()


def test_disabled_an_episode_stays_over_until_it_is_reset(envs):
    vector = envs(3, autoreset_mode="Disabled")
    first, _ = vector.reset(seed=[1, 2, 3])
    _, _, terminations, _, infos = vector.step([ANSWER, "<think>hm</think>", ANSWER])
    assert terminations.tolist() == [True, False, True]
    _, _, terminations, _, after = vector.step(["<think>hm</think>"] * 3)
    assert terminations.tolist() == [True, False, True]
    assert after["state_digest"][0] == infos["state_digest"][0]
    before = after["state_digest"][1]
    observations, infos = vector.reset(options={"reset_mask": np.array([True, False, False])})
    assert infos["_turn"].tolist() == [True, False, False]
    assert observations[0] != first[0]
    _, _, _, _, after = vector.step(["<think>hm</think>"] * 3)
    assert after["turn"].tolist()[:2] == [1, 3]
    assert before != after["state_digest"][1]


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        ([True, True], "bool array of shape"),
        (np.array([True]), "bool array of shape"),
        (np.array([1, 0]), "bool array of shape"),
        (np.array([False, False]), "no slot to reset"),
    ],
)
def test_a_wrong_mask_is_refused(envs, mask, message):
    vector = envs(2)
    vector.reset(seed=1)
    with pytest.raises(ValueError, match=message):
        vector.reset(options={"reset_mask": mask})


def test_a_mask_cannot_leave_out_what_was_never_reset(envs):
    with pytest.raises(ValueError, match=r"slots \[1\] have never been reset"):
        envs(2).reset(options={"reset_mask": np.array([True, False])})


def test_what_was_returned_is_the_callers_to_change(envs):
    vector = envs(2, "toy/Shapes-v0")
    observations, _ = vector.reset(seed=1)
    image = observations["images"][1][0]
    before = image.copy()
    for _ in range(2):
        image[...] = 255 - image
        observations, _ = vector.reset(options={"reset_mask": np.array([True, False])})
        image = observations["images"][1][0]
        assert np.array_equal(image, before)


def test_gymnasiums_statistics_read_our_batches(envs):
    vector = gym.wrappers.vector.RecordEpisodeStatistics(envs(2))
    vector.reset(seed=[1, 2])
    *_, infos = vector.step([ANSWER, "<think>hm</think>"])
    assert infos["episode"]["l"].tolist()[0] == 1
    listed = gym.wrappers.vector.DictInfoToList(envs(2))
    listed.reset(seed=[1, 2])
    *_, each = listed.step([ANSWER, "<think>hm</think>"])
    assert each[0]["final_info"]["outcome"] == "failed"
    assert each[1]["turn"] == 1


# --- groups and copies ------------------------------------------------------------------------------------------------
def test_the_members_of_a_group_start_alike(envs):
    vector = envs(6)
    single = make(MATH)
    ids = [single.reset(seed=s)[1]["task"]["id"] for s in (1, 2)]
    single.close()
    observations, infos = vector.reset_groups(ids, 3, seed=7)
    assert infos["task"]["id"].tolist() == [ids[0]] * 3 + [ids[1]] * 3
    assert len(set(infos["state_digest"].tolist())) == 2
    assert observations[0] == observations[2] != observations[3]
    with pytest.raises(ValueError, match="2 tasks times 2 are not the 6 slots"):
        vector.reset_groups(ids, 2, seed=7)


def test_a_live_episode_is_copied_into_other_slots(envs):
    vector = envs(4)
    vector.reset(seed=1)
    vector.step([CALL.format("x = 41")] * 2 + ["<think>hm</think>"] * 2)
    vector.fork_env(0, [2, 3])
    observations, *_, infos = vector.step([CALL.format(f"x += {i}; print(x)") for i in range(4)])
    assert ["41" in observations[0], "43" in observations[2], "44" in observations[3]] == [True] * 3
    assert len({infos["task"]["id"][i] for i in (0, 2, 3)}) == 1
    vector.send([HANG], [0])
    with pytest.raises(ValueError, match="slot 0 is at a turn"):
        vector.fork_env(0, [1])
    vector.cancel([0])
    vector.recv()


def test_a_copy_that_cannot_be_made_leaves_its_slot_as_it_was(envs):
    vector = envs(2)
    vector.reset(seed=1)
    thread = "import threading, time; threading.Thread(target=time.sleep, args=(60,), daemon=True).start()"
    vector.step([CALL.format(thread), CALL.format("y = 5")])
    with pytest.raises(ForkError):
        vector.fork_env(0, [1])
    observations, *_ = vector.step([CALL.format("1"), CALL.format("print(y)")])
    assert "5" in observations[1]


def test_environments_of_several_ids_share_a_batch(envs):
    vector = envs(4, env_id=[MATH, "toy/Ledger-v0"])
    _, infos = vector.reset(seed=[1, 1, 2, 2])
    for i, env_id in enumerate([MATH, "toy/Ledger-v0"] * 2):
        single = make(env_id)
        assert take_apart(infos, i) == plain(single.reset(seed=1 + i // 2)[1])
        single.close()
    with pytest.raises(ValueError, match="different spaces"):
        tir_gym.make_vec([MATH, "toy/Shapes-v0"], 2)
    with pytest.raises(ValueError, match="multiple of the number of ids"):
        tir_gym.make_vec([MATH, "toy/Ledger-v0"], 3)


# --- asyncio ----------------------------------------------------------------------------------------------------------
def test_other_tasks_run_while_a_turn_is_waited_for(envs):
    vector = envs(3)
    vector.reset(seed=1)
    ticks = []

    async def tick():
        while True:
            ticks.append(len(ticks))
            await asyncio.sleep(0)

    async def play():
        ticking = asyncio.create_task(tick())
        vector.send([CALL.format("2"), CALL.format("1"), "<think>hm</think>"])
        order = [slot async for batch in vector for slot, *_ in rows(batch)]
        ticking.cancel()
        return order

    assert sorted(asyncio.run(play())) == [0, 1, 2]
    assert len(ticks) > 1  # one before there was anything to wait for


def together(*coroutines):
    async def all_of_them():
        return await asyncio.wait_for(asyncio.gather(*coroutines), 120)

    return asyncio.run(all_of_them())


async def meanwhile(change):
    await asyncio.sleep(0)
    change()


def test_who_waits_is_told_of_what_other_tasks_do(envs):
    vector = envs(2)
    vector.reset(seed=1)
    vector.send([HANG], [0])
    batch, _ = together(vector.arecv(), meanwhile(lambda: vector.send(["<think>hm</think>"], [1])))
    assert batch[-1]["env_id"].tolist() == [1]
    batch, _ = together(vector.arecv(), meanwhile(lambda: vector.cancel([0])))
    assert batch[-1]["env_id"].tolist() == [0]
    vector.send([HANG], [0])
    batch, _ = together(vector.arecv(), meanwhile(lambda: vector.reset(seed=1)))
    assert batch[-1]["env_id"].tolist() == []
    vector.send([HANG], [0])
    with pytest.raises(ClosedEnvironmentError):
        together(vector.arecv(), meanwhile(vector.close))


def test_tasks_that_receive_at_once_share_what_comes(envs):
    vector = envs(2)
    vector.reset(seed=1)
    vector.send([CALL.format("1"), CALL.format("2")])
    batches = together(vector.arecv(), vector.arecv(2), vector.arecv(2))
    assert sorted(slot for batch in batches for slot, *_ in rows(batch)) == [0, 1]
