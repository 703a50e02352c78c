"""Play on what was begun in another process: `python -m tests.rollout.play_partial`, JSON in and out.

In: {"env_id", "options", "partial", "texts"}; out: the rollout and the record of the whole episode.
"""

import json
import sys

from tests.play import make
from tests.rollout.chat_templates import Bytes
from tir_gym.core.action import Completion
from tir_gym.rollout import ChatCodec, PartialEpisode, record_of

CODEC = ChatCodec(Bytes())


def completion(text):
    ids = (*CODEC.tokenizer.encode(text, plain=True)[0], CODEC.tokenizer.end)
    return Completion(text, token_ids=ids, logprobs=[-0.1 * len(ids)] * len(ids), policy_version=3)


def play_on(env, recorder, texts):
    for text in texts:
        said = completion(text)
        _, reward, _, _, info = env.step(said)
        recorder.step(said, reward, info)


def main() -> None:
    given = json.load(sys.stdin)
    env = make(given["env_id"], **given["options"])
    recorder = PartialEpisode.model_validate_json(given["partial"]).resume(env, CODEC)
    play_on(env, recorder, given["texts"])
    json.dump({"rollout": recorder.rollout.data(), "record": record_of(env).model_dump_json()}, sys.stdout)
    env.close()


if __name__ == "__main__":
    main()
