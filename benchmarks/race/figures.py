"""What the race shows: ratios within each round, with their spread, and every loss."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.race.entrants import (
    BY_NAME,
    GRAD_CAM,
    ONNX_RIVALS,
    OUR_WORKERS,
    OURS,
    RESNET,
    RIVALS,
)

Results = Mapping[str, Any]


@dataclass(frozen=True)
class Ratio:
    """A ratio of this run: geometric mean over ``n`` rounds, with the least and the largest.

    ``wanted`` is what was aimed at, with the direction that counts as reaching it.
    """

    name: str
    value: float
    low: float
    high: float
    n: int
    wanted: float | None = None
    at_least: bool = True

    @property
    def reached(self) -> bool | None:
        """Whether the mean reaches what was aimed at; None where nothing was."""
        if self.wanted is None:
            return None
        return self.value >= self.wanted if self.at_least else self.value <= self.wanted

    def to_dict(self) -> dict[str, Any]:
        """Return JSON-ready values."""
        return asdict(self) | {"reached": self.reached}


def ratio(
    name: str, values: Iterable[float], wanted: float | None = None, *, at_least: bool = True
) -> Ratio | None:
    """Summarise the rounds' ratios; None without any that is finite and positive."""
    kept = [each for each in values if math.isfinite(each) and each > 0]
    if not kept:
        return None
    mean = math.exp(sum(map(math.log, kept)) / len(kept))
    return Ratio(
        name, round(mean, 3), round(min(kept), 3), round(max(kept), 3), len(kept), wanted, at_least
    )


def closed(
    results: Results, entrant: str, *, clients: int, size: int
) -> dict[int, Mapping[str, Any]]:
    """Return round → the closed loop of an entrant at this level."""
    return {
        run["round"]: load
        for run in results["runs"]
        if run["entrant"] == entrant
        for load in run.get("closed", ())
        if (load["size"], load["level"]) == (size, clients)
    }


def _rates(results: Results, entrant: str, clients: int, size: int) -> dict[int, float]:
    return _values(results, entrant, clients, size, "per_second")


def _values(
    results: Results, entrant: str, clients: int, size: int, field: str
) -> dict[int, float]:
    found = closed(results, entrant, clients=clients, size=size)
    return {number: load[field] for number, load in found.items() if load.get(field)}


def cpu_ratios(results: Results) -> list[tuple[str, Ratio]]:
    """Return each rival's name with its processor time for an answer over ours.

    Unlike answers a second it hardly depends on what else the machine does.
    """
    plan = results["plan"]
    at = plan["size_clients"], plan["size"]
    ours = _values(results, OURS, *at, "cpu_ms")
    rows = []
    for rival in RIVALS:
        if rival.name != GRAD_CAM:
            theirs = _values(results, rival.name, *at, "cpu_ms")
            if (found := ratio(rival.title, _beside(theirs, ours))) is not None:
                rows.append((rival.name, found))
    return rows


def _beside(ours: Mapping[int, float], theirs: Mapping[int, float]) -> list[float]:
    """Return our value over theirs in each round that has both."""
    return [ours[number] / theirs[number] for number in ours if theirs.get(number, 0) > 0]


def aims(results: Results) -> list[Ratio]:
    """Return the figures that were aimed at, at the usual size and number of clients."""
    plan = results["plan"]
    size, clients = plan["size"], plan["size_clients"]
    ours = _rates(results, OURS, clients, size)
    best = _best(results, clients, size)
    limit = {each["round"]: each["per_second"] for each in results["limit"]
             if each["size"] == size}  # fmt: skip
    own = closed(results, OURS, clients=clients, size=size)
    tails = [load["p99_ms"] / load["p50_ms"] for load in own.values() if load["p50_ms"]]
    turns = [turn for run in results["runs"] for turn in run.get("alternating", ())]
    costs = [
        turn["/predict"]["per_second"] / turn["/explain"]["per_second"]
        for turn in turns
        if turn["clients"] == clients and turn["/explain"]["per_second"]
    ]
    explained = _explained(results, clients)
    cam = _rates(results, GRAD_CAM, clients, size)
    workers = _rates(results, OUR_WORKERS, clients, size)
    rivals = (
        (f"answers beside {BY_NAME[RESNET].title}", _rates(results, RESNET, clients, size), 5),
        ("answers beside the best rival with the same network on ONNX Runtime", best, 2),
        ("answers beside the limit in process", limit, 0.7),
    )
    found = [
        ratio(f"{name}{how}", _beside(rates, theirs), wanted)
        for name, theirs, wanted in rivals
        for how, rates in (("", ours), (", with a process for each core", workers))
    ]
    found += [
        ratio("p99 beside p50", tails, 3, at_least=False),
        ratio("time of /explain beside /predict", costs, 1.3, at_least=False),
        ratio("explanations beside pytorch-grad-cam", _beside(explained, cam), 6),
    ]  # fmt: skip
    return [each for each in found if each is not None]


def _best(results: Results, clients: int, size: int) -> dict[int, float]:
    """Return round → the largest rate of the rivals on ONNX Runtime."""
    best: dict[int, float] = {}
    for name in ONNX_RIVALS:
        for number, rate in _rates(results, name, clients, size).items():
            best[number] = max(best.get(number, 0.0), rate)
    return best


def _explained(results: Results, clients: int) -> dict[int, float]:
    """Return round → the mean rate of /explain."""
    found = {}
    for run in results["runs"]:
        rates = [turn["/explain"]["per_second"] for turn in run.get("alternating", ())
                 if turn["clients"] == clients]  # fmt: skip
        if rates:
            found[run["round"]] = sum(rates) / len(rates)
    return found


def refused(results: Results) -> int:
    """Return how many of our requests got no good answer in any closed loop."""
    return sum(
        load["bad"]
        for run in results["runs"]
        if run["entrant"] in (OURS, OUR_WORKERS)
        for load in run.get("closed", ())
    )


def beside_rivals(results: Results) -> list[tuple[str, list[Ratio]]]:
    """Return each rival's name with the ratios of answers, by clients and by size."""
    plan = results["plan"]
    levels = [(clients, plan["size"]) for clients in plan["clients"]]
    levels += [(plan["size_clients"], size) for size in plan["sizes"]]
    rows = []
    for rival in RIVALS:
        if (name := rival.name) == GRAD_CAM:
            continue
        found = [
            ratio(
                f"{clients} client{'s' if clients > 1 else ''}, {size} px",
                _beside(_rates(results, OURS, clients, size), _rates(results, name, clients, size)),
            )
            for clients, size in levels
        ]
        kept = [each for each in found if each is not None]
        if kept:
            rows.append((name, kept))
    return rows


def median(values: Iterable[float | None]) -> float | None:
    """Return the middle one, None without values."""
    kept = sorted(value for value in values if value is not None)
    return kept[len(kept) // 2] if kept else None


def of_runs(results: Results, entrant: str, field: str) -> list[float]:
    """Return a field of an entrant's rounds."""
    return [run[field] for run in results["runs"] if run["entrant"] == entrant and field in run]


def losses(results: Results) -> list[str]:
    """Return where TumorLens is behind a rival or misses an aim, as sentences."""
    told = [
        f"{each.name}: {each.value:g} ({each.low:g} to {each.high:g}), aimed at "
        f"{'at least' if each.at_least else 'at most'} {each.wanted:g}"
        for each in aims(results)
        if each.reached is False
    ]
    if bad := refused(results):
        told.append(f"{bad} requests of the closed loops got no good answer")
    for name, ratios in beside_rivals(results):
        title = BY_NAME[name].title
        told += [
            f"{title} gives more answers with {each.name}: ratio {each.value:g} "
            f"({each.low:g} to {each.high:g})"
            for each in ratios
            if each.value < 1
        ]
    told += [
        f"{each.name} takes less processor time for an answer: ratio {each.value:g} "
        f"({each.low:g} to {each.high:g})"
        for _, each in cpu_ratios(results)
        if each.value < 1
    ]
    for field, what, form in (
        ("cold_start_s", "gives its first answer sooner after its start", "{:.2f} s"),
        ("idle_mib", "holds less memory when idle", "{:.0f} MiB"),
        ("loaded_mib", "holds less memory under load", "{:.0f} MiB"),
    ):
        told += _smaller(results, field, what, form)
    return told


def _smaller(results: Results, field: str, what: str, form: str) -> list[str]:
    ours = median(of_runs(results, OURS, field))
    told = []
    for rival in RIVALS:
        theirs = median(of_runs(results, rival.name, field))
        if ours is not None and theirs is not None and theirs < ours:
            told.append(f"{rival.title} {what}: {form.format(theirs)} and {form.format(ours)}")
    return told


def busy(results: Results) -> tuple[float, float]:
    """Return the mean and the largest number of cores that other programs used."""
    cores: Sequence[float] = [
        run["others_cores"] for run in results["runs"] if "others_cores" in run
    ]
    return (sum(cores) / len(cores), max(cores)) if cores else (0.0, 0.0)


def failed(results: Results) -> list[tuple[str, str]]:
    """Return the entrants that gave no answer in some round, with the first reason."""
    found: dict[str, str] = {}
    for run in results["runs"]:
        if "failed" in run:
            found.setdefault(run["entrant"], run["failed"].strip().splitlines()[0])
    return list(found.items())
