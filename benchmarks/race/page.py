"""The race's page and plot, from its results alone."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment

from benchmarks.race.entrants import ENTRANTS, GRAD_CAM, OUR_WORKERS, OURS
from benchmarks.race.figures import (
    Ratio,
    aims,
    beside_rivals,
    busy,
    closed,
    cpu_ratios,
    failed,
    losses,
    median,
    of_runs,
    refused,
)

Results = Mapping[str, Any]
_TEMPLATE = Path(__file__).with_name("page.md.j2")


def page(results: Results) -> str:
    """Return the page as Markdown."""
    template = Environment(
        trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, autoescape=False
    ).from_string(_TEMPLATE.read_text("utf-8"))
    plan = results["plan"]
    servers = [each for each in ENTRANTS if each.name != GRAD_CAM]
    sizes = sorted({plan["size"], *plan["sizes"]})
    mean, most = busy(results)
    return template.render(
        results,
        mean=mean,
        most=most,
        versions=_versions(results),
        aims=_aims(results),
        losses=losses(results),
        failed=failed(results),
        limit=_limit(results, plan["size"]),
        rates=_table(
            ("server", *(f"{each} cl." for each in plan["clients"]), "p50 / p99", "CPU", "bad"),
            [_rates(results, each.name, each.title) for each in servers],
        ),
        sizes=_table(
            ("server", *(f"{each} px" for each in sizes)),
            [
                *(_sizes(results, each.name, each.title) for each in servers),
                ("the limit in process", *(_limit(results, size) for size in sizes)),
            ],
        ),
        fixed=_table(
            ("server", *(f"{rate:g}/s" for rate in plan["rates"])),
            [_open(results, each.name, each.title) for each in servers],
        ),
        ratios=_ratios(results),
        starts=_table(
            ("server", "threads", "first answer", "idle", "under load"),
            [_start(results, each.name, each.title, each.threads) for each in ENTRANTS],
        ),
    )


def _aims(results: Results) -> str:
    bad = refused(results)
    none_bad = (
        "our requests without a good answer, all closed loops", str(bad), "", "", "0",
        "**no**" if bad else "yes",
    )  # fmt: skip
    rows = [_aim(each) for each in aims(results)]
    return _table(("ratio", "value", "range", "rounds", "aim", "reached"), [*rows, none_bad])


def _versions(results: Results) -> str:
    return ", ".join(f"{name} {number}" for name, number in results.get("versions", {}).items())


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", f"|{'|'.join(['---'] + ['---:'] * (len(head) - 1))}|"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def _aim(each: Ratio) -> tuple[str, ...]:
    sign = "≥" if each.at_least else "≤"
    return (
        each.name, f"{each.value:.2f}", f"{each.low:.2f} to {each.high:.2f}", str(each.n),
        f"{sign} {each.wanted:g}", "yes" if each.reached else "**no**",
    )  # fmt: skip


def _number(value: float | None, form: str = "{:.1f}") -> str:
    return "–" if value is None else form.format(value)


def _level(results: Results, name: str, clients: int, size: int, field: str) -> float | None:
    found = closed(results, name, clients=clients, size=size)
    return median(load.get(field) for load in found.values())


def _rates(results: Results, name: str, title: str) -> tuple[str, ...]:
    plan = results["plan"]
    size, usual = plan["size"], plan["size_clients"]
    rates = [_number(_level(results, name, n, size, "per_second")) for n in plan["clients"]]
    p50, p99 = (
        _number(_level(results, name, usual, size, f), "{:.0f}") for f in ("p50_ms", "p99_ms")
    )
    bad = sum(load["bad"] for run in results["runs"] if run["entrant"] == name
              for load in run.get("closed", ()))  # fmt: skip
    cpu = _number(_level(results, name, usual, size, "cpu_ms"))
    return (_bold(name, title), *rates, f"{p50} / {p99}", cpu, str(bad))


def _sizes(results: Results, name: str, title: str) -> tuple[str, ...]:
    plan = results["plan"]
    sizes = sorted({plan["size"], *plan["sizes"]})
    rates = (_level(results, name, plan["size_clients"], size, "per_second") for size in sizes)
    return (_bold(name, title), *map(_number, rates))


def _limit(results: Results, size: int) -> str:
    return _number(median(x["per_second"] for x in results["limit"] if x["size"] == size))


def _open(results: Results, name: str, title: str) -> tuple[str, ...]:
    cells = []
    for rate in results["plan"]["rates"]:
        loads = [load for run in results["runs"] if run["entrant"] == name
                 for load in run.get("open", ()) if load["level"] == rate]  # fmt: skip
        sent = sum(load["good"] + load["bad"] for load in loads)
        p99 = median(load["p99_ms"] for load in loads)
        good = sum(load["good"] for load in loads)
        cells.append(f"{good / sent:.0%}, {_number(p99, '{:.0f}')}" if sent else "–")
    return (_bold(name, title), *cells)


def _ratios(results: Results) -> str:
    rows = beside_rivals(results)
    if not rows:
        return "Not measured."
    titles = {each.name: each.title for each in ENTRANTS}
    heads = list(dict.fromkeys(each.name for _, ratios in rows for each in ratios))
    cpu = dict(cpu_ratios(results))
    table = []
    for name, ratios in rows:
        found = {each.name: _range(each) for each in ratios}
        time = _range(cpu[name]) if name in cpu else "–"
        table.append((titles[name], *(found.get(head, "–") for head in heads), time))
    return _table(("beside", *heads, "CPU for an answer, theirs over ours"), table)


def _range(each: Ratio) -> str:
    return f"{each.value:.2f} ({each.low:.2f}–{each.high:.2f})"


def _start(results: Results, name: str, title: str, threads: str) -> tuple[str, ...]:
    first = median(of_runs(results, name, "cold_start_s"))
    idle, loaded = (median(of_runs(results, name, f)) for f in ("idle_mib", "loaded_mib"))
    return (
        _bold(name, title), threads, _number(first, "{:.2f} s"), _number(idle, "{:.0f} MiB"),
        _number(loaded, "{:.0f} MiB"),
    )  # fmt: skip


def _bold(name: str, title: str) -> str:
    return f"**{title}**" if name in (OURS, OUR_WORKERS) else title


def plot(results: Results, path: Path) -> None:
    """Draw answers a second by number of clients, with each round's as a point."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    plan = results["plan"]
    figure, axes = pyplot.subplots(figsize=(8, 4.8), dpi=110, layout="constrained")
    colours = pyplot.colormaps["tab10"]
    for number, entrant in enumerate(each for each in ENTRANTS if each.name != GRAD_CAM):
        loads = [
            closed(results, entrant.name, clients=c, size=plan["size"]) for c in plan["clients"]
        ]
        points = [(c, load["per_second"]) for c, each in zip(plan["clients"], loads, strict=True)
                  for load in each.values()]  # fmt: skip
        if not points:
            continue
        middle = [median(load["per_second"] for load in each.values()) for each in loads]
        width = 2.6 if entrant.name in (OURS, OUR_WORKERS) else 1.3
        colour = colours(number)
        axes.plot(plan["clients"], middle, color=colour, linewidth=width, label=entrant.title)
        axes.plot(*zip(*points, strict=True), ".", color=colour, markersize=4)
    limit = median(x["per_second"] for x in results["limit"] if x["size"] == plan["size"])
    if limit is not None:
        axes.axhline(limit, color="black", linestyle="--", linewidth=1, label="limit in process")
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    axes.set_xticks(plan["clients"], [str(each) for each in plan["clients"]])
    axes.set_xlabel("clients, each with one request at a time")
    axes.set_ylabel("answers a second")
    axes.set_title(
        f"JPEG of {plan['size']} px to JSON over loopback, {results['machine']['cores']} cores"
    )
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(path)
    pyplot.close(figure)
