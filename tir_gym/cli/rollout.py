"""`tir-gym rollout`: policies play episodes, which are kept as trajectory files."""

import contextlib
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from tir_gym.cli.terminal import (
    AsJson,
    Options,
    cells,
    console,
    fail,
    make,
    number,
    print_json,
    tally,
    user_errors,
    warn,
)
from tir_gym.core.schema import EpisodeRecord
from tir_gym.drivers.env import ToolEnv
from tir_gym.drivers.render import render_ansi
from tir_gym.envs import list_envs
from tir_gym.rollout.collect import EpisodesLeftOut, collect
from tir_gym.rollout.endpoint import Endpoint
from tir_gym.rollout.policies import POLICIES, PolicyMaker, scripted
from tir_gym.rollout.record import episode_key
from tir_gym.rollout.stats import Summary
from tir_gym.rollout.trajectories import TrajectoryFile, read_records

_MODEL = "A model behind an OpenAI-compatible endpoint"


def rollout(
    env_ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Ids from `tir-gym list`, or `all`.")],
    policy: Annotated[
        list[str] | None,
        typer.Option(metavar="POLICY", help=f"One of {', '.join(POLICIES)}, scripted. May be repeated."),
    ] = None,
    script: Annotated[
        Path | None,
        typer.Option(help='JSONL file for --policy scripted: {"task_id": ID, "turns": [TEXT, ...]} a line.'),
    ] = None,
    episodes: Annotated[int, typer.Option("-n", "--episodes", min=1, help="Episodes for each id and policy.")] = 20,
    seed: Annotated[int, typer.Option(help="Seed of the first episode; the others follow.")] = 0,
    out: Annotated[Path, typer.Option(help="Folder for the trajectory files.")] = Path("runs"),
    concurrency: Annotated[int, typer.Option(min=1, help="Episodes played at the same time.")] = 1,
    settings: Options = None,
    show: Annotated[bool, typer.Option("--show", help="Print the first transcript of each.")] = False,
    as_json: AsJson = False,
    endpoint: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Up to /v1; the key is taken from OPENAI_API_KEY.", rich_help_panel=_MODEL),
    ] = None,
    model: Annotated[str, typer.Option(help="The model's name there.", rich_help_panel=_MODEL)] = "",
    temperature: Annotated[float, typer.Option(min=0.0, help="Of sampling.", rich_help_panel=_MODEL)] = 1.0,
    max_tokens: Annotated[int, typer.Option(min=1, help="Of one completion.", rich_help_panel=_MODEL)] = 4096,
) -> None:
    """Let policies play, keep the episodes as JSONL and show the results.

    A rollout that was cut off goes on where it stopped: episodes that the file holds are not played again.
    Unless told who plays, the oracle does, and the policy that says nothing.

    Example:  tir-gym rollout tir/MathCode-v0 --policy oracle --policy null -n 50

    Example:  tir-gym rollout all --endpoint http://127.0.0.1:8000/v1 --model Qwen/Qwen3-8B --concurrency 16
    """
    chosen = list_envs() if env_ids == ["all"] else env_ids
    if (endpoint is None) != (not model):
        fail("--endpoint URL and --model NAME go together")
    with user_errors():
        players = [_named(name, script) for name in policy or ([] if endpoint else ["oracle", "null"])]
        if endpoint is not None:
            asked = Endpoint(endpoint, model, temperature=temperature, max_tokens=max_tokens)
            asked.check()
            players.append(_Player(asked.name, asked))
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=as_json or not console.is_terminal) as progress:
        seeds = range(seed, seed + episodes)
        rows = [
            _roll(progress, make(env_id, settings), player, seeds, out, concurrency, show=show and not as_json)
            for env_id in chosen
            for player in players
        ]
    if as_json:
        print_json(rows)
    else:
        _print_results(rows)
    if left_out := sum(row["left_out"] for row in rows):
        fail(f"episodes left out: {left_out}; the same command plays them")


@dataclass(frozen=True)
class _Player:
    """Who plays: a name for the record, and what makes its policies."""

    name: str
    make: PolicyMaker


def _named(name: str, script: Path | None) -> _Player:
    """A policy by name; exits with a message for one that there is not. Raises `ValueError` for a bad script."""
    if name in POLICIES:
        return _Player(name, POLICIES[name])
    if name == "human":
        fail("a person plays one episode at a time: `tir-gym play ID --out FILE`")
    if name != "scripted":
        fail(f"no policy {name!r}; there are {', '.join(POLICIES)}, scripted")
    if script is None:
        fail("--policy scripted needs --script FILE")
    digest = hashlib.blake2b(script.read_bytes(), digest_size=3).hexdigest()
    return _Player(f"scripted-{digest}", scripted(script))


def _roll(
    progress: Progress, env: ToolEnv, player: _Player, seeds: range, out: Path, concurrency: int, *, show: bool
) -> dict[str, Any]:
    name = env.setting.env_id
    path = out / f"{name.removeprefix('tir/')}.{player.name}.jsonl".replace("/", ".")
    bar = progress.add_task(f"{name} {player.name}", total=len(seeds))
    left_out = 0
    with contextlib.closing(env), user_errors():
        keys = [episode_key(env.setting, player.name, seed) for seed in seeds]
        with TrajectoryFile(path) as file:
            had = len(file.keys.intersection(keys))
            progress.advance(bar, had)
            records = collect(env, player.make, seeds, file, name=player.name, concurrency=concurrency)
            try:
                for count, record in enumerate(records):
                    progress.advance(bar)
                    if show and count == 0:
                        progress.console.print(_transcript(env, record, replayed=concurrency > 1))
            except EpisodesLeftOut as error:
                left_out = len(error.failures)
                warn(str(error))
        wanted = set(keys)
        summary = Summary({})
        for record in read_records(path):
            if record.key in wanted:
                summary.add(record)
    row = {"id": name, "policy": player.name, "resumed": had, "left_out": left_out}
    return {**row, **summary.as_dict(), "file": str(path)}


def _transcript(env: ToolEnv, record: EpisodeRecord, *, replayed: bool) -> Text:
    """The episode of a record that `env` has just played, or is to replay where copies of it play."""
    if replayed:
        env.set_state(record.state)
    return Text.from_ansi(render_ansi(env.episode, console.width))


def _print_results(rows: list[dict[str, Any]]) -> None:
    table = Table(box=None, pad_edge=False)
    table.add_column("id", overflow="fold")
    table.add_column("policy", overflow="fold")
    for name in ("n", "score", "invalid", "turns", "calls"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("outcomes", overflow="fold")
    for row in rows:
        table.add_row(
            *cells(row["id"], row["policy"]),
            str(row["episodes"]),
            number(row["score"]),
            number(row["invalid"], ".1%"),
            number(row["turns"], ".1f"),
            number(row["calls"], ".1f"),
            tally(row["outcomes"]),
        )
    console.print(table)
    files = [Path(row["file"]) for row in rows]
    told = ", ".join(map(str, files)) if len(files) < 4 else f"{files[0].parent} ({len(files)} files)"
    console.print(Text(f"trajectories: {told}"), soft_wrap=True)
