"""A vector environment that threads share: everybody gets what is his, nobody waits for somebody else."""

import gc
import multiprocessing
import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from gymnasium.error import ClosedEnvironmentError

import tir_gym
from tests.contract.test_drivers import observation_of, take_apart
from tests.drivers.test_vector import CALL, HANG, MATH, rows
from tests.play import as_bytes, make, play_oracle, replay
from tests.processes import check_nothing_left, footprint
from tir_gym.drivers.shared import SharedVectorEnv


@pytest.fixture
def envs():
    made = []

    def build(num_envs, env_id=MATH, **options):
        made.append(SharedVectorEnv(lambda: tir_gym.make_vec(env_id, num_envs, **options)))
        return made[-1]

    yield build
    for shared in made:
        shared.close()


@pytest.fixture
def threads():
    with ThreadPoolExecutor(8) as pool:
        yield pool


@pytest.mark.parametrize("env_id", [MATH, "toy/Ledger-v0"])
def test_many_threads_send_and_receive_the_bytes_of_single_environments(envs, threads, env_id):
    seeds = range(6)
    env = make(env_id)
    texts = [play_oracle(env, seed) for seed in seeds]
    alone = [replay(env, seed, texts[i]) for i, seed in enumerate(seeds)]
    env.close()
    shared = envs(len(seeds), env_id)
    observations, infos = shared.reset(seed=list(seeds))
    together = [[(observation_of(observations, i), take_apart(infos, i))] for i in seeds]
    left = [iter(own) for own in texts]
    open_slots = set(seeds)

    def receive():
        while True:
            try:
                batch = shared.recv()
            except ClosedEnvironmentError:
                return
            for slot, turn, _ in rows(batch):
                together[slot].append(turn)
                if (text := next(left[slot], None)) is not None:
                    shared.send([text], [slot])
                    continue
                open_slots.discard(slot)
                if not open_slots:
                    over.set()

    over = threading.Event()
    receivers = [threads.submit(receive) for _ in range(3)]
    list(threads.map(lambda slot: shared.send([next(left[slot])], [slot]), seeds))
    assert over.wait(120)
    shared.close()
    for receiver in receivers:
        receiver.result()
    assert as_bytes(together) == as_bytes(alone)


def test_who_waits_for_a_slow_turn_gets_what_others_send_meanwhile(envs, threads):
    shared = envs(2)
    shared.reset(seed=1)
    shared.send([HANG], [0])
    waiting = threads.submit(shared.recv)
    shared.send([CALL.format("print('quick')")], [1])
    observations, *_, infos = waiting.result()
    assert infos["env_id"].tolist() == [1]
    assert "quick" in observations[0]
    shared.do(lambda envs: envs.cancel([0]))
    *_, infos = shared.recv()
    assert infos["final_info"]["outcome"].tolist() == ["env_error"]


def test_nothing_is_at_a_turn_until_somebody_sends(envs, threads):
    shared = envs(2)
    shared.reset(seed=1)
    waiting = threads.submit(shared.recv, 2)
    shared.send(["<think>hm</think>"] * 2)
    assert waiting.result()[-1]["env_id"].tolist() == [0, 1]


def test_who_does_not_want_to_wait_does_not_wait_behind_who_does(envs, threads):
    shared = envs(1)
    shared.reset(seed=1)
    shared.send([HANG])
    waiting = threads.submit(shared.recv)
    assert list(rows(shared.recv(timeout=0.0))) == []
    assert list(rows(shared.recv(timeout=0.01))) == []
    assert not waiting.done()
    shared.do(lambda envs: envs.cancel([0]))
    assert len(list(rows(waiting.result()))) == 1


def test_all_of_it_happens_in_one_thread(envs, threads):
    shared = envs(1)
    seen = set(threads.map(lambda _: shared.do(lambda envs: threading.get_ident()), range(20)))
    assert len(seen) == 1
    assert threading.get_ident() not in seen


def test_errors_reach_whoever_caused_them(envs):
    shared = envs(2)
    with pytest.raises(RuntimeError, match="call reset first"):
        shared.send(["hm"] * 2)
    shared.reset(seed=1)
    with pytest.raises(ValueError, match="there is no slot 7"):
        shared.send(["hm"], [7])
    with pytest.raises(ValueError, match="min_ready=0"):
        shared.recv(0)
    shared.send(["<think>hm</think>"] * 2)
    assert np.array_equal(shared.recv(2)[-1]["env_id"], [0, 1])


def test_closing_tells_who_waits_and_leaves_nothing(threads):
    list(threads.map(lambda _: None, range(8)))
    before = footprint()
    shared = SharedVectorEnv(lambda: tir_gym.make_vec(MATH, 2))
    shared.reset(seed=1)
    shared.send([HANG], [0])
    waiting = [threads.submit(shared.recv) for _ in range(3)]
    shared.close()
    shared.close()
    for receiver in waiting:
        with pytest.raises(ClosedEnvironmentError):
            receiver.result()
    with pytest.raises(ClosedEnvironmentError, match="the vector environment is closed"):
        shared.send(["hm"], [1])
    check_nothing_left(before)


def test_what_cannot_be_made_raises_and_leaves_no_thread():
    before = threading.active_count()
    with pytest.raises(ValueError, match="num_envs=0"):
        SharedVectorEnv(lambda: tir_gym.make_vec(MATH, 0))
    assert threading.active_count() <= before


def interrupting(when):
    """A thread that interrupts the main thread, as Ctrl-C does, once that is so."""

    def work():
        while not when():
            pass
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_who_was_interrupted_while_it_waited_takes_no_results_from_others(envs):
    shared = envs(2)
    shared.reset(seed=1)
    waits = interrupting(lambda: shared.do(lambda _: shared._receiving.locked()))
    with pytest.raises(KeyboardInterrupt):
        shared.recv()
    waits.join()
    shared.send(["<think>hm</think>"], [1])
    assert shared.recv(timeout=60.0)[-1]["env_id"].tolist() == [1]


def test_an_interrupt_while_it_is_made_leaves_no_thread():
    before, begun, interrupted = threading.active_count(), threading.Event(), threading.Event()

    def make():
        begun.set()
        interrupted.wait(60.0)
        return tir_gym.make_vec(MATH, 2)

    waits = interrupting(lambda: begun.wait(60.0) and (interrupted.set() or True))
    with pytest.raises(KeyboardInterrupt):
        SharedVectorEnv(make)
    waits.join()
    for thread in threading.enumerate():
        if thread.name == "vector":  # the interrupt came when it was there already
            thread.join(60.0)
    assert threading.active_count() <= before


def test_one_that_is_dropped_is_closed():
    before = footprint()
    shared = SharedVectorEnv(lambda: tir_gym.make_vec(MATH, 2))
    shared.reset(seed=1)
    shared.send([HANG], [0])
    thread = shared._thread
    del shared
    gc.collect()
    thread.join(60.0)
    check_nothing_left(before)


def test_in_a_process_that_was_forked_it_refuses_instead_of_waiting_for_ever(envs):
    shared = envs(2)
    shared.reset(seed=1)
    here, there = multiprocessing.Pipe()

    def use(pipe):
        try:
            shared.send(["hm"], [0])
        except RuntimeError as error:
            pipe.send(str(error))
        shared.close()

    child = multiprocessing.get_context("fork").Process(target=use, args=(there,))
    child.start()
    assert here.poll(60.0)
    assert "forked from" in here.recv()
    child.join()
    here.close()
    there.close()
    shared.send(["<think>hm</think>"] * 2)
    assert shared.recv(2)[-1]["env_id"].tolist() == [0, 1]
