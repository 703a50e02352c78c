"""`python -m tests.executors.hostile [--write]`: every program against every executor and against none; the matrix.

With `--column NAME` only that column, as JSON (and with `--few` only `FEW`). Needs user namespaces; as root it also
shows the unprivileged columns. bubblewrap and docker are shown where they are installed.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from shutil import which

from tests.executors.engine import engine
from tests.executors.hostile.control import ROOT, WAYS
from tests.executors.hostile.program import HARMS
from tests.executors.hostile.programs import FEW, HARMLESS, PROGRAMS
from tests.executors.hostile.world import OTHERS, TIERS, judge, worlds

PAGE = ROOT / "docs" / "security.md"
STRANGER = (sys.executable, "-m", "tests.executors.hostile.stranger")
BEGIN, END = "<!-- hostile: begin -->", "<!-- hostile: end -->"


def column(tier: str, names: Iterable[str] = PROGRAMS) -> dict[str, str]:
    """Program -> harms, "!" where it ended as it must not, "-" where there is nothing to run it against."""
    found = {}
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        url = stack.enter_context(engine()) if tier == "docker" else ""
        world = stack.enter_context(worlds(tier, Path(folder), url))
        for name in names:
            found[name] = judge(world, name)
            if found[name].strip("-"):
                print(tier, name, found[name], file=sys.stderr)
    return found


def _elsewhere(arguments: list[str], way_in: tuple[str, ...] = ()) -> str:
    done = subprocess.run(
        [*way_in, sys.executable, "-m", "tests.executors.hostile", *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return done.stdout


def _control(name: str, way: str) -> list[str]:
    """Harms and words of one program without isolation."""
    if name in PROGRAMS and PROGRAMS[name].exempt:
        return ["", PROGRAMS[name].exempt]
    command = [sys.executable, "-m", "tests.executors.hostile.control", name, way]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if not done.stdout or (found := json.loads(done.stdout))[0] == "?":
        raise RuntimeError(f"the control did not run {name!r}: {done.stdout or done.stderr}")
    return list(found)


def controls(names: list[str] | None = None) -> dict[str, dict[str, list[str]]]:
    """Way -> program -> `[harms, words]`, where nothing is isolated."""
    names = names or list(PROGRAMS)
    for way in WAYS:
        if _control(HARMLESS.name, way)[0]:
            raise RuntimeError(f"the control finds harm where none was done: {_control(HARMLESS.name, way)}")
    with ThreadPoolExecutor(3) as pool:
        return {way: dict(zip(names, pool.map(_control, names, [way] * len(names)), strict=True)) for way in WAYS}


def columns() -> dict[str, dict[str, str]]:
    """Column -> program -> harms, for every executor that this machine has."""
    root = os.geteuid() == 0
    there = [*TIERS, *(other for other, program in zip(OTHERS, ("bwrap", "dockerd"), strict=True) if which(program))]
    runs = {("" if root else "unprivileged ") + t: (["--column", t], ()) for t in there if root or t != "docker"}
    if root:
        runs |= {"unprivileged " + t: (["--column", t], STRANGER) for t in there if t != "docker"}
    return {name: json.loads(_elsewhere(*how)) for name, how in runs.items()}


def unforeseen(head: str, found: dict[str, str]) -> list[str]:
    """The programs of a column that did what they are not known to do there."""
    known = {name: PROGRAMS[name].weak.get(head, "") for name in found}
    return [n for n, harms in found.items() if not set(harms) <= set(known[n] and f"{known[n]}!") | {"-"}]


def counts(found: dict[str, dict[str, list[str]]], name: str) -> bool:
    """Whether a program is known to do harm where nothing holds it."""
    return any(found[way][name][0] not in ("", "?") for way in WAYS)


def matrix(held: dict[str, dict[str, str]], bare: dict[str, dict[str, list[str]]]) -> str:
    """The table and what it says, in Markdown."""
    real = [name for name in PROGRAMS if counts(bare, name)]
    heads = [*held, *(f"none ({way})" for way in WAYS)]
    lines = [
        f"{len(PROGRAMS)} programs; {len(real)} of them do harm where nothing is isolated, and only these count. "
        "`.` contained; " + ", ".join(f"`{letter}` {words}" for letter, words in HARMS.items()) + "; "
        "`!` it did not end as it must; `-` not run, `(…)` does not count.",
        "",
        "| contained | " + " | ".join(heads) + " |",
        "|---|" + "---|" * len(heads),
    ]
    ran = {head: [name for name in real if held[head][name] != "-"] for head in held}
    totals = [f"{sum(not held[head][name] for name in ran[head])}/{len(ran[head])}" for head in held]
    totals += [f"{sum(not bare[way][name][0] for name in real)}/{len(real)}" for way in WAYS]
    lines += ["| **of those that count** | " + " | ".join(f"**{total}**" for total in totals) + " |"]
    section = ""
    for name, program in sorted(PROGRAMS.items(), key=lambda item: item[1].section):
        if program.section != section:
            section = program.section
            lines.append(f"| *{section}* |" + " |" * len(heads))
        cells = [held[head][name] or "." for head in held]
        cells += ["-" if program.exempt else bare[way][name][0] or "." for way in WAYS]
        shown = name if name in real else f"({name})"
        lines.append(f"| {shown} | " + " | ".join(cells) + " |")
    exempt = [f"- {p.name}: {p.exempt}." for p in PROGRAMS.values() if p.exempt]
    return "\n".join([*lines, "", "Not run without isolation:", "", *exempt])


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["--column"]:
        print(json.dumps(column(arguments[1], FEW if "--few" in arguments else PROGRAMS)))
        return 0
    held, bare = columns(), controls()
    text = matrix(held, bare)
    print(text)
    if arguments == ["--write"]:
        page = PAGE.read_text("utf-8")
        before, after = page.split(BEGIN)[0], page.split(END)[1]
        PAGE.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", "utf-8")
    unexpected = [f"{head}: {name}" for head in held for name in unforeseen(head, held[head])]
    print(*(f"NOT CONTAINED {line}" for line in unexpected), sep="\n", file=sys.stderr)
    return bool(unexpected)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
