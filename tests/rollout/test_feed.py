"""A vector environment plays for a trainer: every episode is the one it is alone, whatever happens around it."""

import asyncio
import random
import threading

import numpy as np
import pytest

import tir_gym
from tests.play import make
from tests.rollout.test_codec import codec
from tir_gym.core.action import Completion
from tir_gym.core.seeding import episode_seed
from tir_gym.rollout import POLICIES, TokenRecorder, TokenStream, feed

LEDGER, MATH = "toy/Ledger-v0", "tir/MathCode-v0"


class OracleEngine:
    """An engine that says what the oracle says: it has seen every episode alone, and knows a context by its tokens.

    It answers after a random number of turns of the event loop, with the version that `version` tells.
    """

    def __init__(self, env_id, bases, episodes, version=lambda: 0, **options):
        self.rows = {}
        """The row of each episode, by its base seed and number."""
        self.openings = set()
        """The first prompt of each."""
        self._answers = {}
        self._version = version
        self._rng = random.Random(3)
        env = make(env_id, **options)
        for base in bases:
            for number in range(episodes):
                observation, info = env.reset(seed=base) if number == 0 else env.reset()
                self.rows[base, number] = self._play(env, observation, info)
        env.close()

    def _play(self, env, observation, info):
        chat = codec("bytes")
        recorder = TokenRecorder(chat, info, env.tools if env.setting.protocol.native else ())
        self.openings.add(tuple(recorder.prompt))
        with POLICIES["oracle"](env.setting, env.episode.task) as policy:
            policy.begin(env)
            while not info["outcome"]:
                text = str(policy.act(observation, info))
                ids = (*chat.tokenizer.encode(text, plain=True)[0], chat.tokenizer.end)
                self._answers[tuple(recorder.prompt)] = text, ids
                completion = Completion(text, token_ids=ids)
                observation, reward, _, _, info = env.step(completion)
                recorder.step(completion, reward, info)
        (row,) = recorder.rollout.rows()
        return row

    async def __call__(self, context):
        for _ in range(self._rng.randrange(6)):
            await asyncio.sleep(0)
        text, ids = self._answers[tuple(context)]
        return Completion(text, token_ids=ids, logprobs=[-0.5] * len(ids), policy_version=self._version())


def fed(stream, env_id, slots, engine, train, *, seed=7, max_tokens=0, **options):
    """What `train` returns of a stream that a vector environment in another thread feeds."""

    def play():
        envs = tir_gym.make_vec(env_id, slots, **options)
        try:
            asyncio.run(feed(stream, envs, codec("bytes"), engine, seed=seed, max_tokens=max_tokens, name="a"))
        finally:
            envs.close()

    player = threading.Thread(target=play)
    player.start()
    try:
        return train(stream)
    finally:
        stream.close()
        player.join()


def bases(seed, slots, group_size):
    return [episode_seed(seed, i // group_size, 0) for i in range(slots)]


@pytest.mark.parametrize(
    ("env_id", "options", "slots", "group_size", "batches"),
    [(LEDGER, {}, 6, 1, 3), (LEDGER, {"protocol": "openai"}, 6, 3, 3), (MATH, {}, 4, 2, 2)],
)
@pytest.mark.parametrize("backend", ["inline", "process"])
def test_what_comes_out_of_the_stream_are_the_tokens_of_episodes_played_alone(
    env_id, options, slots, group_size, batches, backend
):
    each = bases(7, slots, group_size)
    stream = TokenStream(2, group_size=group_size, max_lag=1)
    engine = OracleEngine(env_id, set(each), 8, lambda: stream.version, **options)

    def train(stream):
        taken = []
        for version in range(1, batches + 1):
            taken += stream.take()
            stream.publish(version)
        return taken

    taken = fed(stream, env_id, slots, engine, train, backend=backend, **options)
    assert len(taken) == len({rollout.episode for rollout in taken}) == batches * 2 * group_size
    for rollout in taken:
        (row,) = rollout.rows()
        slot, number = map(int, rollout.episode.removeprefix("a").split("."))
        alone = engine.rows[each[slot], number]
        assert (row.ids.tolist(), row.roles.tolist()) == (alone.ids.tolist(), alone.roles.tolist())
        assert (row.turn_reward.tolist(), row.reward, row.valid) == (alone.turn_reward.tolist(), 1.0, True)
        assert set(row.logprobs[row.loss_mask()].tolist()) == {-0.5}
    for first in range(0, len(taken), group_size):
        group = taken[first : first + group_size]
        assert len({rollout.group for rollout in group}) == 1
        rows = [rollout.rows()[0] for rollout in group]
        assert len({row.ids[: row.turn_start[0]].tobytes() for row in rows}) == 1


def test_no_token_is_older_than_the_lag_allows():
    published = [0]
    stream = TokenStream(2, max_lag=1)
    engine = OracleEngine(LEDGER, bases(7, 6, 1), 30, version=lambda: published[0])
    lags = []

    def train(stream):
        for version in range(1, 11):
            lags.extend(published[0] - rollout.versions[0] for rollout in stream.take())
            published[0] = version
            stream.publish(version)

    fed(stream, LEDGER, 6, engine, train)
    assert len(lags) == 20
    assert 0 <= min(lags) <= max(lags) <= 1
    assert stream.stats().lags == {lag: lags.count(lag) for lag in set(lags)}


def test_players_rest_until_the_trainer_has_caught_up():
    """Of eight slots only two may play: for the others the engine is never asked."""
    asked = []
    engine = OracleEngine(LEDGER, bases(7, 8, 1), 3)

    async def counted(context):
        asked.append(tuple(context))
        return await engine(context)

    stream = TokenStream(2, max_lag=0)
    assert len(fed(stream, LEDGER, 8, counted, lambda stream: stream.take())) == 2
    assert len(engine.openings.intersection(asked)) == 2


def test_an_episode_whose_context_is_full_is_cut_there():
    engine = OracleEngine(LEDGER, bases(7, 1, 1), 3)
    alone = engine.rows[bases(7, 1, 1)[0], 0]
    assert len(alone.turn_start) > 1
    (rollout,) = fed(TokenStream(1), LEDGER, 1, engine, lambda stream: stream.take(), max_tokens=alone.turn_end[0] + 1)
    (row,) = rollout.rows()
    assert (row.truncated, row.valid, row.reward, len(row.turn_start)) == (True, True, 0.0, 1)
    assert row.ids.tolist() == alone.ids[: alone.turn_start[1]].tolist()


def test_an_engine_sees_the_images_of_its_context():
    seen = {}

    async def looking(context, images):
        seen[tuple(context)] = images
        look = '<call name="brighten"><arg name="factor" type="json">100</arg></call>'
        text = look if len(images) == 1 else "<answer>1</answer>"
        return Completion(text, token_ids=codec("bytes").tokenizer.encode(text)[0])

    (rollout,) = fed(TokenStream(1), "toy/Shapes-v0", 1, looking, lambda stream: stream.take())
    (row,) = rollout.rows()
    for start, count in zip(row.turn_start, (1, 2), strict=True):
        shown = seen[tuple(row.ids[:start].tolist())]
        assert len(shown) == count
        for image, pixels in zip(row.images[:count], shown, strict=True):
            assert np.array_equal(rollout.pixels[image.id], pixels)


def test_closing_ends_it_though_the_engine_says_nothing():
    asked = threading.Event()

    async def silent(context):
        asked.set()
        await asyncio.Event().wait()

    assert fed(TokenStream(1), LEDGER, 2, silent, lambda stream: asked.wait(60))


def test_an_engine_that_fails_is_heard_of_on_both_sides():
    async def broken(context):
        raise KeyError("engine")

    stream = TokenStream(1)
    envs = tir_gym.make_vec(LEDGER, 2)
    with pytest.raises(KeyError, match="engine"):
        asyncio.run(feed(stream, envs, codec("bytes"), broken, seed=0))
    with pytest.raises(RuntimeError, match="a player failed: KeyError"):
        stream.take()
    envs.close()


@pytest.mark.parametrize(
    ("env_id", "options", "group_size", "message"),
    [
        (LEDGER, {"autoreset_mode": "Disabled"}, 1, "not in the same step"),
        (LEDGER, {}, 3, "2 slots cannot play groups of 3"),
        ("toy/Handover-v0", {}, 1, "several policies play in toy/Handover-v0"),
        ([LEDGER, MATH], {}, 2, "not all slots of a group play the same task"),
    ],
)
def test_what_cannot_be_fed_is_refused_and_closes_the_stream(env_id, options, group_size, message):
    stream = TokenStream(1, group_size=group_size)
    envs = tir_gym.make_vec(env_id, 2, **options)
    with pytest.raises(ValueError, match=message):
        asyncio.run(feed(stream, envs, codec("bytes"), lambda context: None, seed=0))
    assert stream.closed
    envs.close()
