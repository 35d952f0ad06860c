"""`sortie cluster`: what is compared, what is written, what is refused."""

from __future__ import annotations

import csv
import json
import re
import sys
from pathlib import Path

import pytest

from sortie_cluster.alibaba import write_batch_tasks
from sortie_cluster.config import ClusterConfig
from sortie_cluster.scenario import make_scenario
from sortie_cluster.trace_generator import generate_trace
from sortie_core.config import UserError, load
from sortie_schedule.comparison import compare, with_reference

CONFIG_FILE = Path(__file__).resolve().parents[2] / "configs/cluster.yaml"
SMALL = [
    "trace.n_jobs=2000", "arrivals.n_tasks=150", "comparison.seeds=2", "comparison.bootstrap_samples=50",
    "comparison.gantt_s=100",
]  # fmt: skip


def configuration(*overrides: str) -> ClusterConfig:
    return load(ClusterConfig, CONFIG_FILE, [*SMALL, *overrides])


def test_rows_tasks_nodes_and_charts_are_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = configuration("comparison.policies=[rec, lgtc]")
    rows = compare(config, tmp_path, json_only=True)
    assert json.loads(capsys.readouterr().out) == {"rows": rows}
    assert [(row["policy"], row["seed"]) for row in rows] == [
        (policy, seed) for seed in (0, 1) for policy in ("rec", "lgtc", "clairvoyant")
    ]
    wanted = {"completion_mean_s", "completion_p95_s", "utilisation_cpu", "throughput_per_h", "dropped", "backlog"}
    assert wanted <= set(rows[0])
    tasks = list(csv.DictReader((tmp_path / "tasks/rec-0.csv").open()))
    _, workload, _ = make_scenario(config, 0)
    assert len(tasks) == len(workload)
    assert all(float(task["end_s"]) > float(task["begin_s"]) >= float(task["ready_s"]) for task in tasks)
    nodes = list(csv.DictReader((tmp_path / "nodes/lgtc-1-0.csv").open()))
    assert len(nodes) == 32
    assert sum(int(node["tasks"]) for node in nodes) == len(workload)
    for name in ("gantt/rec-0.png", "trace.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    assert "| lgtc |" in (tmp_path / "table.md").read_text()


def test_what_is_there_is_taken_over(tmp_path: Path) -> None:
    config = configuration("comparison.policies=[rec]")
    rows = compare(config, tmp_path, json_only=True)
    runs = sorted((tmp_path / "runs").iterdir())
    written = {path: path.stat().st_mtime_ns for path in runs}
    runs[0].unlink()
    assert [row["completion_mean_s"] for row in compare(config, tmp_path, json_only=True)] == [
        row["completion_mean_s"] for row in rows
    ]
    assert [path for path in runs if path.stat().st_mtime_ns != written[path]] == runs[:1]
    compare(configuration("comparison.policies=[rec]", "arrivals.load=0.5"), tmp_path, json_only=True)
    assert len(list((tmp_path / "runs").iterdir())) == 2 * len(runs)


def test_runs_of_agents_are_taken_over_only_where_they_hear_as_far(tmp_path: Path) -> None:
    policies = "comparison.policies=[rec, lgtc-training, lgtc]"

    def done(policy: str) -> int:
        return len(list((tmp_path / "runs").glob(f"{policy}-*.json")))

    for hops in (1, 2):
        compare(configuration(policies, f"agents.hops={hops}", "comparison.seeds=1"), tmp_path, json_only=True)
    assert (done("rec"), done("lgtc-training"), done("lgtc-1")) == (1, 2, 2)


def test_a_trace_of_the_users_own_is_read_and_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "batch_task.csv"
    write_batch_tasks(generate_trace(500, seed=3), path)
    with path.open("a") as file:
        file.write("M9,1,j_bad,1,Terminated,100,50,100,0.3\nnonsense\n")
    config = configuration(f"trace.path={path}", "comparison.policies=[fifo]", "arrivals.n_tasks=50")
    compare(config, tmp_path / "out")
    assert "What was found in the trace" in capsys.readouterr().out
    report = json.loads((tmp_path / "out/data_report.json").read_text())
    assert "malformed" in json.dumps(report)


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["comparison.policies=[rek]"], "no scheduler 'rek'; did you mean rec"),
        (["comparison.policies=[rec+stael]"], "no addition \\\\+stael"),
        (["comparison.policies=[fifo+steal]"], "one central queue"),
        (["comparison.policies=[no.module:Rule]"], "cannot be imported"),
        (["agents.checkpoint=nowhere.ckpt", "comparison.policies=[lgtc]"], "nowhere.ckpt .* set agents.checkpoint"),
        (
            [
                "comparison.learned={dqn: {training: dqn}}",
                "comparison.policies=[dqn]",
                "comparison.checkpoints=no.ckpt",
            ],
            "no.ckpt .* `sortie sweep`, or set comparison.checkpoints",
        ),
        (["agents.checkpoint=configs/checkpoints/lgtc-1.ckpt", "comparison.policies=[lgtc]"], "of a drone"),
        (["comparison.reference=nobody"], "nobody"),
    ],
)
def test_policies_that_cannot_be_made_are_refused(overrides: list[str], words: str) -> None:
    with pytest.raises(UserError, match=words.replace("\\\\", "\\")):
        with_reference(configuration(*overrides))


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["trace.path=/nowhere.csv"], "github.com/alibaba/clusterdata"),
        (["cluster.cores=[0.1]"], "no node can run any task"),
        (["trace.duration_s=[1e7, .inf]"], "trace.duration_s: no task"),
    ],
)
def test_tasks_that_cannot_be_run_are_refused(overrides: list[str], words: str) -> None:
    with pytest.raises(UserError, match=words):
        make_scenario(configuration(*overrides), 0)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("arrivals.load=0", "arrivals.load"),
        ("cluster.nodes=3", "did you mean cluster.n_nodes"),
        ("reports.delay_s=30", "late or lost reports need a period"),
        ("cluster.mean_degree=50", "mean_degree"),
        ("trace.until_s=-1", "trace.until_s"),
        ("arrivals.mode=closed arrivals.dependencies=true", "dependencies"),
        ("comparison.policies=[rec, rec]", "named twice"),
    ],
)
def test_keys_that_make_no_sense_are_named(override: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        configuration(*override.split(" ") if "[" not in override else [override])


def test_tasks_larger_than_any_node_are_left_out_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, workload, too_large = make_scenario(configuration("cluster.cores=[0.5]"), 0)
    assert re.match(r"\d+ of \d+ tasks are larger than any node and left out, j_\d+/\w+ first; raise ", too_large)
    assert workload.cpu.max() == 0.5
    rows = [f"M{k},1,j_{k // 4},1,Terminated,{1000 + k},{1010 + k},{9900 if k == 30 else 100},0.3" for k in range(200)]
    (tmp_path / "batch_task.csv").write_text("\n".join(rows) + "\n")
    path = f"trace.path={tmp_path / 'batch_task.csv'}"
    compare(configuration(path, "trace.window=all", "arrivals.n_tasks=50"), tmp_path / "out")
    assert "1 of 200 tasks are larger than any node and left out, row 31 (j_7/M30) first" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("", "own_rule:Rule cannot be made of a configuration \\(TypeError: Rule\\(\\) takes no arguments\\)"),
        ("def __init__(self, config): self.scope = 1 / 0", "cannot be made .* at own_rule.py:3"),
        (
            "def __init__(self, config): pass\n    def begin(self, world): raise KeyError('x')",
            "own_rule:Rule failed .* at own_rule.py:4",
        ),
    ],
)
def test_what_is_wrong_with_a_rule_of_ones_own_is_said_in_a_line(
    body: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = f"from sortie_cluster.scheduler import Scheduler\nclass Rule(Scheduler):\n    {body or 'pass'}\n"
    (tmp_path / "own_rule.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_rule", raising=False)
    config = configuration("comparison.policies=[own_rule:Rule]", "comparison.seeds=1", "arrivals.n_tasks=50")
    with pytest.raises(UserError, match=words):
        compare(config, tmp_path / "out", json_only=True)
