"""The `tir-gym` command: its groups of commands and its help."""

from collections.abc import Callable
from typing import Annotated

import typer

from tir_gym.cli import audit, environments, index, play, rollout, trajectories
from tir_gym.version import __version__

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

_PANELS: dict[str, dict[str, Callable[..., None]]] = {
    "Environments": {
        "list": environments.list_command,
        "describe": environments.describe,
        "doctor": environments.doctor,
    },
    "Playing": {"play": play.play, "rollout": rollout.rollout, "audit": audit.audit},
    "Trajectories": {
        "stats": trajectories.stats,
        "rescore": trajectories.rescore,
        "export": trajectories.export_command,
    },
}


def _paragraphs(text: str) -> str:
    """A docstring with each paragraph in one line, to be wrapped at the width of the terminal."""
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


for _panel, _commands in _PANELS.items():
    for _name, _command in _commands.items():
        app.command(_name, help=_paragraphs(_command.__doc__ or ""), rich_help_panel=_panel)(_command)


_INDEX: dict[str, Callable[..., None]] = {
    "build": index.build,
    "info": index.info,
    "search": index.search,
    "eval": index.eval_command,
}
_index = typer.Typer(no_args_is_help=True, rich_markup_mode="rich", help="Make, look at, search and measure indexes.")
for _name, _command in _INDEX.items():
    _index.command(_name, help=_paragraphs(_command.__doc__ or ""))(_command)
app.add_typer(_index, name="index", rich_help_panel="Search")
_lucene = typer.Typer(no_args_is_help=True, rich_markup_mode="rich", help="Real Lucene as a retriever.")
_lucene.callback()(lambda: None)
_lucene.command("setup", help=_paragraphs(index.lucene_setup.__doc__ or ""))(index.lucene_setup)
app.add_typer(_lucene, name="lucene", rich_help_panel="Search")
app.command("serve", help=_paragraphs(index.serve.__doc__ or ""), rich_help_panel="Search")(index.serve)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback(
    help="""Gymnasium environments for tool-integrated reasoning.

[bold]Quick start[/]

\b
  tir-gym describe tir/MathCode-v0     what a policy sees, and its tools
  tir-gym play tir/MathCode-v0         try it yourself
  tir-gym rollout tir/MathCode-v0      let the oracle and a mute policy play

[bold]Exit status[/]

\b
    0  done
    1  a check failed: doctor, audit, rescore --check, nothing to export
    2  wrong usage, or a file or environment that cannot be had
  130  Ctrl-C

Every command takes --json, and COMMAND --help shows an example.
"""
)
def _tir_gym(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None: ...
