"""Play on what was begun in another process: `python -m tests.rollout.play_partial`, JSON in and out.

In: {"env_id", "options", "partial", "texts"}; out: the rollout and the record of the whole episode.
"""

import json
import sys

from tests.play import make
from tests.rollout.chat_templates import Bytes
from tests.rollout.test_partial import play_on
from tir_gym.rollout import ChatCodec, PartialEpisode, record_of


def main() -> None:
    given = json.load(sys.stdin)
    env = make(given["env_id"], **given["options"])
    recorder = PartialEpisode.model_validate_json(given["partial"]).resume(env, ChatCodec(Bytes()))
    play_on(env, recorder, given["texts"])
    json.dump({"rollout": recorder.rollout.data(), "record": record_of(env).model_dump_json()}, sys.stdout)
    env.close()


if __name__ == "__main__":
    main()
