"""`tir-gym audit`: what cheap policies can earn in an environment."""

import itertools
import math
from collections import Counter
from typing import Annotated

import typer
from rich.status import Status
from rich.table import Table
from rich.text import Text

from tir_gym.audit import CHEATS, Finding, Report
from tir_gym.audit import audit as run_audit
from tir_gym.audit.report import TOLERANCE
from tir_gym.cli.terminal import (
    AsJson,
    Imports,
    Options,
    cells,
    console,
    fail,
    import_modules,
    parse_settings,
    print_json,
    user_errors,
    warn,
)
from tir_gym.envs import list_envs
from tir_gym.envs.registration import compatibility
from tir_gym.protocols import PROTOCOLS
from tir_gym.recipes import recipes

MOST = 10
"""Findings of one set-up that are shown."""


def audit(
    env_ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Ids from `tir-gym list`, or `all`.")],
    recipe: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Rewards of a paper, or `all`; may be repeated. Without: the id's own."),
    ] = None,
    cheat: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Only this cheat; may be repeated.")] = None,
    protocol: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="In this syntax, or `all` that fit; may be repeated. Without: the paper's."),
    ] = None,
    episodes: Annotated[int, typer.Option("-n", "--episodes", min=1, help="Episodes for each cheat.")] = 5,
    seed: Annotated[int, typer.Option(help="Seed of the first episode; the others follow.")] = 0,
    settings: Options = None,
    modules: Imports = None,
    as_json: AsJson = False,
) -> None:
    """Let cheap policies play, and report the best that one reached, channel by channel.

    Each is held against what the reward says can be had without the answer, and its scores against the environment's
    floor. Exit status 1 if a cheat earned more, escaped a reward, or broke the environment.

    Example:  tir-gym audit tir/MathCode-v0 --recipe otc --recipe search_r1
    """
    import_modules(modules)
    ids = list_envs() if env_ids == ["all"] else env_ids
    names = ["", *recipes()] if recipe == ["all"] else recipe or [""]
    for option, given, known in (
        ("ID", ids, list_envs()),
        ("--recipe", names, ["", *recipes()]),
        ("--cheat", cheat or [], CHEATS),
        ("--protocol", protocol or [], ["all", *PROTOCOLS]),
    ):
        if unknown := sorted({*given} - {*known}):
            fail(f"{option} {unknown[0]!r} is unknown; there are {', '.join(filter(None, known))}")
    reports: list[Report] = []
    with user_errors(), Status("", console=console) as status:
        options = parse_settings(settings)
        for env_id in ids:
            fitting = [name for name, why in compatibility(env_id).items() if not why]
            for syntax in fitting if protocol == ["all"] else protocol or [""]:
                reports += run_audit(
                    env_id,
                    names,
                    episodes=episodes,
                    seed=seed,
                    cheats=cheat,
                    progress=lambda name, of=f"{env_id} {syntax}": status.update(f"{of} {name}"),  # type: ignore[misc]
                    **({**options, "protocol": syntax} if syntax else options),
                )
    if as_json:
        print_json([report.as_dict() for report in reports])
    else:
        _print(reports)
    if not all(report.clean for report in reports):
        raise typer.Exit(1)


def _print(reports: list[Report]) -> None:
    table = Table("set-up", "channel", "best", "by", "allowed", "oracle", box=None, pad_edge=False)
    for column in (2, 4, 5):
        table.columns[column].justify = "right"
    for report in reports:
        titles = [report.env_id, f"  {report.recipe or 'own rewards'}, {report.protocol}"]
        for title, row in itertools.zip_longest(titles, _rows(report)):
            if row is None:
                table.add_row(title)
                continue
            name, best, by, *bounds = row
            style = "red" if best > bounds[0] + TOLERANCE else None
            table.add_row(*cells(title or "", name, _shown(best), by, *map(_shown, bounds)), style=style)
    console.print(table)
    if any(report.reads_tool_text for report in reports):
        console.print("* reads what tools say, by definition; played with forged results, too")
    for report in reports:
        _warn(report)
    played = Counter({report.env_id: report.cheats for report in reports})
    dirty = sum(not report.clean for report in reports)
    verdict = "none earned what it must not" if not dirty else f"{dirty} of {len(reports)} set-ups are not clean"
    each = f"{max(played.values(), default=0)} cheats, {len(reports)} set-ups of {len(played)} environments"
    console.print(Text(f"{each}: {verdict}"), soft_wrap=True)


def _rows(report: Report) -> list[tuple[str, float, str, float, float]]:
    """Channel, best, by whom, allowed, oracle: the verdict first, then the total, then the channels."""
    score, who = report.solved
    rows = [("score", score, who, report.floor, report.oracle_score)]
    for name in sorted(report.best, key=lambda name: (name != "total", name)):
        best, by = report.best[name]
        mark = " *" if name in report.reads_tool_text else ""
        rows.append((name + mark, best, by, report.allowed[name], report.oracle.get(name, math.nan)))
    return rows + [(name, math.nan, "(tasks lack its data)", math.nan, math.nan) for name in report.unheard]


def _warn(report: Report) -> None:
    """Say what was found, the worst of each cheat in each channel, and the first of many."""
    name = f"{report.env_id} {report.recipe}".strip()
    worst: dict[tuple[str, str], Finding] = {}
    for finding in report.findings:
        key = finding.cheat, finding.channel
        if key not in worst or finding.earned > worst[key].earned:
            worst[key] = finding
    problems = [*map(str, worst.values()), *dict.fromkeys(report.invalid)]
    for problem in problems[:MOST]:
        warn(f"{name}: {problem}")
    if len(problems) > MOST:
        warn(f"{name}: and {len(problems) - MOST} more (--json has them all)")


def _shown(number: float) -> str:
    return "-" if math.isnan(number) else f"{number:.3g}"
