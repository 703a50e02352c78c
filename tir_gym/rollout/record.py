"""One finished episode as a line of a trajectory file."""

from tir_gym.core.schema import CallRecordData, EntryData, EpisodeRecord, verdict_of
from tir_gym.drivers.env import ToolEnv
from tir_gym.version import __version__


def record_of(env: ToolEnv, *, key: str = "", policy: str = "") -> EpisodeRecord:
    """The episode that the environment has just played. `key` makes it unique in a file."""
    episode, setting = env.episode, env.setting
    answer = episode.answer
    rewards, total = env.rewards
    return EpisodeRecord(
        version=__version__,
        key=key,
        policy=policy,
        options=dict(setting.options),
        protocol=setting.protocol.name,
        state=env.get_state(),
        transcript=tuple(EntryData.of(entry) for entry in episode.transcript),
        calls=tuple(CallRecordData.of(record) for record in episode.calls),
        answer="" if answer is None else answer.text,
        confidence=float("nan") if answer is None else answer.confidence,
        outcome=episode.outcome.value,
        valid=episode.outcome.valid,
        ended_by=episode.ended_by,
        failure=episode.failure,
        turns=episode.tally.turns,
        verdict=verdict_of(episode),
        rewards=rewards,
        total=total,
        reward_channels=setting.rewards.channels,
    )
