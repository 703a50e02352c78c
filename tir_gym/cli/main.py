"""`tir-gym list | describe | rollout | doctor`."""

import importlib
import json
import statistics
from collections import Counter
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, cast

import gymnasium as gym
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from tir_gym.cli.doctor import diagnose
from tir_gym.core.interfaces import ExecutorUnavailable
from tir_gym.core.schema import EpisodeRecord
from tir_gym.envs import domain_of, list_envs
from tir_gym.rollout import POLICIES, TrajectoryFile, collect, episode_key, read_records

app = typer.Typer(
    help="Gymnasium environments for tool-integrated reasoning.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
console = Console()

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]
EnvId = Annotated[str, typer.Argument(help="An id from `tir-gym list`, or MODULE:ID of a domain of your own.")]
Options = Annotated[
    list[str] | None,
    typer.Option("--set", help="An option of gym.make as NAME=VALUE, e.g. --set protocol=fenced. May be repeated."),
]


@app.command("list")
def list_command(as_json: AsJson = False) -> None:
    """List the registered environments."""
    rows = [(env_id, domain_of(env_id)) for env_id in list_envs()]
    if as_json:
        print_json([{"id": env_id, "description": domain.description} for env_id, domain in rows])
        return
    table = Table("id", "what it is", box=None, pad_edge=False)
    for env_id, domain in rows:
        table.add_row(env_id, domain.description)
    console.print(table)


@app.command()
def describe(env_id: EnvId, settings: Options = None, as_json: AsJson = False) -> None:
    """Show an environment's tools, options, floor and a first observation."""
    env = make(env_id, settings)
    try:
        setting = env.setting
        observation, _ = env.reset(seed=0)
    finally:
        env.close()
    facts = {
        "id": env_id,
        "description": setting.domain.description,
        "protocol": setting.protocol.name,
        "stop_strings": list(setting.protocol.stop_strings),
        "options": {item.name: item.default for item in fields(cast(Any, setting.domain))},
        "tools": [
            {"actor": actor.name, "kind": tool.kind.value, "effect": tool.effect.value, "latency_s": tool.latency_s}
            | tool.schema
            for actor in setting.domain.actors
            for tool in setting.domain.declared_tools(actor.name)
        ],
        "task_set": {"name": setting.tasks.name, "size": setting.tasks.size, "fingerprint": setting.tasks.fingerprint},
        "budget": {"turns": setting.budget.turns, "calls": setting.budget.calls, "virtual_s": setting.budget.virtual_s},
        "floor": setting.domain.floor,
        "reward_channels": list(setting.rewards.channels),
        "first_observation": observation if isinstance(observation, str) else observation["text"],
    }
    if as_json:
        print_json(facts)
        return
    for name, value in facts.items():
        shown = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, indent=1, default=str)
        console.print(Text(name, style="bold"), Text(shown), "", sep="\n", soft_wrap=True)


@app.command()
def rollout(
    env_ids: Annotated[list[str], typer.Argument(help="Ids from `tir-gym list`, or `all`.")],
    policy: Annotated[list[str] | None, typer.Option(help=f"One of {', '.join(POLICIES)}. May be repeated.")] = None,
    episodes: Annotated[int, typer.Option("-n", "--episodes", min=1, help="Episodes for each id and policy.")] = 20,
    seed: Annotated[int, typer.Option(help="Seed of the first episode; the others follow.")] = 0,
    out: Annotated[Path, typer.Option(help="Folder for the trajectory files.")] = Path("runs"),
    settings: Options = None,
    show: Annotated[bool, typer.Option("--show", help="Print the first transcript of each.")] = False,
    as_json: AsJson = False,
) -> None:
    """Play episodes, keep them as JSONL and show the results; a rollout that was cut off goes on where it stopped."""
    chosen = list_envs() if env_ids == ["all"] else env_ids
    policies = policy or ["oracle", "null"]
    if unknown := set(policies) - set(POLICIES):
        fail(f"no policy {sorted(unknown)}; there are {', '.join(POLICIES)}")
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=as_json) as progress:
        rows = [
            _roll(progress, env_id, name, range(seed, seed + episodes), out, settings, show)
            for env_id in chosen
            for name in policies
        ]
    if as_json:
        print_json(rows)
    else:
        _print_results(rows)


def _roll(
    progress: Progress, env_id: str, policy: str, seeds: range, out: Path, settings: list[str] | None, show: bool
) -> dict[str, Any]:
    env = make(env_id, settings)
    name = env.setting.env_id
    path = out / f"{name.removeprefix('tir/').replace('/', '.')}.{policy}.jsonl"
    bar = progress.add_task(f"{name} {policy}", total=len(seeds))
    try:
        keys = [episode_key(env.setting, policy, seed) for seed in seeds]
        with TrajectoryFile(path) as file:
            had = len(file.keys.intersection(keys))
            progress.advance(bar, had)
            for number, _ in enumerate(collect(env, policy, seeds, file)):
                progress.advance(bar)
                if show and number == 0:
                    progress.console.print(_transcript(env))
    except ExecutorUnavailable as error:
        fail(f"code cannot run jailed on this machine: {error}\n`tir-gym doctor` says more.")
    except (LookupError, ValueError, OSError) as error:
        fail(f"{type(error).__name__}: {error}")
    finally:
        env.close()
    return {"id": name, "policy": policy, "resumed": had, **summarise(path, keys)}


def _transcript(env: Any) -> Any:
    from tir_gym.drivers.render import render_ansi

    return Text.from_ansi(render_ansi(env.episode, console.width))


def summarise(path: Path, keys: list[str]) -> dict[str, Any]:
    """Mean score over the valid episodes with these keys, share of invalid ones, and how the episodes ended."""
    wanted = set(keys)
    records: list[EpisodeRecord] = [record for record in read_records(path) if record.key in wanted]
    valid = [record for record in records if record.valid]
    return {
        "episodes": len(records),
        "score": statistics.fmean(record.verdict.value for record in valid) if valid else float("nan"),
        "invalid": 1 - len(valid) / len(records),
        "turns": statistics.fmean(record.turns for record in records),
        "calls": statistics.fmean(len(record.calls) for record in records),
        "outcomes": dict(Counter(record.outcome for record in records)),
        "file": str(path),
    }


def _print_results(rows: list[dict[str, Any]]) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("id", no_wrap=True)
    table.add_column("policy", no_wrap=True)
    for name in ("n", "score", "invalid", "turns", "calls"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("outcomes")
    for row in rows:
        table.add_row(
            row["id"],
            row["policy"],
            str(row["episodes"]),
            f"{row['score']:.3f}",
            f"{row['invalid']:.1%}",
            f"{row['turns']:.1f}",
            f"{row['calls']:.1f}",
            ", ".join(f"{count} {name}" for name, count in row["outcomes"].items()),
        )
    console.print(table)
    console.print(f"trajectories: {', '.join(row['file'] for row in rows)}", soft_wrap=True)


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Say what isolation this machine enforces, as observed in a live session, and how to mend what is missing."""
    findings, usable = diagnose()
    if as_json:
        print_json(findings)
    else:
        table = Table("check", "finding", box=None, pad_edge=False)
        for name, finding in findings.items():
            good = finding == "enforced" or finding.startswith("ok")
            table.add_row(name, f"[{'green' if good else 'yellow'}]{finding.replace('[', chr(92) + '[')}[/]")
        console.print(table)
    if not usable:
        raise typer.Exit(1)


def make(env_id: str, settings: list[str] | None) -> Any:
    """The bare environment with options given as NAME=VALUE; exits with a message where one does not fit."""
    module, colon, env_id = env_id.rpartition(":")
    if colon:
        try:
            importlib.import_module(module)
        except ImportError as error:
            fail(f"cannot import {module!r}: {error}")
    options: dict[str, Any] = {}
    for item in settings or ():
        name, equals, value = item.partition("=")
        if not equals:
            fail(f"--set {item}: write NAME=VALUE")
        try:
            options[name] = json.loads(value)
        except ValueError:
            options[name] = value
    if env_id not in list_envs():
        fail(f"no environment {env_id!r}; there are {', '.join(list_envs())}")
    try:
        return gym.make(env_id, **options).unwrapped
    except (TypeError, ValueError) as error:
        fail(str(error).partition(" was raised from the environment creator")[0])


def print_json(value: Any) -> None:
    """Print as JSON; nan becomes null."""
    console.print_json(json.dumps(value, allow_nan=True).replace("NaN", "null"))


def fail(message: str) -> Any:
    """Print what is wrong and exit with status 2."""
    Console(stderr=True).print(f"[red]error:[/] {message.replace('[', chr(92) + '[')}")
    raise typer.Exit(2)
