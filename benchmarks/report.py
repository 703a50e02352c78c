"""What every benchmark does with what it found: tables, the page of all figures, drawings, the regression gate."""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
FIGURES = PAGE.with_name("figures")
Result = dict[str, Any]
"""What a benchmark found, as JSON: `machine` in words, `ratios` (name -> number, more is better), its own figures."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """What `report` needs to know."""
    parser.add_argument("--write", action="store_true", help="put the tables into docs/performance.md")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was found")
    parser.add_argument("--read", type=Path, metavar="FILE", help="measure nothing, take what --json wrote")
    parser.add_argument("--plot", action="store_true", help="draw docs/figures (needs matplotlib)")
    parser.add_argument("--compare", type=Path, metavar="FILE", help="end with status 1 where a ratio has fallen")
    parser.add_argument("--tolerance", type=float, default=0.3, help="the share by which a ratio may fall (0.3)")


def report(
    name: str,
    chosen: argparse.Namespace,
    measure: Callable[[], Result],
    show: Callable[[Result], str],
    draw: Callable[[Result], None] | None = None,
) -> None:
    """Measure (or read), print, write, draw and compare, as the options say. Raises `SystemExit` of the gate."""
    result: Result = json.loads(chosen.read.read_text()) if chosen.read else measure()
    if chosen.json:
        chosen.json.write_text(json.dumps(result, indent=1) + "\n")
    text = show(result)
    print(text)
    if chosen.write:
        write(name, text)
    if chosen.plot and draw is not None:
        FIGURES.mkdir(exist_ok=True)
        draw(result)
    if chosen.compare:
        baseline: Result = json.loads(chosen.compare.read_text())
        if fallen := regressions(result["ratios"], baseline["ratios"], chosen.tolerance):
            sys.exit("\n".join(["slower than the baseline:", *fallen]))
        print(f"no ratio is more than {chosen.tolerance:.0%} below {chosen.compare}")


def write(name: str, text: str) -> None:
    """Put a text between the marks of this name on the page of all figures."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    before, _, rest = PAGE.read_text().partition(begin)
    after = rest.partition(end)[2]
    PAGE.write_text(f"{before}{begin}\n{text}\n{end}{after}")


def plotter() -> Any:
    """`matplotlib.pyplot`, set to small SVG files that are the same for the same figures."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.hashsalt": "tir_gym", "svg.fonttype": "none"})
    from matplotlib import pyplot

    return pyplot


def regressions(ratios: dict[str, float], baseline: dict[str, float], tolerance: float) -> list[str]:
    """Which ratios fell by more than this share, or are not there any more: a line each."""
    found = []
    for name, before in baseline.items():
        now = ratios.get(name)
        if now is None:
            found.append(f"{name}: {before:.3g}, now not measured")
        elif not now >= before * (1 - tolerance):  # nan is no pass
            found.append(f"{name}: {before:.3g}, now {now:.3g} ({now / before - 1:+.0%})")
    return found


def spread(values: list[float]) -> tuple[float, float, float]:
    """Median, smallest and largest."""
    return float(np.median(values)), float(min(values)), float(max(values))


def number(value: float) -> str:
    """Three digits that matter; "" for nan."""
    if value != value:
        return ""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    return f"{value:,.{digits}f}"
