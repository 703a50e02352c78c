"""An episode between two turns as data: written down here, played on elsewhere."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict

from tir_gym.core.schema import EpisodeState
from tir_gym.core.view import NO_GROUP, NO_PROGRESS, GroupView, Progress
from tir_gym.drivers.env import ToolEnv
from tir_gym.drivers.vector import ToolVectorEnv
from tir_gym.rollout.codec import ChatCodec
from tir_gym.rollout.record import RecordedGroup
from tir_gym.rollout.recorder import TokenRecorder, pixels_of
from tir_gym.rollout.tokens import TokenRollout

PARTIAL: Literal["tir_gym/partial/1"] = "tir_gym/partial/1"


class PartialEpisode(BaseModel):
    """An unfinished episode and the tokens of its policy: JSON by `model_dump_json` and `model_validate_json`.

    Played on from here it has the tokens, rewards and record that it would have had where it began. A turn that the
    engine has begun is not in it: whoever samples the rest of that turn gives all of it, with a version for each token.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_id: Literal["tir_gym/partial/1"] = PARTIAL
    state: EpisodeState
    tokens: dict[str, Any]
    """`TokenRollout.data`"""
    context_version: int
    group: GroupView = NO_GROUP
    progress: Progress = NO_PROGRESS

    @classmethod
    def of(cls, env: ToolEnv | ToolVectorEnv, recorder: TokenRecorder, slot: int = 0) -> "PartialEpisode":
        """The episode that an environment, or a slot of a vector environment, is playing.

        It can go on there all the same. Raises `ValueError` in mid-turn.
        """
        if isinstance(env, ToolEnv):
            state, (group, progress) = env.get_state(), env.began_with
        else:
            state, (group, progress) = env.get_state(slot), env.began_with(slot)
        return cls(
            state=state,
            tokens=recorder.rollout.data(),
            context_version=recorder.context_version,
            group=group,
            progress=progress,
        )

    def resume(self, env: ToolEnv, codec: ChatCodec) -> TokenRecorder:
        """Replay the episode in an environment of the same options, and its recorder, from whose `prompt` to sample on.

        The statistics of other rollouts and the progress that it was begun with are those of `env` from now on.
        Raises `ReplayMismatch` where the replay does not come out as recorded, `ValueError` for another environment.
        """
        env.set_progress(self.progress.step, self.progress.total)
        env.set_groups(RecordedGroup(self.group))
        env.set_state(self.state)
        rollout = TokenRollout.of(self.tokens)
        rollout.pixels = pixels_of(env.messages)
        tools = env.tools if env.setting.protocol.native else ()
        return TokenRecorder.of(codec, rollout, self.context_version, tools)
