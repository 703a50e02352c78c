"""What has happened in an episode, kept outside the process that plays it: enough to play it again elsewhere."""

from dataclasses import dataclass, field, replace

from tir_gym.core.action import Action
from tir_gym.core.domain import Setting
from tir_gym.core.schema import ActionData, EpisodeState, RecordedRun, task_ref
from tir_gym.core.view import NO_GROUP, NO_PROGRESS, GroupView, Progress


@dataclass(slots=True)
class Past:
    """An episode between two turns."""

    task_id: str
    seed: int
    began_with: tuple[GroupView, Progress] = (NO_GROUP, NO_PROGRESS)
    """`Slot.began_with`, from which its rewards are computed."""
    actions: list[Action] = field(default_factory=list)
    recorded: list[RecordedRun] = field(default_factory=list)
    cut: int = 0
    digest: str = ""
    over: bool = False
    failure: str = ""
    """Why it is invalid: such an episode is broken off again when it is replayed, before its last turn."""
    lost: str = ""
    """Why it could not be played again; "" where it could, or was not tried."""

    def copy(self) -> "Past":
        """An independent copy."""
        return replace(self, actions=list(self.actions), recorded=list(self.recorded))

    def playable(self) -> "Past":
        """Itself or, where it cannot be played again, its beginning, broken off for that reason."""
        if not self.lost:
            return self
        return Past(self.task_id, self.seed, self.began_with, over=self.over, failure=self.lost)

    def state(self, setting: Setting) -> EpisodeState:
        """The episode as data that `Slot.begin_replay` takes."""
        return EpisodeState(
            env_id=setting.env_id,
            task=task_ref(setting.tasks, setting.tasks.find(self.task_id)),
            seed=self.seed,
            actions=tuple(ActionData.of(action) for action in self.actions),
            recorded=tuple(self.recorded),
            cut=self.cut,
            digest=self.digest,
        )
