"""A seeded generator of tasks with the marginal distributions of Alibaba's cluster trace v2018.

Jobs repeat templates, as production jobs recur day by day. What a template's tasks ask for and take is tied together by
a Gaussian copula: correlated normal numbers, whose ranks among all tasks are looked up in each marginal, so that the
marginals stay exact whatever the correlations. These are set so that `DurationModel`, on later jobs than it has learned
from, explains as much of log1p duration as on the trace's real rows: about .28 of the variance from plan_cpu and
plan_mem, .40 with the number of instances, .7 with the place in the job's graph. That needs 10,000 jobs to learn from;
with fewer the last figure is lower.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from sortie_cluster.trace_calibration import Marginals, shipped_marginals
from sortie_cluster.trace_table import TraceTable, parents_of, ranges
from sortie_core.config import UserError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.int64]

_SHARED = 0.6
"""Share of the variance of a template's plans and instances that all its tasks have in common."""
_MEMORY_ON_CPU, _INSTANCES_ON_MEMORY = 0.6, 0.3
"""Correlations of the plans, near the rank correlations of the real rows weighted by the population of job sizes."""
_WEIGHTS = {"cpu": -1.2, "memory": 0.85, "instances": 0.49, "structure": 0.6, "template": 0.25, "noise": 0.32}
"""What the duration's normal number is the sum of."""
_REPEAT_NOISE = {"plan": 0.05, "instances": 0.2}
"""By how much a repetition of a template differs from it, in standard deviations."""
_TEMPLATES = 60.0
"""Templates of a size and path length: this many times the root of the share of such jobs, for which up to five path
lengths of a size are taken as equally frequent."""
_POPULARITY = 0.6
"""Zipf exponent of how often templates of one size and path length are repeated."""
_JOINED = 0.9
"""Share of the tasks before the last level that some later task waits for; nearly all have one child only."""
_MOST_PARENTS = 10
"""More would not fit into a name of less than 50 characters, where the trace's names are cut."""
_TREND = (0.5, 0.5)
"""By how much durations rise with the log of the job's size and of one more than the level."""
_WAVES, _WAVES_SEED, _WAVE_NUMBER = 32, 2018, 1.5
"""The influence of structure is a fixed random smooth function, the same for every seed: it is part of the law, while
the templates are drawn."""


@dataclass(frozen=True)
class _Template:
    """A job that recurs: m tasks in order of their level.

    Attributes:
        name: [m] of the tasks, with their dependencies.
        depth: [m] level, from 0.
        edges: [2, e] parents and children.
        normal: [5, m] normal numbers of CPU, memory, instances, structure, and the template's own.
    """

    name: list[str]
    depth: Ints
    edges: Ints
    normal: Floats


def generate_trace(n_jobs: int, seed: int, jobs_per_s: float | None = None) -> TraceTable:
    """Draw a trace; a longer one is no continuation of a shorter one.

    Args:
        n_jobs: number of jobs; about 3.4 times as many tasks.
        seed: of everything.
        jobs_per_s: mean rate of jobs; by default the trace's, 4.87, with intervals of whole seconds as in the trace.

    Returns:
        Jobs whose roots are registered when the job is, and other tasks when the last of their parents ends.

    Raises:
        UserError: no job, a negative seed, or a rate that is not above 0.
    """
    if n_jobs < 1:
        raise UserError(f"{n_jobs} jobs make no trace; ask for 1 or more")
    if seed < 0:
        raise UserError(f"seed {seed} of a trace is negative; take 0 or more")
    if jobs_per_s is not None and not 0 < jobs_per_s < np.inf:
        raise UserError(f"jobs_per_s: {jobs_per_s:g} jobs per second make no trace; take a rate above 0")
    marginals, rng = shipped_marginals(), np.random.default_rng([seed, n_jobs])
    templates, chosen = _templates(marginals, n_jobs, seed, rng)
    # task by task: the job that it belongs to, and its place in all templates laid end to end
    size = np.array([len(template.name) for template in templates])
    starts = np.cumsum(size) - size
    job, place = np.repeat(np.arange(n_jobs), size[chosen]), ranges(starts[chosen], size[chosen])
    first = np.cumsum(size[chosen]) - size[chosen]
    cpu, memory, instances, duration = _plans_and_durations(
        np.concatenate([template.normal for template in templates], axis=1)[:, place], marginals, rng
    )
    parents, children = _edges(templates, chosen, first)
    intervals = _spread_evenly(n_jobs, rng)
    interval_s = marginals.of["job_interval_s"].quantile(intervals)
    scale = 1.0 if jobs_per_s is None else 1 / (jobs_per_s * marginals.of["job_interval_s"].mean())
    registered = (np.cumsum(interval_s) * scale)[job]
    depth = np.concatenate([template.depth for template in templates])[place]
    _after_parents(registered, duration, depth, parents, children)

    order = np.argsort(registered, kind="stable")
    place_of = np.empty(len(order), np.int64)
    place_of[order] = np.arange(len(order))
    name = np.array([name for template in templates for name in template.name])[place]
    return TraceTable(
        job=job[order],
        job_name=np.array([f"j_{number + 1}" for number in range(n_jobs)])[job[order]],
        task_name=name[order],
        registered_s=registered[order],
        duration_s=duration[order],
        cpu=cpu[order] / 100,
        memory=memory[order],
        instances=instances[order].astype(np.int64),
        parents=parents_of(len(order), place_of[parents], place_of[children]),
        row=np.zeros(len(order), np.int64),
    )


def _spread_evenly(n: int, rng: np.random.Generator) -> Floats:
    """[n] uniform numbers in random order, one in each n-th of [0, 1), which makes what is drawn by them exact."""
    return (rng.permutation(n) + rng.random(n)) / n


def _templates(marginals: Marginals, n_jobs: int, seed: int, rng: np.random.Generator) -> tuple[list[_Template], Ints]:
    """The templates in use and [n_jobs] which of them each job repeats."""
    sizes = marginals.of["tasks_per_job"].quantile(_spread_evenly(n_jobs, rng)).astype(np.int64)
    longest = np.ones(n_jobs, np.int64)
    for size in np.unique(sizes[sizes > 1]).tolist():
        of_size = np.flatnonzero(sizes == size)
        path = marginals.critical_path[min(size, max(marginals.critical_path))]
        longest[of_size] = np.minimum(path.quantile(_spread_evenly(len(of_size), rng)), size)
    kinds, kind, count = np.unique(np.stack([sizes, longest]), axis=1, return_inverse=True, return_counts=True)
    share = np.diff(marginals.of["tasks_per_job"].cdf, prepend=0.0)
    share_of_size = dict(zip(marginals.of["tasks_per_job"].values.astype(int).tolist(), share.tolist(), strict=True))
    templates: list[_Template] = []
    chosen = np.empty(n_jobs, np.int64)
    for number, (size, length) in enumerate(kinds.T.tolist()):
        library = max(1, round(_TEMPLATES * np.sqrt(share_of_size[size] / min(size, 5))))
        popularity = np.cumsum(np.arange(1, library + 1) ** -_POPULARITY)
        drawn = np.searchsorted(popularity / popularity[-1], _spread_evenly(int(count[number]), rng))
        used, which = np.unique(drawn, return_inverse=True)
        chosen[kind.reshape(-1) == number] = which + len(templates)
        templates += [_template(size, length, [seed, size, length, each], marginals) for each in used.tolist()]
    return templates, chosen


def _template(size: int, n_levels: int, key: list[int], marginals: Marginals) -> _Template:
    """The template that a key stands for, whatever else is in the trace."""
    rng = np.random.default_rng(key)
    shares = marginals.levels[min(n_levels, max(marginals.levels))][:n_levels]
    # each level has one task at least; beyond the longest table levels the shares are those of its deepest
    shares = np.pad(shares, (0, n_levels - len(shares)), mode="edge")
    spare = np.maximum(shares / shares.sum() - shares.min() / shares.sum(), 1e-3)
    width = 1 + rng.multinomial(size - n_levels, spare / spare.sum())
    depth = np.repeat(np.arange(n_levels), width)
    parents = _parents(depth, width, rng)
    edges = [(parent, child) for child, each in enumerate(parents) for parent in each]
    shared, own = rng.standard_normal((4, 1)), rng.standard_normal((4, size))
    cpu, memory, instances, rest = np.sqrt(_SHARED) * shared + np.sqrt(1 - _SHARED) * own
    memory = _MEMORY_ON_CPU * cpu + np.sqrt(1 - _MEMORY_ON_CPU**2) * memory
    instances = _INSTANCES_ON_MEMORY * memory + np.sqrt(1 - _INSTANCES_ON_MEMORY**2) * instances
    flat = np.array(edges, np.int64).reshape(-1, 2).T
    structure = _structure(size, depth, flat)
    return _Template(_names(parents), depth, flat, np.stack([cpu, memory, instances, structure, rest]))


def _parents(depth: Ints, width: Ints, rng: np.random.Generator) -> list[list[int]]:
    """Parents of each task in order of level: one on the level before, so that levels are what they are, then joins."""
    starts = (np.cumsum(width) - width).tolist()
    parents: list[list[int]] = [[] for _ in range(len(depth))]
    childless = set(range(len(depth)))
    for level in range(1, len(width)):
        before = starts[level - 1] + rng.permutation(width[level - 1])
        for task in range(starts[level], starts[level] + width[level]):
            parents[task].append(int(before[(task - starts[level]) % len(before)]))
            childless.discard(parents[task][0])
    for task in sorted(childless):
        later = starts[depth[task] + 1] if depth[task] + 1 < len(width) else len(depth)
        if later < len(depth) and rng.random() < _JOINED:
            child = int(rng.integers(later, len(depth)))
            if len(parents[child]) < _MOST_PARENTS:
                parents[child].append(task)
    return [sorted(each) for each in parents]


def _names(parents: list[list[int]]) -> list[str]:
    """Names as in the trace: M without parents, R with one, J with more; numbers from 1."""
    return [
        "_".join(["MRJ"[min(len(each), 2)] + str(task + 1), *(str(parent + 1) for parent in each)])
        for task, each in enumerate(parents)
    ]


def _structure(size: int, depth: Ints, edges: Ints) -> Floats:
    """[m] about normal: the influence of a task's place in its job's graph on its duration."""
    parents = np.bincount(edges[1], minlength=size)
    children = np.bincount(edges[0], minlength=size)
    place = np.stack([np.full(size, 2 * np.log(size)), depth, np.minimum(parents, 3), np.minimum(children, 3)])
    rng = np.random.default_rng(_WAVES_SEED)
    waves = rng.standard_normal((_WAVES, 4)) * _WAVE_NUMBER
    wavy = np.sqrt(2 / _WAVES) * np.cos(waves @ place + rng.uniform(0, 2 * np.pi, (_WAVES, 1))).sum(axis=0)
    return wavy + _TREND[0] * np.log(size) + _TREND[1] * np.log1p(depth)


def _plans_and_durations(
    normal: Floats, marginals: Marginals, rng: np.random.Generator
) -> tuple[Floats, Floats, Floats, Floats]:
    """[n] plan_cpu, plan_mem, instances and duration, s, of tasks whose templates have the normal numbers [5, n]."""
    n = normal.shape[1]
    cpu, memory = normal[:2] + _REPEAT_NOISE["plan"] * rng.standard_normal((2, n))
    instances = normal[2] + _REPEAT_NOISE["instances"] * rng.standard_normal(n)
    parts = dict(zip(_WEIGHTS, (cpu, memory, instances, *normal[3:], rng.standard_normal(n)), strict=True))
    duration = sum((weight * parts[name] for name, weight in _WEIGHTS.items()), np.zeros(n))
    looked_up = []
    for name, value in (("plan_cpu", cpu), ("plan_mem", memory), ("instances", instances), ("duration_s", duration)):
        rank = np.empty(n)
        rank[np.argsort(value, kind="stable")] = np.arange(n) + 0.5
        looked_up.append(marginals.of[name].quantile(rank / n))
    return looked_up[0], looked_up[1], looked_up[2], looked_up[3]


def _edges(templates: list[_Template], chosen: Ints, first: Ints) -> tuple[Ints, Ints]:
    """[e] parents and [e] children of jobs whose first tasks have the indices `first` [n_jobs]."""
    count = np.array([template.edges.shape[1] for template in templates])
    starts, flat = np.cumsum(count) - count, np.concatenate([template.edges for template in templates], axis=1)
    parents, children = flat[:, ranges(starts[chosen], count[chosen])] + np.repeat(first, count[chosen])
    return parents, children


def _after_parents(registered: Floats, duration: Floats, depth: Ints, parents: Ints, children: Ints) -> None:
    """Move the registration [n] of tasks with parents to when the last of these ends, in place."""
    by_depth = np.argsort(depth[children], kind="stable")
    bounds = np.searchsorted(depth[children][by_depth], np.arange(depth.max() + 2))
    for low, high in zip(bounds[1:-1], bounds[2:], strict=True):
        parent, child = parents[by_depth[low:high]], children[by_depth[low:high]]
        np.maximum.at(registered, child, registered[parent] + duration[parent])
