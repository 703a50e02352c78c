"""`tir-gym list | describe | doctor`: what there is, what it is, and what this machine can run."""

from collections.abc import Mapping
from dataclasses import fields
from typing import Annotated, Any, cast

import typer
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from tir_gym.cli.doctor import Kind, diagnose
from tir_gym.cli.terminal import AsJson, EnvId, Options, console, make, print_json, user_errors
from tir_gym.drivers.render import visible
from tir_gym.envs import domain_of, list_envs
from tir_gym.envs.registration import compatibility


def list_command(as_json: AsJson = False) -> None:
    """List the registered environments.

    Example:  tir-gym list --json
    """
    rows = [(env_id, domain_of(env_id)) for env_id in list_envs()]
    if as_json:
        print_json([{"id": env_id, "description": domain.description} for env_id, domain in rows])
        return
    table = Table("id", "what it is", box=None, pad_edge=False)
    table.columns[0].no_wrap = True
    for env_id, domain in rows:
        table.add_row(env_id, domain.description)
    console.print(table)


def describe(env_id: EnvId, settings: Options = None, as_json: AsJson = False) -> None:
    """Show what an environment offers: tools, options, kinds of task, protocols, floor, a first observation.

    Example:  tir-gym describe tir/MathCode-v0 --set difficulty=7
    """
    env = make(env_id, settings)
    env_id = env.setting.env_id
    try:
        with user_errors():
            observation, _ = env.reset(seed=0)
    finally:
        env.close()
    setting = env.setting
    facts: dict[str, Any] = {
        "id": env_id,
        "description": setting.domain.description,
        "protocol": setting.protocol.name,
        "protocols": compatibility(env_id),
        "stop_strings": list(setting.protocol.stop_strings),
        "options": {item.name: getattr(setting.domain, item.name) for item in fields(cast(Any, setting.domain))},
        "tools": [
            {"actor": actor.name, "kind": tool.kind.value, "effect": tool.effect.value, "latency_s": tool.latency_s}
            | tool.schema
            for actor in setting.domain.actors
            for tool in setting.domain.declared_tools(actor.name)
        ],
        "task_set": {"name": setting.tasks.name, "size": setting.tasks.size, "fingerprint": setting.tasks.fingerprint},
        "catalogue": setting.domain.catalogue(),
        "budget": {"turns": setting.budget.turns, "calls": setting.budget.calls, "virtual_s": setting.budget.virtual_s},
        "floor": setting.domain.floor,
        "reward_channels": list(setting.rewards.channels),
        "first_observation": observation if isinstance(observation, str) else observation["text"],
    }
    if as_json:
        print_json(facts)
    else:
        _print_facts(facts)


def _print_facts(facts: Mapping[str, Any]) -> None:
    size = facts["task_set"]["size"]
    budget = facts["budget"]
    console.print(Text(facts["id"], style="bold cyan"))
    console.print(Text(facts["description"]))
    _section("In short")
    _print_pairs(
        {
            "tasks": f"{facts['task_set']['name']}, {'generated without end' if size is None else f'{size} tasks'}, "
            f"fingerprint {facts['task_set']['fingerprint']}",
            "budget": f"{budget['turns']} turns, {budget['calls']} calls, {budget['virtual_s']:g} s on the clock",
            "reward": f"channels {', '.join(facts['reward_channels'])}; blind policies reach at most {facts['floor']}",
            "protocol": f"{facts['protocol']}, stop strings {', '.join(map(repr, facts['stop_strings'])) or '(none)'}",
            "own options": ", ".join(f"{name}={value!r}" for name, value in facts["options"].items()) or "(none)",
        }
    )
    _section("Tools")
    several = len({tool["actor"] for tool in facts["tools"]}) > 1
    for tool in facts["tools"]:
        print_tool(tool["function"], f"{tool['kind']}, {tool['effect']}" + several * f", of {tool['actor']}")
    _section("Protocols (--set protocol=NAME)")
    _print_pairs({name: "yes" if not reason else f"no: {reason}" for name, reason in facts["protocols"].items()})
    if facts["catalogue"]:
        _section("Kinds of task")
        _print_catalogue(facts["catalogue"])
    _section("First observation (seed 0)")
    console.print(Text(visible(facts["first_observation"])))


def _section(title: str) -> None:
    console.print()
    console.print(Text(title, style="bold"))


def _print_pairs(pairs: Mapping[str, str]) -> None:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True, style="cyan")
    table.add_column(overflow="fold")
    for name, value in pairs.items():
        table.add_row(name, Text(value))
    console.print(table)


_NARROW = 24
"""A column is part of the table if its values are at most this many characters long; the others stand below it."""


def _print_catalogue(rows: list[Mapping[str, object]]) -> None:
    """Rows with the same keys: a table of what is short, and below it what is said at length."""
    short = [name for name in rows[0] if all(len(str(row[name])) <= _NARROW for row in rows)]
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for name in short:
        numeric = isinstance(rows[0][name], int | float)
        table.add_column(name, overflow="fold", justify="right" if numeric else "left", no_wrap=name == short[0])
    for row in rows:
        table.add_row(*(Text(str(row[name])) for name in short))
    console.print(table)
    long = [name for name in rows[0] if name not in short]
    for row in rows if long else ():
        console.print(Text(str(row[short[0]]) if short else "", style="cyan"))
        for name in long:
            console.print(Padding(Text(f"{name}: {row[name]}"), (0, 0, 0, 4)))


def print_tool(function: Mapping[str, Any], note: str = "", console: Console = console) -> None:
    """Print a tool's signature and what it does, from its function schema."""
    schema = function["parameters"]
    required = schema.get("required", ())
    arguments = ", ".join(
        f"{name}{'' if name in required else '?'}: {_kind(kind)}" for name, kind in schema["properties"].items()
    )
    heading = Text(f"{function['name']}({arguments})", style="yellow")
    console.print(heading + Text(f"  {note}" * bool(note), style="bright_black"))
    console.print(Padding(Text(function.get("description", "")), (0, 0, 0, 4)))
    for name, kind in schema["properties"].items():
        if kind.get("description"):
            console.print(Padding(Text(f"{name}: {kind['description']}"), (0, 0, 0, 4)))


def _kind(schema: Mapping[str, Any]) -> str:
    """The type of a parameter in a word or two."""
    if "enum" in schema:
        return " | ".join(map(repr, schema["enum"]))
    if "anyOf" in schema:
        return " | ".join(_kind(one) for one in schema["anyOf"])
    return str(schema.get("type", "any"))


def doctor(
    executor: Annotated[Kind, typer.Option(help="Where code would run.")] = Kind.FORKSERVER, as_json: AsJson = False
) -> None:
    """Say what isolation this machine enforces, as observed in a live session, and how to mend what is missing.

    Exit status 1 where code cannot run jailed.

    Example:  tir-gym doctor --executor bwrap
    """
    findings, usable = diagnose(executor)
    if as_json:
        print_json(findings)
    else:
        table = Table("check", "finding", box=None, pad_edge=False)
        table.columns[0].no_wrap = True
        for name, finding in findings.items():
            good = finding == "enforced" or finding.startswith("ok")
            table.add_row(name, Text(finding, style="green" if good else "yellow"))
        console.print(table)
    if not usable:
        raise typer.Exit(1)
