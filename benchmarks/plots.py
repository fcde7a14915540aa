"""Draw the newest run in benchmarks/results into docs/performance, as SVG; the same run gives the same files.

matplotlib draws; where it is not there, that is said, and the plots stay as they are.
"""

import importlib
import importlib.util
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks import limits
from benchmarks.measure import Row
from benchmarks.page import DOCUMENT, newest
from benchmarks.rounds import parallel, single
from benchmarks.targets import Run

DIRECTORY: Final = DOCUMENT.parent / "performance"
#: A peer has its colour on every plot.
COLOURS: Final = {
    "rexecd": "#1f6f8b",
    "rexecd, as nobody": "#6bb3c9",
    "OpenSSH": "#b5651d",
    "asyncssh": "#8a5aa8",
    "gateway": "#1f6f8b",
    "monitor": "#b5651d",
}
_GREY: Final = "#777777"
#: No dates, no random names: a redraw changes nothing.
_STEADY: Final = {"svg.hashsalt": "rexecd", "svg.fonttype": "none", "axes.grid": True, "grid.alpha": 0.3}


def _rows(run: Run, name: str) -> Mapping[str, Row]:
    rows: Mapping[str, Row] = run["rounds"].get(name, {}).get("rows", {})
    return rows


def _series(run: Run, name: str) -> Mapping[str, Sequence[Row]]:
    series: Mapping[str, Sequence[Row]] = run["rounds"].get(name, {}).get("series", {})
    return series


def callers(run: Run, figure: Any) -> None:  # noqa: ANN401 - of a library that may not be there
    """Draw commands a second by callers."""
    axes = figure.subplots()
    rows = _rows(run, "parallel")
    numbers = run["plan"]["callers"]
    for peer in run["peers"]:
        found = [(number, rows.get(parallel.AT_ONCE.format(peer, number), {})) for number in numbers]
        points = [(number, row["per_second"]) for number, row in found if "per_second" in row]
        if points:
            axes.plot(*zip(*points, strict=True), marker="o", label=peer, color=COLOURS.get(peer))
    if limits.LOOPS in rows:
        axes.axhline(rows[limits.LOOPS]["per_second"], ls="--", color=_GREY, label="two posix_spawn loops")
    axes.set_xscale("log", base=2)
    axes.set_xticks(numbers, [str(number) for number in numbers])
    axes.set(xlabel="callers at once, each on a connection of its own", ylabel="commands a second")
    axes.set_ylim(0, 1.1 * axes.get_ylim()[1])
    axes.legend(loc="center right")


def latency(run: Run, figure: Any) -> None:  # noqa: ANN401 - as above
    """Draw what one command takes: medians as bars, 99th percentiles as marks."""
    both = figure.subplots(1, 2)
    bare = {
        single.OPEN: {"bare Popen": [limits.POPEN]},
        single.NEW: {"bare TLS handshake, Popen": [limits.HANDSHAKE, limits.POPEN]},
    }
    rows = _rows(run, "commands")
    for axes, (name, title) in zip(
        both,
        ((single.OPEN, "over an open connection"), (single.NEW, "with a connection of its own")),
        strict=True,
    ):
        bars = {
            label: [sum(rows[each][column] for each in parts) for column in ("p50", "p99")]
            for label, parts in bare[name].items()
            if all(each in rows for each in parts)
        }
        for peer in run["peers"]:
            if name.format(peer) in rows:
                bars[peer] = [rows[name.format(peer)][column] for column in ("p50", "p99")]
        places = range(len(bars))
        colours = [COLOURS.get(label, _GREY) for label in bars]
        axes.barh(places, [p50 for p50, _ in bars.values()], color=colours)
        axes.plot([p99 for _, p99 in bars.values()], places, "|", color="black", markersize=12)
        axes.set_yticks(places, list(bars))
        axes.invert_yaxis()
        axes.set(title=title, xlabel="milliseconds: p50, and p99 as a mark")
        if name == single.NEW:
            axes.set_xscale("log")


def idle(run: Run, figure: Any) -> None:  # noqa: ANN401 - as above
    """Draw memory and a command's time by idle connections."""
    left, right = figure.subplots(1, 2)
    used = [row for row in _series(run, "idle").get("processes", []) if row["connections"]]
    for name in ("gateway", "monitor"):
        points = [(row["connections"], row[f"{name}_MiB"]) for row in used]
        left.plot(*zip(*points, strict=True), marker="o", label=name, color=COLOURS[name])
    left.set(xlabel="idle connections", ylabel="MiB (PSS)")
    left.set_ylim(bottom=0)
    left.legend()
    beside = [row for row in _rows(run, "idle").values() if "p50" in row]
    for column, label in (
        ("p50", "a command beside them"),
        ("alone_p50", "of a daemon that has none"),
        ("new_p50", "with a new connection"),
    ):
        points = [(row["connections"], row[column]) for row in beside]
        right.plot(*zip(*points, strict=True), marker="o", label=label)
    right.set(xlabel="idle connections beside it", ylabel="p50, milliseconds")
    right.set_ylim(bottom=0)
    right.legend()


def growth(run: Run, figure: Any) -> None:  # noqa: ANN401 - as above
    """Draw what a command costs as policy, store and trail grow."""
    titles = {
        "rules": "rules in the policy",
        "tokens": "tokens in the store",
        "records": "records in the trail",
    }
    for axes, (name, title) in zip(figure.subplots(1, 3, sharey=True), titles.items(), strict=True):
        points = _series(run, name).get(name, [])
        for column, label in (("command_p50", "a command"), ("connection_p50", "with a new connection")):
            axes.plot(
                [max(1, each["size"]) for each in points],
                [each[column] for each in points],
                "o-",
                label=label,
            )
        axes.set_xscale("log")
        axes.set(xlabel=title)
    axes = figure.axes[0]
    axes.set(ylabel="p50, milliseconds")
    axes.set_ylim(bottom=0)
    axes.legend()


def slow(run: Run, figure: Any) -> None:  # noqa: ANN401 - as above
    """Draw the memory of both processes while output is taken slowly."""
    axes = figure.subplots()
    samples = _series(run, "slow").get("slow", [])
    for name in ("gateway", "monitor"):
        axes.plot(
            [row["seconds"] for row in samples],
            [row[name] for row in samples],
            label=name,
            color=COLOURS[name],
        )
    axes.set(xlabel="seconds", ylabel="MiB resident")
    axes.set_ylim(bottom=0)
    axes.legend()


def mixed(run: Run, figure: Any) -> None:  # noqa: ANN401 - as above
    """Draw each window of the mixed load."""
    left, right = figure.subplots(1, 2)
    series = _series(run, "mixed")
    samples = series.get("processes", [])
    seconds = [row["seconds"] for row in samples]
    for name, rows in series.items():
        if name != "processes":
            left.plot(seconds[: len(rows)], [row.get("p50") for row in rows], label=name)
    left.set(xlabel="seconds", ylabel="p50 of a window, milliseconds")
    left.set_ylim(bottom=0)
    left.legend()
    for name in ("gateway", "monitor"):
        right.plot(seconds, [row[f"{name}_MiB"] for row in samples], label=name, color=COLOURS[name])
    right.set(xlabel="seconds", ylabel="MiB (PSS)")
    right.set_ylim(bottom=0)
    right.legend()


#: Every plot, and the round without which there is none.
PLOTS: Final[dict[str, tuple[str, Callable[[Run, Any], None]]]] = {
    "callers": ("parallel", callers),
    "latency": ("commands", latency),
    "slow": ("slow", slow),
    "idle": ("idle", idle),
    "growth": ("rules", growth),
    "mixed": ("mixed", mixed),
}


def draw(run: Run, directory: Path) -> list[str]:
    """Draw every plot whose round is there; return their names."""
    importlib.import_module("matplotlib").rcParams.update(_STEADY)
    library = importlib.import_module("matplotlib.figure")
    drawn = []
    for name, (round_, plot) in PLOTS.items():
        if _rows(run, round_):
            figure = library.Figure(figsize=(10, 4), layout="constrained")
            plot(run, figure)
            figure.savefig(directory / f"{name}.svg", metadata={"Date": None, "Creator": None})
            drawn.append(name)
    return drawn


def main() -> None:
    """Draw, and say what."""
    if importlib.util.find_spec("matplotlib") is None:
        print("without plots: pip install matplotlib", file=sys.stderr)
        return
    DIRECTORY.mkdir(exist_ok=True)
    print(f"docs/performance: {', '.join(draw(newest(), DIRECTORY))}")


if __name__ == "__main__":
    main()
