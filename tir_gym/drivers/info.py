"""`info`: the same keys in every domain, one Python type a leaf, new objects each time."""

import math
from collections.abc import Mapping
from typing import Any

from tir_gym.core.episode import Episode, Turn
from tir_gym.core.messages import as_messages

NOT_STATED = -1.0
"""`answer.confidence` where the policy stated none. Not nan: `check_env` compares infos with `==`."""


def build_info(
    episode: Episode, turn: Turn, rewards: Mapping[str, float], total: float, *, fresh: bool, tier: str
) -> dict[str, Any]:
    """What `reset` and `step` return beside the observation.

    With `fresh` the turn has news (messages, this turn's counts); without, it is a repeated call after the end.
    `tier`: how well code is held, `Executor.tier`; "" where none runs.
    """
    task, tally, action, answer = episode.task, episode.tally, episode.last_action, episode.answer
    return {
        "task": {
            "id": task.id,
            "set": episode.setting.tasks.name,
            "split": task.split,
            "family": task.family,
            "index": task.index,
            "difficulty": task.difficulty,
        },
        "seed": episode.seed,
        "executor": tier,
        "turn": tally.turns,
        "to_move": turn.to_move,
        "calls": {
            "count": tally.calls,
            "ok": tally.ok,
            "failed": tally.failed,
            "duplicate": tally.duplicate,
            "this_turn": tally.this_turn if fresh else 0,
        },
        "format": {
            "ok": not action.errors,
            "error": action.errors[0].type.value if action.errors else "",
            "errors": tally.format_errors,
            "repairs": tally.repairs,
            "void": tally.void,
        },
        "answer": {
            "given": answer is not None,
            "text": "" if answer is None else answer.text,
            "origin": "" if answer is None else answer.origin,
            "confidence": NOT_STATED if answer is None or math.isnan(answer.confidence) else answer.confidence,
            "correct": _correct(episode),
        },
        "rewards": {**rewards, "total": total},
        "outcome": episode.outcome.value,
        "ended_by": episode.ended_by,
        "failure": episode.failure,
        "valid": episode.outcome.valid,
        "budget": {
            "turns_left": episode.turns_left,
            "calls_left": episode.calls_left,
            "virtual_s": episode.clock,
        },
        "messages": as_messages(episode, turn.pieces, turn.to_move) if fresh else [],
        "context_version": episode.context_version,
        "tools_version": episode.toolkits[turn.to_move].tools_version,
        "state_digest": episode.digest.hex(),
    }


def _correct(episode: Episode) -> float:
    """The verdict: 0.0 until the end, nan where there could be none."""
    if not episode.outcome.valid:
        return math.nan
    return 0.0 if episode.score is None else episode.score.value
