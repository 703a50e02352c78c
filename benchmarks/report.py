"""What every benchmark does with what it found: tables, the page of all figures, drawings, the regression gate."""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[1] / "docs" / "performance.md"
FIGURES = PAGE.with_name("figures")
Result = dict[str, Any]
"""What a benchmark found, as JSON: `machine` in words, `ratios` (name -> number, more is better), its own figures."""


def add_options(parser: argparse.ArgumentParser, *, plots: bool = False) -> None:
    """What `report` needs to know; files are read at once, so that a wrong one costs no measurement."""
    parser.add_argument("--write", action="store_true", help="put the tables into docs/performance.md")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write what was found")
    parser.add_argument("--read", type=written, metavar="FILE", help="measure nothing, take what --json wrote")
    parser.add_argument("--compare", type=baseline, metavar="FILE", help="end with status 1 where a ratio has fallen")
    parser.add_argument("--tolerance", type=float, default=0.3, help="the share by which a ratio may fall (0.3)")
    if plots:
        parser.add_argument("--plot", action="store_true", help="draw docs/figures (needs the extra visual)")


def written(file: str) -> Result:
    """What `--json` wrote. Raises `argparse.ArgumentTypeError` where the file is no such thing."""
    try:
        result = json.loads(Path(file).read_text())
    except FileNotFoundError:
        raise argparse.ArgumentTypeError(f"there is no {file}; a run with --json {file} writes it") from None
    except (OSError, ValueError) as error:
        raise argparse.ArgumentTypeError(f"{file} cannot be read: {error}") from None
    if not isinstance(result, dict) or not isinstance(result.get("ratios"), dict):
        raise argparse.ArgumentTypeError(f"{file} is not what --json writes now; make it again")
    return result


def baseline(file: str) -> dict[str, float]:
    """The ratios of such a file. Raises `argparse.ArgumentTypeError` where there are none to compare with."""
    ratios: dict[str, float] = written(file)["ratios"]
    if not ratios:
        raise argparse.ArgumentTypeError(f"{file} holds no ratios, so nothing can be compared with it; make it again")
    return ratios


def report(
    name: str,
    chosen: argparse.Namespace,
    measure: Callable[[], Result],
    show: Callable[[Result], str],
    draw: Callable[[Result], None] | None = None,
) -> None:
    """Measure (or read), print, write, draw and compare, as the options say. Raises `SystemExit` of the gate."""
    if draw is not None and chosen.plot:
        plotter()  # an hour before it would be missed
    result: Result = chosen.read or measure()
    if chosen.json:
        chosen.json.write_text(json.dumps(result, indent=1) + "\n")
    text = show(result)
    print(text)
    if chosen.write:
        write(name, text)
    if draw is not None and chosen.plot:
        draw(result)
    if chosen.compare:
        if fallen := regressions(result["ratios"], chosen.compare, chosen.tolerance):
            sys.exit("\n".join([f"more than {chosen.tolerance:.0%} below the baseline, or not measured:", *fallen]))
        print(f"none of {len(chosen.compare)} ratios is more than {chosen.tolerance:.0%} below the baseline")


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


def save(figure: Any, name: str) -> None:
    """Put a drawing of `plotter` among the figures."""
    FIGURES.mkdir(exist_ok=True)
    figure.savefig(FIGURES / f"{name}.svg", metadata={"Date": None, "Creator": None}, facecolor="white")
    plotter().close(figure)


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


def number(value: float) -> str:
    """Three digits that matter; "" for nan."""
    if value != value:
        return ""
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    return f"{value:,.{digits}f}"
