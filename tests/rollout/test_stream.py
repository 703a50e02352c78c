"""The stream of finished episodes: bounded, by groups, never staler than allowed, closed from both sides."""

import threading
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tir_gym.rollout.stream import TokenStream
from tir_gym.rollout.tokens import TokenRollout


def played(version=0, group="", episode="", *, sampled=1):
    rollout = TokenRollout(episode=episode, group=group)
    rollout.append_prompt([1])
    for _ in range(sampled):
        rollout.append_sampled([2], version=version)
    return rollout


def put(stream, count=1, version=0):
    """Begin and end some groups."""
    for number in range(count):
        group = f"{version}/{number}"
        for _ in range(stream.group_size):
            assert stream.begin(group)
            stream.put(played(version, group))


def begin_all(stream):
    """Begin as many groups of one as may begin."""
    count = 0
    while stream.begin(f"more {count}"):
        count += 1
    return count


# --- how much is begun ------------------------------------------------------------------------------------------------
@given(
    batch=st.integers(1, 3),
    group_size=st.integers(1, 3),
    max_lag=st.integers(0, 2),
    steps=st.lists(st.tuples(st.sampled_from(["begin", "put", "take", "publish"]), st.integers(0, 5)), max_size=120),
)
def test_in_any_order_of_events_the_queue_is_bounded_fresh_and_loses_nothing(batch, group_size, max_lag, steps):
    stream = TokenStream(batch, group_size=group_size, max_lag=max_lag)
    playing, begun, taken, version, batches = [], Counter(), [], 0, 0
    for what, number in steps:
        if what == "begin":
            group = f"{version}:{number}"
            if begun[group] < group_size and stream.begin(group):
                playing.append(played(version, group, f"{group}/{begun[group]}"))
                begun[group] += 1
        elif what == "put" and playing:
            stream.put(playing.pop(number % len(playing)))
        elif what == "take":
            try:
                rollouts = stream.take(timeout=0.0)
            except (TimeoutError, RuntimeError):
                continue
            batches += 1
            assert len(rollouts) == batch * group_size
            for first in range(0, len(rollouts), group_size):
                assert len({rollout.group for rollout in rollouts[first : first + group_size]}) == 1
            assert all(version - rollout.versions[0] <= max_lag for rollout in rollouts)
            taken += [rollout.episode for rollout in rollouts]
        elif what == "publish":
            version += 1
            stream.publish(version)
        stats = stream.stats()
        assert stats.playing == len(playing)
        assert stats.playing + stats.waiting + stats.taken + stats.stale == begun.total()
        assert stats.playing + stats.waiting <= (max_lag + 1) * batch * group_size
        assert len(begun) - stats.stale // group_size <= (batches + max_lag + 1) * batch
    assert len(set(taken)) == len(taken) == stream.stats().taken
    assert sum(stream.stats().lags.values()) == len(taken)


def test_what_is_begun_for_a_version_can_be_trained_on_within_the_lag():
    stream = TokenStream(2, max_lag=1)
    put(stream, 4)
    assert not stream.begin("more")
    stream.take()
    assert not stream.begin("more")  # for these would be trained on two versions later
    stream.publish(1)
    assert begin_all(stream) == 2


def test_without_lag_nothing_is_begun_before_the_weights_are_new():
    stream = TokenStream(2, max_lag=0)
    put(stream, 2)
    stream.take()
    with pytest.raises(RuntimeError, match="publish the next version first"):
        stream.take()
    assert begin_all(stream) == 0
    stream.publish(1)
    assert begin_all(stream) == 2


def test_a_group_that_was_begun_is_filled_up_though_there_is_no_room_for_another():
    stream = TokenStream(1, group_size=2, max_lag=0)
    assert stream.begin("a")
    assert not stream.begin("b")
    assert stream.begin_any(["b", "a"]) == "a"
    assert stream.begin_any(["b", "a"]) is None
    stream.put(played(group="a"))
    with pytest.raises(TimeoutError, match="0 of 1 groups"):
        stream.take(timeout=0.0)
    stream.put(played(group="a"))
    assert [rollout.group for rollout in stream.take()] == ["a", "a"]


# --- how old it is ----------------------------------------------------------------------------------------------------
def test_what_has_become_too_old_is_thrown_away_and_another_begun_for_it():
    stream = TokenStream(1, max_lag=1)
    put(stream, 2)
    assert not stream.begin("more")
    stream.publish(2)
    assert stream.stats().stale == 2
    assert begin_all(stream) == 2


def test_an_episode_that_ends_too_late_is_thrown_away_with_its_group():
    stream = TokenStream(1, group_size=2, max_lag=0)
    assert stream.begin("a")
    assert stream.begin("a")
    stream.put(played(0, "a"))
    stream.publish(1)
    stream.put(played(1, "a"))
    assert stream.stats().stale == 2
    put(stream, version=1)
    assert [rollout.versions for rollout in stream.take()] == [(1, 1)] * 2


def test_what_is_old_can_be_kept_and_tells_its_age():
    stream = TokenStream(1, max_lag=0, stale="keep")
    put(stream)
    stream.publish(3)
    (rollout,) = stream.take()
    assert rollout.versions == (0, 0)
    assert stream.stats().lags == {3: 1}


def test_an_episode_in_which_nothing_was_sampled_is_not_old():
    stream = TokenStream(1, max_lag=0, version=5)
    assert stream.begin()
    stream.put(played(sampled=0))
    assert len(stream.take()) == 1


# --- threads ----------------------------------------------------------------------------------------------------------
def in_thread(work):
    """Start it; calling what is returned waits for its result."""
    results = []
    thread = threading.Thread(target=lambda: results.append(work()))
    thread.start()

    def result():
        thread.join()
        return results[0]

    return result


def test_a_player_waits_for_room_and_a_trainer_for_its_batch():
    stream = TokenStream(1, max_lag=0)
    batch = in_thread(stream.take)
    put(stream)
    assert len(batch()) == 1
    began = in_thread(lambda: stream.begin("next", timeout=60.0))
    stream.publish(1)
    assert began()


def test_players_and_a_trainer_in_threads_lose_nothing():
    stream = TokenStream(3, group_size=2, max_lag=1)

    def play(player):
        count = 0
        while stream.begin(f"{player}/{count // 2}", timeout=60.0):
            version = stream.stats().version
            stream.put(played(version, f"{player}/{count // 2}", f"{player}/{count}"))
            count += 1
        return count

    players = [in_thread(lambda player=player: play(player)) for player in range(4)]
    episodes = []
    for version, rollouts in enumerate(stream, 1):
        episodes += [rollout.episode for rollout in rollouts]
        if version == 20:
            stream.close()
        elif not stream.closed:
            stream.publish(version)
    counts = [player() for player in players]
    stats = stream.stats()
    assert len(set(episodes)) == len(episodes) == stats.taken >= 20 * 3 * 2
    assert stats.playing == 0
    assert sum(counts) == stats.taken + stats.stale + stats.waiting
    assert max(stats.lags) <= 1


@pytest.mark.parametrize("end", [lambda stream: stream.close(), lambda stream: stream.close(KeyError("engine"))])
def test_closing_frees_whoever_waits(end):
    stream = TokenStream(1, max_lag=0)
    assert stream.begin("a")
    waiting = in_thread(lambda: stream.begin("b", timeout=60.0))
    end(stream)
    assert not waiting()
    assert stream.closed
    assert not stream.begin("a")


def test_after_closing_there_is_what_is_left_and_then_nothing():
    stream = TokenStream(2, max_lag=1)
    put(stream, 3)
    assert stream.begin("late")
    stream.close()
    stream.put(played(group="late"))
    assert [len(rollouts) for rollouts in stream] == [2, 2]
    assert stream.take() == []


def test_a_player_that_failed_is_heard_of_by_the_trainer():
    stream = TokenStream(1)
    put(stream)
    stream.close(KeyError("engine"))
    with pytest.raises(RuntimeError, match="a player failed: KeyError") as caught:
        stream.take()
    assert isinstance(caught.value.__cause__, KeyError)


def test_who_listens_is_told_when_episodes_may_begin_and_when_none_will():
    stream = TokenStream(1, group_size=2, max_lag=0)
    told = []
    with stream.listening(lambda: told.append(len(told))):
        for act in (lambda: stream.begin("a"), lambda: stream.publish(1), stream.close):
            before = len(told)
            act()
            assert len(told) > before
    heard = len(told)
    stream.close()
    assert len(told) == heard


@pytest.mark.parametrize(
    ("misuse", "message"),
    [
        (lambda stream: TokenStream(0), "batch=0"),
        (lambda stream: TokenStream(1, group_size=0), "group_size=0"),
        (lambda stream: TokenStream(1, max_lag=-1), "max_lag=-1"),
        (lambda stream: TokenStream(1, stale="eat"), "stale='eat'"),
        (lambda stream: stream.put(played(group="a")), "no episode of the group 'a' was begun"),
        (lambda stream: stream.publish(0), "version 0 is not above 0"),
    ],
)
def test_misuse_is_refused_by_name(misuse, message):
    with pytest.raises(ValueError, match=message):
        misuse(TokenStream(1))
