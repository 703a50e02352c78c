"""`tir-gym audit`: what cheap policies can earn in an environment."""

import math
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from tir_gym.audit import CHEATS, Report
from tir_gym.audit import audit as run_audit
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
from tir_gym.recipes import recipes


def audit(
    env_ids: Annotated[list[str], typer.Argument(metavar="ID...", help="Ids from `tir-gym list`, or `all`.")],
    recipe: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Rewards of a paper, or `all`; may be repeated. Without: the id's own."),
    ] = None,
    cheat: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Only this cheat; may be repeated.")] = None,
    episodes: Annotated[int, typer.Option("-n", "--episodes", min=1, help="Episodes for each cheat.")] = 5,
    seed: Annotated[int, typer.Option(help="Seed of the first episode; the others follow.")] = 0,
    settings: Options = None,
    modules: Imports = None,
    as_json: AsJson = False,
) -> None:
    """Let cheap policies play, and report the best that one reached, channel by channel.

    Each is held against what the reward says can be had without the answer, and the share of solved episodes against
    the environment's floor. Exit status 1 if a cheat earned more, or broke the environment.

    Example:  tir-gym audit tir/MathCode-v0 --recipe otc --recipe search_r1
    """
    import_modules(modules)
    names = [*recipes(), ""] if recipe == ["all"] else recipe or [""]
    if unknown := sorted({*names} - {*recipes(), ""}):
        fail(f"--recipe {unknown[0]}: there are {', '.join(recipes())}")
    if unknown := sorted({*(cheat or ())} - {*CHEATS}):
        fail(f"--cheat {unknown[0]}: there are {', '.join(CHEATS)}")
    ids = list_envs() if env_ids == ["all"] else env_ids
    if unknown := sorted({*ids} - {*list_envs()}):
        fail(f"no environment {unknown[0]!r}; there are {', '.join(list_envs())}")
    reports: list[Report] = []
    with user_errors():
        options = parse_settings(settings)
        for env_id in ids:
            reports += run_audit(env_id, names, episodes=episodes, seed=seed, cheats=cheat, **options)
    if as_json:
        print_json([report.as_dict() for report in reports])
    else:
        _print(reports)
    if not all(report.clean for report in reports):
        raise typer.Exit(1)


def _print(reports: list[Report]) -> None:
    table = Table("id", "recipe", "channel", "best", "by", "allowed", "oracle", box=None, pad_edge=False)
    for report in reports:
        for name, (value, who) in sorted(report.best.items()):
            mark = " (reads tool text)" if name in report.reads_tool_text else ""
            numbers = [_shown(n) for n in (report.allowed[name], report.oracle.get(name, math.nan))]
            table.add_row(*cells(report.env_id, report.recipe or "-", name + mark, _shown(value), who, *numbers))
    console.print(table)
    for report in reports:
        name = f"{report.env_id} {report.recipe}".strip()
        for problem in [*map(str, report.findings), *report.invalid]:
            warn(f"{name}: {problem}")
    dirty = sum(not report.clean for report in reports)
    played = f"{len(CHEATS)} cheats" if reports else "nothing"
    verdict = "none earned what it must not" if not dirty else f"{dirty} of {len(reports)} set-ups are not clean"
    console.print(Text(f"{played}: {verdict}"), soft_wrap=True)


def _shown(number: float) -> str:
    return "-" if math.isnan(number) else f"{number:.3g}"
