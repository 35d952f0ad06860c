"""The marginal distributions of Alibaba's cluster trace v2018, and how close a table of tasks comes to them.

The histograms are of all DAG jobs of the trace: All-less/trace-generator (MIT), spar/data/distributions, as JSON with
``counts`` and ``edges``, where counts[i] belongs to the value edges[i + 1].
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sortie_cluster.data_report import SUB_SECOND_S
from sortie_core.config import UserError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from sortie_cluster.trace_table import TraceTable

MARGINALS: dict[str, tuple[str, str]] = {
    "tasks_per_job": ("task_num_dist", "tasks per job"),
    "duration_s": ("task_duration_dist", "task duration [s]"),
    "plan_cpu": ("task_cpu_dist", "plan_cpu [% of a core]"),
    "plan_mem": ("task_mem_dist", "plan_mem [% of a machine]"),
    "instances": ("instance_num_dist", "instances per task"),
    "job_interval_s": ("job_interval_dist", "time between jobs [s]"),
    "critical_path": ("cpl_dist", "tasks on the longest path"),
    "level": ("level_dist", "level of a task, jobs of two levels or more"),
}
"""Name of each marginal with the histogram that it comes from and its title."""
_EXACT_UP_TO = 60
_TAIL_AT = np.concatenate([np.linspace(0, 0.98, 50), 1 - np.logspace(-1.8, -5.5, 21), [1.0]])
_TAIL_POINTS = 20_000
_ASSET = "alibaba_v2018_marginals.json"


@dataclass(frozen=True)
class Marginal:
    """A distribution on k values.

    Attributes:
        values: [k] ascending.
        cdf: [k] probability of at most this value; the last is 1.
    """

    values: NDArray[np.float64]
    cdf: NDArray[np.float64]

    @classmethod
    def of_counts(cls, values: NDArray[np.float64], counts: NDArray[np.float64]) -> Marginal:
        """Of values [k] in any order, which may repeat, by how often each occurs."""
        unique, place = np.unique(values, return_inverse=True)
        cumulated = np.cumsum(np.bincount(place, counts))
        return cls(unique, cumulated / cumulated[-1])

    def quantile(self, probability: NDArray[np.float64] | float) -> NDArray[np.float64]:
        """The least value whose `cdf` is not below a probability; same shape."""
        return self.values[np.minimum(np.searchsorted(self.cdf, probability), len(self.values) - 1)]

    def mean(self) -> float:
        """Expected value."""
        return float(self.values @ np.diff(self.cdf, prepend=0.0))

    def distance(self, other: Marginal) -> float:
        """Kolmogorov-Smirnov distance: the largest difference of the two cdfs."""
        points = np.union1d(self.values, other.values)
        return float(np.abs(self._at(points) - other._at(points)).max())

    def _at(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """The cdf at points [m]."""
        return np.concatenate([[0.0], self.cdf])[np.searchsorted(self.values, points, side="right")]


@dataclass(frozen=True)
class Marginals:
    """Every distribution that the generator draws from.

    Attributes:
        of: marginal by name, keys of `MARGINALS`.
        critical_path: by number of tasks of a job, the number of tasks on its longest path; the largest key stands for
            all larger jobs.
        levels: by number of levels of a job, [levels] share of its tasks on each; the largest key stands for more.
    """

    of: dict[str, Marginal]
    critical_path: dict[int, Marginal]
    levels: dict[int, NDArray[np.float64]]


@dataclass(frozen=True)
class CalibrationRow:
    """One marginal of a table against the trace.

    Attributes:
        name: key of `MARGINALS`.
        table: mean, p50, p95 and p99 of the table.
        trace: the same of the trace.
        distance: Kolmogorov-Smirnov distance of the two.
    """

    name: str
    table: tuple[float, float, float, float]
    trace: tuple[float, float, float, float]
    distance: float


def condense(histograms_path: str | Path) -> dict[str, Any]:
    """The histograms in some kilobytes: counts of the values up to 60, quantiles of what lies beyond.

    Raises:
        UserError: the file is missing or holds no such histograms.
    """
    raw = _read(Path(histograms_path))
    marginals = {name: _condensed(*_counts(raw[MARGINALS[name][0]])) for name in list(MARGINALS)[:6]}
    return {
        "source": "All-less/trace-generator, spar/data/distributions: DAG jobs of Alibaba cluster-trace-v2018",
        "licence": "MIT",
        "tail_at": [round(float(at), 6) for at in _TAIL_AT],
        "marginals": marginals,
        "critical_path": {
            size: dict(zip(("values", "counts"), map(_plain, _counts(each)), strict=True))
            for size, each in raw["cpl_dist"].items()
        },
        "levels": {n: _plain(_counts(each)[1]) for n, each in raw["level_dist"].items()},
    }


def _counts(histogram: dict[str, list[float]]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return np.array(histogram["edges"][1:], np.float64), np.array(histogram["counts"], np.float64)


def _condensed(values: NDArray[np.float64], counts: NDArray[np.float64]) -> dict[str, Any]:
    # plan_cpu has values beyond 60, but few: a table of at most 64 values is kept whole.
    exact = (values <= _EXACT_UP_TO) | (len(values) <= 64)
    result: dict[str, Any] = {"values": _plain(values[exact]), "counts": _plain(counts[exact])}
    if not exact.all():
        tail = Marginal.of_counts(values[~exact], counts[~exact])
        result |= {"tail_count": int(counts[~exact].sum()), "tail": _plain(tail.quantile(_TAIL_AT))}
    return result


def _plain(numbers: NDArray[np.float64]) -> list[float]:
    """JSON numbers, whole ones without a point."""
    return [int(number) if number == int(number) else float(number) for number in numbers.tolist()]


@cache
def shipped_marginals() -> Marginals:
    """The condensed marginals that come with the package."""
    return _marginals(json.loads(resources.files("sortie_cluster").joinpath("assets", _ASSET).read_text("utf-8")))


def read_marginals(histograms_path: str | Path) -> Marginals:
    """The marginals of the histograms themselves.

    Raises:
        UserError: the file is missing or holds no such histograms.
    """
    raw = _read(Path(histograms_path))
    whole = {name: dict(zip(("values", "counts"), _counts(raw[MARGINALS[name][0]]), strict=True))
             for name in list(MARGINALS)[:6]}  # fmt: skip
    return _marginals(condense(histograms_path) | {"marginals": whole})


def _read(path: Path) -> dict[str, Any]:
    try:
        raw = json.loads(path.read_text("utf-8"))
        missing = [name for name, _ in MARGINALS.values() if name not in raw]
    except FileNotFoundError:
        raise UserError(f"no histograms {path}; leave the path out to use those that Sortie ships") from None
    except (OSError, UnicodeDecodeError, ValueError, TypeError) as error:
        raise UserError(f"cannot read histograms {path}: {error}") from None
    if missing:
        raise UserError(f"{path} lacks the histograms {', '.join(missing)}; convert All-less/trace-generator's to JSON")
    return raw


def _marginals(data: dict[str, Any]) -> Marginals:
    of = {name: _expanded(each, data["tail_at"]) for name, each in data["marginals"].items()}
    seconds = of["duration_s"]
    of["duration_s"] = Marginal(np.where(seconds.values == 0, SUB_SECOND_S, seconds.values), seconds.cdf)
    paths = {
        int(size): Marginal.of_counts(np.array(each["values"]), np.array(each["counts"]))
        for size, each in data["critical_path"].items()
    }
    sizes = of["tasks_per_job"]
    shares = np.diff(sizes.cdf, prepend=0.0)
    lengths, weights = [np.ones(1)], [shares[sizes.values == 1]]
    for size, path in paths.items():
        share = shares[sizes.values >= size if size == max(paths) else sizes.values == size].sum()
        lengths.append(path.values)
        weights.append(share * np.diff(path.cdf, prepend=0.0))
    of["critical_path"] = Marginal.of_counts(np.concatenate(lengths), np.concatenate(weights))
    deep = [np.array(counts, np.float64) for n, counts in data["levels"].items() if int(n) > 1]
    level = np.concatenate([np.arange(len(counts)) + 1.0 for counts in deep])
    of["level"] = Marginal.of_counts(level, np.concatenate(deep))
    levels = {int(n): np.array(counts, np.float64) / np.sum(counts) for n, counts in data["levels"].items()}
    return Marginals(of, paths, levels)


def _expanded(condensed: dict[str, Any], tail_at: list[float]) -> Marginal:
    values, counts = np.array(condensed["values"], np.float64), np.array(condensed["counts"], np.float64)
    if "tail" not in condensed:
        return Marginal.of_counts(values, counts)
    at = (np.arange(_TAIL_POINTS) + 0.5) / _TAIL_POINTS
    tail = np.rint(np.exp(np.interp(at, tail_at, np.log(condensed["tail"]))))
    weight = np.full(_TAIL_POINTS, condensed["tail_count"] / _TAIL_POINTS)
    return Marginal.of_counts(np.concatenate([values, tail]), np.concatenate([counts, weight]))


def observed(table: TraceTable) -> dict[str, Marginal]:
    """What a table shows of each marginal; those without any observation are left out."""
    level = table.depth() + 1
    _, first, job, size = np.unique(table.job, return_index=True, return_inverse=True, return_counts=True)
    longest = np.zeros(len(size), np.int64)
    np.maximum.at(longest, job, level)
    seen: dict[str, NDArray[Any]] = {
        "tasks_per_job": size,
        "duration_s": table.duration_s,
        "plan_cpu": 100 * table.cpu,
        "plan_mem": table.memory,
        "instances": table.instances,
        "job_interval_s": np.diff(np.sort(table.registered_s[first])),
        "critical_path": longest,
        "level": level[longest[job] > 1],
    }
    # nine digits, so that what has passed through a division is equal again
    return {
        name: Marginal.of_counts(values.astype(np.float64).round(9), np.ones(len(values)))
        for name, values in seen.items()
        if len(values)
    }


def calibration(table: TraceTable, histograms_path: str | Path | None = None) -> list[CalibrationRow]:
    """Each marginal of a table against that of the trace.

    Args:
        table: n tasks.
        histograms_path: the histograms themselves; without it, the condensed ones that Sortie ships.

    Raises:
        UserError: the histograms cannot be read.
    """
    reference = (read_marginals(histograms_path) if histograms_path else shipped_marginals()).of
    return [
        CalibrationRow(name, _figures(each), _figures(reference[name]), each.distance(reference[name]))
        for name, each in observed(table).items()
    ]


def _figures(marginal: Marginal) -> tuple[float, float, float, float]:
    p50, p95, p99 = marginal.quantile(np.array([0.5, 0.95, 0.99])).tolist()
    return marginal.mean(), p50, p95, p99


def draw_calibration(table: TraceTable, path_png: str | Path, histograms_path: str | Path | None = None) -> None:
    """Draw the cumulative distribution of each marginal, table over trace, as a PNG.

    Raises:
        UserError: the histograms cannot be read.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullFormatter

    reference = (read_marginals(histograms_path) if histograms_path else shipped_marginals()).of
    figure = Figure(figsize=(13, 6.5), layout="constrained")
    panels = figure.subplots(2, 4).flat
    for panel, (name, each) in zip(panels, observed(table).items(), strict=False):
        trace = reference[name]
        # 0 s has no place on a logarithmic axis: the first step is drawn from the left edge
        for marginal, style, label in ((trace, {"color": "0.6", "lw": 3}, "trace"), (each, {"lw": 1}, "table")):
            panel.step(np.maximum(marginal.values, 1e-2), marginal.cdf, where="post", label=label, **style)
        panel.set(xscale="log", ylim=(0, 1.02), xlabel=MARGINALS[name][1])
        panel.set_title(f"KS distance {each.distance(trace):.3f}", fontsize="small")
        # where an axis spans one decade only, labels between the powers of ten overlap
        panel.xaxis.set_minor_formatter(NullFormatter())
        panel.grid(alpha=0.3)
    figure.axes[0].legend(loc="lower right")
    figure.axes[0].set_ylabel("share at most")
    figure.savefig(path_png, dpi=110)
