"""`tir-gym play`: a person plays an episode in the terminal."""

import contextlib
import itertools
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from tir_gym.cli.game import Game
from tir_gym.cli.keyboard import Keyboard
from tir_gym.cli.terminal import AsJson, EnvId, Options, console, make, print_json, user_errors
from tir_gym.core.schema import EpisodeRecord
from tir_gym.rollout import TrajectoryFile, episode_key, record_of


def play(
    env_id: EnvId,
    seed: Annotated[int | None, typer.Option(help="Seed of the episode; a random one unless given.")] = None,
    task: Annotated[str | None, typer.Option(help="Id of the task, where the seed is not to draw it.")] = None,
    out: Annotated[Path | None, typer.Option(help="Trajectory file to append the finished episode to.")] = None,
    settings: Options = None,
    as_json: AsJson = False,
) -> None:
    """Play an episode yourself: write raw completions as a policy would, or let commands write them for you.

    /help lists the commands (/call TOOL, /answer TEXT, /undo, /hint, ...). Text without a slash is a raw completion.
    Standard input may be a pipe. An episode with a hint or an undone turn is recorded as "human-assisted".

    Example:  tir-gym play tir/MathCode-v0 --seed 7 --set protocol=fenced --out runs/me.jsonl
    """
    env = make(env_id, settings)
    chosen = random.SystemRandom().randrange(1_000_000) if seed is None else seed
    screen = Console(stderr=True) if as_json else console
    with contextlib.ExitStack() as stack:
        stack.callback(env.close)
        with user_errors():
            file = stack.enter_context(_opened(out)) if out is not None else None
            observation, _ = env.reset(seed=chosen, options={"task_id": task} if task is not None else None)
        with Game(env, observation, Keyboard(screen), screen) as game:
            game.play()
            label = "human-assisted" if game.assisted else "human"
        record = record_of(env, policy=label, key=episode_key(env.setting, label, chosen))
        if file is not None and record.outcome:
            record = record.model_copy(update={"key": _new_key(record.key, file.keys)})
            with user_errors():
                file.append(record)
    if as_json:
        print_json(_told(record))
    elif out is not None and record.outcome:
        console.print(Text(f"recorded as {record.key} in {out}"), soft_wrap=True)
    elif out is not None:
        console.print(Text("the episode is not over, so it was not recorded"))


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[TrajectoryFile]:
    """The file to record in, opened before the game, so that nobody plays in vain; gone again if it stays empty."""
    with TrajectoryFile(path) as file:
        try:
            yield file
        finally:
            if path.stat().st_size == 0:
                path.unlink()


def _new_key(key: str, taken: set[str]) -> str:
    """The key, with a number where it was played before."""
    numbered = itertools.chain([key], (f"{key}#{number}" for number in itertools.count(2)))
    return next(name for name in numbered if name not in taken)


def _told(record: EpisodeRecord) -> dict[str, Any]:
    return {
        "id": record.state.env_id,
        "task": record.state.task.id,
        "policy": record.policy,
        "outcome": record.outcome,
        "score": record.verdict.value,
        "reason": record.verdict.reason,
        "rewards": record.rewards,
        "total": record.total,
        "turns": record.turns,
        "calls": len(record.calls),
        "key": record.key,
    }
