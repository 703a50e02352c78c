"""Real problems, real jailed code: GSM8K's own worked solutions, step by step in the interpreter.

    python examples/gsm8k.py PATH/TO/gsm8k/test.jsonl

Each problem's `<<48/2=24>>` marks become a program; a policy runs it with the `python` tool and answers with what comes
back. One episode is shown whole, all are recorded in runs/gsm8k.jsonl.
"""

import sys

import gymnasium as gym
from rich.console import Console
from rich.progress import track
from rich.text import Text

import tir_gym  # noqa: F401  registers the ids
from tir_gym.core.task import Filtered, JsonlTasks
from tir_gym.drivers.render import render_ansi
from tir_gym.envs.math_code.tasks import BENCHMARKS
from tir_gym.rollout import TrajectoryFile, collect, read_records


def main(path: str) -> None:
    problems = JsonlTasks("gsm8k", path, BENCHMARKS["gsm8k"])
    solvable = Filtered(problems, lambda task: task.gold.plan is not None)
    env = gym.make("tir/MathCode-v0", tasks=solvable).unwrapped
    console = Console()
    with TrajectoryFile("runs/gsm8k.jsonl") as file:
        rollout = collect(env, "oracle", range(100), file)
        for number, _ in enumerate(track(rollout, total=100 - len(file.keys), description="GSM8K", console=console)):
            if number == 0:
                console.print(Text.from_ansi(render_ansi(env.episode, console.width)))
    env.close()
    records = list(read_records("runs/gsm8k.jsonl"))
    solved = sum(record.outcome == "solved" for record in records)
    calls = sum(len(record.calls) for record in records)
    console.print(f"{solved} of {len(records)} real problems solved with {calls} jailed calls; see runs/gsm8k.jsonl")


if __name__ == "__main__":
    main(sys.argv[1])
