"""Real problems, real jailed code: GSM8K's own worked solutions, step by step in the interpreter.

    python examples/gsm8k.py PATH/TO/gsm8k/test.jsonl

Each problem's `<<48/2=24>>` marks become a program; the oracle runs it with the `python` tool and answers with what
comes back. One episode is shown whole, all are recorded in runs/gsm8k.jsonl.
"""

import itertools
import sys

import gymnasium as gym
from rich.console import Console
from rich.progress import track
from rich.text import Text

import tir_gym  # noqa: F401  registers the ids
from tir_gym.drivers.env import ToolEnv
from tir_gym.drivers.render import render_ansi
from tir_gym.rollout import TrajectoryFile, collect, read_records

PROBLEMS = 100


def main(path: str) -> None:
    env = gym.make("tir/MathCode-v0", tasks=f"gsm8k:{path}").unwrapped
    seeds = seeds_with_a_plan(env, PROBLEMS)
    console = Console()
    with TrajectoryFile("runs/gsm8k.jsonl") as file:
        rollout = collect(env, "oracle", seeds, file)
        missing = PROBLEMS - len(file.keys)
        for number, _ in enumerate(track(rollout, total=missing, description="GSM8K", console=console)):
            if number == 0:
                console.print(Text.from_ansi(render_ansi(env.episode, console.width)))
    env.close()
    records = list(read_records("runs/gsm8k.jsonl"))
    solved = sum(record.outcome == "solved" for record in records)
    calls = sum(len(record.calls) for record in records)
    console.print(f"{solved} of {len(records)} real problems solved with {calls} jailed calls; see runs/gsm8k.jsonl")


def seeds_with_a_plan(env: ToolEnv, count: int) -> list[int]:
    """The first seeds that draw different problems whose worked solution is plain arithmetic."""
    found: dict[str, int] = {}
    seeds = itertools.count()
    while len(found) < count:
        seed = next(seeds)
        _, info = env.reset(seed=seed)
        task_id = info["task"]["id"]
        if env.setting.tasks.find(task_id).gold.plan is not None:
            found.setdefault(task_id, seed)
    return list(found.values())


if __name__ == "__main__":
    main(sys.argv[1])
