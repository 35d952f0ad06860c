"""What came of a live run: figures, whether the log is a schedule that can be, and the log itself."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from sortie_bridge.task_ledger import as_measured
from sortie_cluster.metrics import metrics
from sortie_cluster.schedule import Lost, Move, Schedule
from sortie_cluster.validator import violations

if TYPE_CHECKING:
    from sortie_bridge.task_ledger import TaskLedger
    from sortie_cluster.live_config import LiveConfig

_DIGITS = 6


def outcome(
    ledger: TaskLedger, now_s: float, config: LiveConfig, wall_s: float, mission_s: float, late_ticks: int
) -> str:
    """A run that is over.

    Args:
        ledger: its tasks.
        now_s: when it ended, s of the trace.
        config: of the run.
        wall_s: what it took, s.
        mission_s: what the ticks add up to, wall-clock s.
        late_ticks: ticks that began late.

    Returns:
        A JSON object: the figures of `sortie_cluster.metrics`, those of the mission, `violations` of the validator (of
        what was measured, where tasks really ran), and `schedule`, see `table_of`.
    """
    log = ledger.log
    log.end_s = now_s
    figures: dict[str, Any] = dict(metrics(log, config.arrivals.warm_up))
    simulated = config.live.backend == "simulated"
    wrong = list(violations(log if simulated else as_measured(log)))
    figures = {
        "delivered_fraction": ledger.n_ended / len(ledger.workload),
        "deliverable_fraction": 1.0,
        "mission_time_s": mission_s,
        "wall_time_s": wall_s,
        "real_time_factor": mission_s / max(wall_s, 1e-9),
        "late_ticks": late_ticks,
        "tasks": len(ledger.workload),
    } | figures
    return json.dumps({name: _plain(value) for name, value in figures.items()} | {
        "violations": wrong,
        "schedule": table_of(log),
    })  # fmt: skip


def table_of(log: Schedule) -> dict[str, list[Any]]:
    """The log of n tasks as columns.

    Returns:
        ready_s, begin_s, end_s [n], None where it has not happened; node [n], -1 for none; dropped [n]; lost: task,
        node, began_s, at_s of each run that was cut short; moves: task, source, target, at_s, pulled, again.
    """
    return {
        "ready_s": [_plain(each) for each in log.ready_s],
        "begin_s": [_plain(each) for each in log.begin_s],
        "end_s": [_plain(each) for each in log.end_s_of],
        "node": log.node,
        "dropped": log.dropped,
        "lost": [[each.task, each.node, _plain(each.began_s), _plain(each.at_s)] for each in log.lost],
        "moves": [[*each[:3], _plain(each.at_s), each.pulled, each.again] for each in log.moves],
    }


def schedule_of(table: dict[str, list[Any]], config: LiveConfig) -> Schedule:
    """The log that `table_of` has made a table of; its end is that of the last task."""
    cluster, workload, _ = config.scenario
    ready_s, begin_s, end_s = (
        [math.nan if each is None else each for each in table[name]] for name in ("ready_s", "begin_s", "end_s")
    )
    return Schedule(
        cluster,
        workload,
        config.agents.max_hops,
        ready_s,
        begin_s,
        end_s,
        table["node"],
        table["dropped"],
        [Move(*each) for each in table["moves"]],
        [Lost(*each) for each in table["lost"]],
        max([0.0, *(each for each in table["end_s"] if each is not None)]),
    )


def _plain(value: Any) -> Any:
    """A number that JSON knows."""
    if isinstance(value, float):
        return round(value, _DIGITS) if math.isfinite(value) else None
    return value
