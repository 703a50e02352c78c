"""How an episode ended."""

from enum import StrEnum


class Outcome(StrEnum):
    """Typed end of an episode; `RUNNING` (the empty string) until then."""

    RUNNING = ""
    SOLVED = "solved"
    FAILED = "failed"
    TRUNCATED = "truncated"
    POLICY_ERROR = "policy_error"
    ENV_ERROR = "env_error"
    JUDGE_ERROR = "judge_error"
    TIMEOUT = "timeout"

    @property
    def valid(self) -> bool:
        """False where the episode could not be run or judged: its reward is nan, never 0."""
        return self not in (Outcome.ENV_ERROR, Outcome.JUDGE_ERROR)
