"""`tir-gym stats | rescore | export`: what trajectory files say, whether they still say so, and for whom else."""

import contextlib
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from tir_gym.cli.terminal import (
    AsJson,
    Imports,
    cells,
    console,
    fail,
    import_modules,
    number,
    print_json,
    tally,
    user_errors,
    warn,
)
from tir_gym.core.outcome import Outcome
from tir_gym.core.schema import EpisodeRecord
from tir_gym.drivers.render import visible
from tir_gym.rollout.adp import ADP_VERSION
from tir_gym.rollout.export import FORMATS, LOSSES, Filter, export, whole_file
from tir_gym.rollout.parallel import rescore_many
from tir_gym.rollout.rescore import NeedsReplay, RescoreError, same_verdict
from tir_gym.rollout.stats import GROUPS, Summary, summarise
from tir_gym.rollout.trajectories import read_records

Files = Annotated[list[Path], typer.Argument(metavar="FILE...", help="Trajectory files, as `rollout` writes them.")]


def read_all(files: Iterable[Path]) -> Iterator[EpisodeRecord]:
    """The records of several files, one at a time."""
    for path in files:
        yield from read_records(path)


# --- stats -----------------------------------------------------------------------------------------------------------
def stats(
    files: Files,
    by: Annotated[
        list[str] | None, typer.Option(metavar="GROUP", help=f"A row for each: {', '.join(GROUPS)}. May be repeated.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Show scores with 95 % intervals, pass@k and counts; a row for each environment and policy unless told.

    Invalid episodes (that could not be run or judged) enter no mean; their share is shown. Intervals are Wilson's
    where every score is 0 or 1, else normal. pass@k is shown where every task has several rollouts.

    Example:  tir-gym stats runs/*.jsonl --by policy --by difficulty
    """
    groups = by or ["env", "policy"]
    if unknown := set(groups) - set(GROUPS):
        fail(f"--by {sorted(unknown)[0]}: there are {', '.join(GROUPS)}")
    with user_errors():
        summaries = summarise(read_all(files), groups)
    if as_json:
        print_json([summary.as_dict() for summary in summaries])
        return
    if not summaries:
        fail("these files hold no episode")
    _print_scores(groups, summaries)
    _print_counts(groups, summaries)


def _frame(groups: list[str], columns: Iterable[str], last: str) -> Table:
    """An empty table all of whose columns may fold: a narrow terminal then breaks the widest, the groups, first."""
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0))
    for name in groups:
        table.add_column(name, overflow="fold")
    for name in columns:
        table.add_column(name, justify="right", overflow="fold")
    table.add_column(last, overflow="fold")
    return table


def _print_scores(groups: list[str], summaries: list[Summary]) -> None:
    powers = sorted({k for summary in summaries for k in summary.pass_at} - {1})
    table = _frame(
        groups, ("n", *["tasks"] * bool(powers), "invalid", "score", "95 %", *(f"pass@{k}" for k in powers)), "outcomes"
    )
    for one in summaries:
        low, high = one.interval
        table.add_row(
            *cells(*one.group.values()),
            str(one.episodes),
            *[str(one.tasks)] * bool(powers),
            number(one.invalid, ".1%"),
            number(one.score),
            f"{number(low, '.2f')}-{number(high, '.2f')}",
            *(number(one.pass_at.get(k, float("nan"))) for k in powers),
            *cells(tally(one.outcomes)),
        )
    console.print(table)


def _print_counts(groups: list[str], summaries: list[Summary]) -> None:
    console.print()
    table = _frame(groups, ("turns", "calls", "repeat\ncalls", "format\nerrors", "repairs"), "failed\ncalls")
    for one in summaries:
        table.add_row(
            *cells(*one.group.values()),
            number(one.turns, ".1f"),
            number(one.calls, ".1f"),
            str(one.duplicates),
            str(one.format_errors),
            str(one.repairs),
            *cells(tally(one.call_errors) or "none"),
        )
    console.print(table)


# --- rescore ---------------------------------------------------------------------------------------------------------
def rescore(
    files: Files,
    reverify: Annotated[
        bool, typer.Option("--reverify", help="Replay every episode; needed where the verdict looks at the world.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Write all records here, those that changed with the new verdict.")
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Exit 1 if a verdict changed or could not be had.")] = False,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes that share the work; all cores unless told.")
    ] = None,
    modules: Imports = None,
    as_json: AsJson = False,
) -> None:
    """Compute verdicts and rewards again from trajectory files, and say what changed.

    A record is judged from what it holds: answer, call log, policy text. Its task is found by reference, so the task
    set must be the one it was played with. Records that cannot be judged here are counted and kept as they are.

    Example:  tir-gym rescore runs/*.jsonl --check
    """
    import_modules(modules)
    counts: Counter[str] = Counter()
    moves: Counter[tuple[str, str]] = Counter()
    reasons: Counter[str] = Counter()
    columns = (TextColumn("{task.completed} records", markup=False), TimeElapsedColumn())
    with (
        user_errors(),
        contextlib.ExitStack() as stack,
        Progress(*columns, console=console, transient=True, disable=as_json or not console.is_terminal) as progress,
    ):
        bar = progress.add_task("")
        file = stack.enter_context(whole_file(out)) if out else None
        pairs = rescore_many(read_all(files), reverify=reverify, workers=workers, modules=modules or ())
        stack.callback(pairs.close)
        for record, result in pairs:
            progress.advance(bar)
            counts["records"] += 1
            scored = record
            if isinstance(result, RescoreError):
                counts["not_scored"] += 1
                reasons[str(result)] += 1
                counts["needs_replay"] += isinstance(result, NeedsReplay)
            else:
                scored = result
                counts["invalid"] += not scored.valid
                if not same_verdict(record, scored):
                    counts["changed"] += 1
                    moves[_told(record), _told(scored)] += 1
            if file is not None:
                file.write(scored.model_dump_json() + "\n")
    rows = [{"from": before, "to": after, "records": n} for (before, after), n in moves.most_common()]
    names = ("records", "changed", "invalid", "not_scored")
    if as_json:
        print_json({**{name: counts[name] for name in names}, "changes": rows, "reasons": dict(reasons)})
    else:
        _print_rescored({name: counts[name] for name in names}, rows, reasons)
    if check and (counts["changed"] or counts["not_scored"]):
        raise typer.Exit(1)


def _told(record: EpisodeRecord) -> str:
    """A verdict in a few words."""
    if not record.valid:
        return record.outcome
    return f"{record.outcome} {record.verdict.value:g}, reward {record.total:g}"


def _print_rescored(counts: dict[str, int], rows: list[dict[str, Any]], reasons: Counter[str]) -> None:
    table = Table(*(name.replace("_", " ") for name in counts), box=None, pad_edge=False)
    table.add_row(*map(str, counts.values()))
    console.print(table)
    if rows:
        console.print()
        table = Table("from", "to", "records", box=None, pad_edge=False)
        for row in rows:
            table.add_row(*cells(*map(str, row.values())))
        console.print(table)
    for reason, n in reasons.most_common(5):
        warn(f"{n} not scored: {reason}")
    if len(reasons) > 5:
        warn(f"and for {len(reasons) - 5} other reasons (--json has them all)")


# --- export ----------------------------------------------------------------------------------------------------------
def export_command(
    files: Files,
    form: Annotated[str, typer.Option("--format", metavar="FORMAT", help=f"One of {', '.join(FORMATS)}.")],
    out: Annotated[Path, typer.Option(help="The JSONL file to write; it appears whole or not at all.")],
    min_score: Annotated[float | None, typer.Option(help="Only records with at least this score.")] = None,
    outcomes: Annotated[
        list[str] | None, typer.Option("--outcome", metavar="OUTCOME", help="Only this outcome. May be repeated.")
    ] = None,
    only_valid: Annotated[
        bool, typer.Option("--only-valid", help="Leave out episodes that could not be run or judged.")
    ] = False,
    modules: Imports = None,
    as_json: AsJson = False,
) -> None:
    """Set below, where it can quote what each format loses."""
    import_modules(modules)
    if form not in FORMATS:
        fail(f"--format {form}: there are {', '.join(FORMATS)}")
    if out.exists() and any(path.exists() and out.samefile(path) for path in files):
        fail(f"--out {out} is one of the files to read: name another")
    known = [outcome.value for outcome in Outcome if outcome]
    if unknown := set(outcomes or ()) - set(known):
        fail(f"--outcome {sorted(unknown)[0]}: there are {', '.join(known)}")
    with user_errors():
        done = export(read_all(files), form, out, Filter(min_score, tuple(outcomes or ()), only_valid))
    if as_json:
        print_json({**asdict(done), "file": str(out) if done.rows else ""})
    else:
        kept = f"{done.kept} of {done.records} records"
        console.print(Text(f"{kept} gave {done.rows} rows" + (f" in {out}" if done.rows else "")), soft_wrap=True)
        if done.skipped:
            console.print(Text(visible(f"left out: {tally(done.skipped)}")), soft_wrap=True)
    if done.with_images:
        warn(f"{done.with_images} records had images, which trajectory files hold by id only: their rows lack them")
    if not done.rows:
        warn(f"nothing was exported, and {out} was not written" + (_NO_PAIRS if form == "pairs" and done.kept else ""))
        raise typer.Exit(1)


_NO_PAIRS = ": pairs need tasks with several rollouts, one of them right and well-formed (repeat --policy or seeds)"

export_command.__doc__ = f"""Write trajectories in a format that trainers read.

There is a row for each episode, and for each policy where several play in it.

[bold]openai[/]: chat messages of OpenAI's fine-tuning files. Loses {LOSSES["openai"]}.

[bold]sharegpt[/]: conversations of system, human, gpt and tool. Loses {LOSSES["sharegpt"]}.

[bold]adp[/]: the Agent Data Protocol, checked against its schema {ADP_VERSION}. Loses {LOSSES["adp"]}.

[bold]pairs[/]: chosen and rejected rollouts of one task, by Tool-Light's rule: right, well-formed and of the fewest
calls against wrong, or right with more calls. Loses {LOSSES["pairs"]}.

None holds logprobs, token ids, the call log's facts or the world. Exit status 1 where nothing was exported.

Example:  tir-gym export runs/*.jsonl --format openai --outcome solved --out sft.jsonl
"""
