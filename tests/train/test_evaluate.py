"""Evaluation: the table as a program reads it, the same figures for anybody, and a kill costs nothing but time."""

from __future__ import annotations

import csv
import json
import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import pytest

from sortie_core.config import Config, UserError, content_hash, load_config
from sortie_policy.checkpoint import load_metadata
from sortie_train.evaluate import evaluate, fly_policy
from sortie_train.flight_pool import fly_one
from sortie_train.flights import plan
from sortie_train.results import meaning, result_path
from sortie_train.sweep import plan_trainings

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

PROJECT = Path(__file__).parents[2]
CONTRACT = {
    "suite", "method", "n_agents", "n_train_seeds", "n_layouts", "delivered_auc_mean", "delivered_auc_ci95",
    "delivered_mean", "delivered_ci95", "std_over_seeds", "return_mean", "time_to_90_s", "collisions_per_agent_min",
    "bytes_per_agent_s", "backend", "deliverable_mean", "reached_90", "min_separation_m", "energy_proxy",
}  # fmt: skip
LAYOUTS = 6


@pytest.fixture
def compared(configured: Callable[..., Config], fresh_policies: str) -> Callable[..., Config]:
    """Two trained methods by two seeds and two references, in two suites, the one of which in two team sizes."""

    def load(*overrides: str) -> Config:
        return configured(
            f"evaluation.checkpoints={fresh_policies}",
            "evaluation.learned={lgtc: {}, lgtc_alone: {policy.exchanges: 0}}",
            "evaluation.methods=[lgtc, lgtc_alone, greedy, value_greedy]",
            "evaluation.train_seeds=[1, 2]",
            "evaluation.n_agents=[3, 4]",
            "evaluation.suites={scarce: {}, open: {team.n_agents: 5, task.n_resources: 2, comm.radius_m: 3.5}}",
            *overrides,
        )

    return load


def flown(config: Config, out: Path, jobs: int = 1) -> list[dict[str, Any]]:
    return evaluate(config, plan(config), out, jobs)


def ignore(_: int) -> None:
    """Take no notice of progress."""


def test_the_rows_keep_what_was_promised_and_can_be_computed_again_from_the_single_missions(
    compared: Callable[..., Config], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config = compared()
    table = evaluate(config, plan(config), tmp_path / "run", as_json=True)
    printed = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert printed == table == json.loads((tmp_path / "run" / "rows.json").read_text(encoding="utf-8"))
    methods = ["lgtc", "lgtc_alone", "greedy", "value_greedy", "best_reference"]
    places = [("scarce", 3), ("scarce", 4), ("open", 5)]
    assert [(row["suite"], row["n_agents"], row["method"]) for row in table] == [
        (*place, method) for place in places for method in methods
    ]
    with (tmp_path / "run" / "layouts.csv").open(encoding="utf-8") as file:
        missions = list(csv.DictReader(file))
    assert len(missions) == 3 * (2 + 2 + 1 + 1) * LAYOUTS
    for row in table:
        assert row.keys() >= CONTRACT
        assert (row["n_layouts"], row["backend"]) == (LAYOUTS, "point")
        check_row(row, missions)
    check_markdown((tmp_path / "run" / "table.md").read_text(encoding="utf-8"), table, methods)


def check_markdown(text: str, table: list[dict[str, Any]], methods: list[str]) -> None:
    """The tables to be shown elsewhere against the rows."""

    def short(share: float, sign: str = "") -> str:
        return f"{share:{sign}.3f}".replace("0.", ".")

    shares, leads = (
        [line.strip("| ").split(" | ") for line in part.splitlines() if line.startswith("|")]
        for part in text.split("lgtc minus this")
    )
    for head, _, *lines in (shares, leads):
        assert head == ["method", "seeds", "scarce, 3 drones", "scarce, 4 drones", "open, 5 drones"]
        assert [line[0] for line in lines] == methods[-len(lines) :]
    assert len(shares) == len(leads) + 1 == len(methods) + 2
    last = {row["method"]: row for row in table if row["suite"] == "open"}
    own, other = last["lgtc"], last["greedy"]
    deviation = short(own["std_over_seeds"])
    assert shares[2][:2] == ["lgtc", "2"]
    assert shares[2][-1] == f"{short(own['delivered_mean'])} / {short(own['delivered_auc_mean'])} ± {deviation}"
    assert shares[4][-1] == f"{short(other['delivered_mean'])} / {short(other['delivered_auc_mean'])}"
    low, high = other["lgtc_minus_this_delivered_auc_ci95"]
    lead = short(other["lgtc_minus_this_delivered_auc"], "+")
    assert leads[3][0] == "greedy"
    assert leads[3][-1] == f"{lead} [{short(low)}, {short(high)}]"


def check_row(row: dict[str, Any], missions: list[dict[str, str]]) -> None:
    """A row against the figures of the single missions."""

    def figures(method: str, figure: str) -> np.ndarray:
        """[S, L]."""
        own = [each for each in missions if (each["suite"], each["n_agents"]) == (row["suite"], str(row["n_agents"]))]
        values = [float(each[figure] or "nan") for each in own if each["method"] == method]
        return np.array(values).reshape(-1, LAYOUTS)

    references = ["greedy", "value_greedy"]
    if row["method"] == "best_reference":
        best = np.max([figures(method, "delivered_auc") for method in references], axis=0)
        assert row["delivered_auc_mean"] == pytest.approx(best.mean())
        best = np.max([figures(method, "delivered_fraction") for method in references], axis=0)
        assert row["delivered_mean"] == pytest.approx(best.mean())
        return
    headline = figures(row["method"], "delivered_auc")
    learned = row["method"] not in references
    assert row["n_train_seeds"] == (2 if learned else 0)
    assert row["delivered_auc_mean"] == pytest.approx(headline.mean())
    assert row["std_over_seeds"] == (pytest.approx(headline.mean(axis=1).std(ddof=1)) if learned else None)
    for name in ("delivered_auc", "delivered"):
        low, high = row[f"{name}_ci95"]
        assert low <= row[f"{name}_mean"] <= high
    reached = figures(row["method"], "time_to_90_s")
    assert row["reached_90"] == np.isfinite(reached).mean()
    assert row["time_to_90_s"] == (pytest.approx(np.nanmean(reached)) if row["reached_90"] else None)
    assert row["collisions_per_agent_min"] == pytest.approx(
        figures(row["method"], "collisions_per_agent_minute").mean()
    )
    for key in ("return_mean", "bytes_per_agent_s", "min_separation_m", "energy_proxy"):
        assert row[key] == pytest.approx(figures(row["method"], key.removesuffix("_mean")).mean())
    if row["method"] != "lgtc":
        difference = figures("lgtc", "delivered_auc") - headline
        assert row["lgtc_minus_this_delivered_auc"] == pytest.approx(difference.mean())
        low, high = row["lgtc_minus_this_delivered_auc_ci95"]
        assert low <= difference.mean() <= high
        shares = figures("lgtc", "delivered_fraction"), figures(row["method"], "delivered_fraction")
        assert row["lgtc_over_this_delivered"] == pytest.approx(shares[0].mean() / shares[1].mean())
    else:
        assert not [key for key in row if "_this_" in key]


def test_anybody_gets_the_same_figures_in_any_number_of_processes(
    compared: Callable[..., Config], tmp_path: Path
) -> None:
    config = compared()
    flown(config, tmp_path / "one")
    flown(config, tmp_path / "two", jobs=2)
    for name in ("rows.json", "rows.csv", "layouts.csv", "table.md"):
        one, two = ((tmp_path / run / name).read_bytes() for run in ("one", "two"))
        assert one == two, name
    plots = sorted(path.name for path in (tmp_path / "one" / "plots").iterdir())
    assert plots == [
        "open-5-bars.png", "open-5-time.png", "scarce-3-bars.png", "scarce-3-time.png", "scarce-4-bars.png",
        "scarce-4-time.png", "scarce-team-size.png",
    ]  # fmt: skip
    for path in (tmp_path / "one" / "plots").iterdir():
        assert path.read_bytes().startswith(b"\x89PNG")
        assert path.read_bytes() == (tmp_path / "two" / "plots" / path.name).read_bytes()


def test_a_killed_evaluation_goes_on_where_it_was(
    compared: Callable[..., Config], start_sortie: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    config = compared("evaluation.n_layouts=30")
    (tmp_path / "config.yaml").write_text(config.to_yaml(), encoding="utf-8")
    process = start_sortie("evaluate", "config.yaml", "--out", "run", "--jobs", "2")
    results, deadline = tmp_path / "run" / "results", time.monotonic() + 240
    while len(list(results.glob("*.npz"))) < 3:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    workers = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.communicate()
    before = {path: path.stat().st_mtime_ns for path in results.glob("*.npz")}
    assert 3 <= len(before) < 18, "it must have been killed on the way"
    assert not (tmp_path / "run" / "rows.json").exists()
    _, alive = psutil.wait_procs(workers, timeout=30)
    assert not alive, "nothing goes on flying after a kill"

    done = start_sortie("evaluate", "config.yaml", "--out", "run", "--resume", "--json")
    out, err = done.communicate(timeout=240)
    assert done.returncode == 0, err
    assert f"{len(before)} of 18 flights are taken over" in err
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert json.loads(out) == flown(config, tmp_path / "uninterrupted")


def test_an_interrupt_ends_the_workers_too_and_says_how_to_go_on(
    compared: Callable[..., Config], start_sortie: Callable[..., subprocess.Popen[str]], tmp_path: Path
) -> None:
    (tmp_path / "config.yaml").write_text(compared("evaluation.n_layouts=400").to_yaml(), encoding="utf-8")
    process = start_sortie("evaluate", "config.yaml", "--out", "run", "--jobs", "2")
    results, deadline = tmp_path / "run" / "results", time.monotonic() + 240
    while not list(results.glob("*.npz")):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    workers = psutil.Process(process.pid).children(recursive=True)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal sends it
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert err.rstrip().endswith("go on with: sortie evaluate config.yaml --out run --resume")
    assert not psutil.wait_procs(workers, timeout=30)[1]


def test_figures_of_another_evaluation_are_never_taken_for_this_ones(
    compared: Callable[..., Config], tmp_path: Path
) -> None:
    """The file of a flight is named by all that its figures depend on, and by nothing else."""

    def paths(*overrides: str) -> dict[str, Path]:
        flights = plan(compared(*overrides))
        return {flight.name: result_path(tmp_path, flight) for flight in flights if flight.suite == "scarce"}

    same = paths()
    assert len(set(same.values())) == 12
    for override in ("train.learning_rate=0.1", "evaluation.bootstrap_samples=10", "ros.real_time_factor=2.0"):
        assert paths(override) == same, override
    for override in ("evaluation.n_layouts=7", "evaluation.first_seed=5", "comm.radius_m=4.0", "reward.demand=0.1",
                     "policy.deterministic=false", "world.safe_distance_m=0.7"):  # fmt: skip
        assert not set(paths(override).values()) & set(same.values()), override
    swapped = paths("evaluation.train_seeds=[2, 1]")
    assert swapped == same, "the order is none of a flight's business"
    fewer = paths("evaluation.methods=[greedy, lgtc]")
    assert fewer.items() <= same.items()


def test_what_a_program_says_of_itself_is_not_what_it_does(tmp_path: Path) -> None:
    versions = {
        "plain": "def f(x):\n    return x + 1\n",
        "told": '"""A file."""\n\n\ndef f(x):  # adds\n    """One more."""\n    return (x + 1)\n',
        "other": "def f(x):\n    return x + 2\n",
    }
    for name, text in versions.items():
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
    plain, told, other = (meaning(tmp_path / f"{name}.py") for name in versions)
    assert plain == told != other


def test_a_checkpoint_trained_anew_is_flown_anew(compared: Callable[..., Config], tmp_path: Path) -> None:
    import shutil

    source = Path(compared().evaluation.checkpoints)
    for seed in (1, 2):
        shutil.copy(source.parent / f"lgtc-{seed}.ckpt", tmp_path / f"{seed}.ckpt")
    config = compared(
        f"evaluation.checkpoints={tmp_path}/{{seed}}.ckpt", "evaluation.methods=[lgtc, greedy]",
        "evaluation.suites={scarce: {team.n_agents: 3}}",
    )  # fmt: skip
    first = flown(config, tmp_path / "run")
    kept = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "run" / "results").iterdir()}
    metadata_of_another = (tmp_path / "1.ckpt").read_bytes() + b"trained again"
    (tmp_path / "1.ckpt").write_bytes(metadata_of_another)
    again = flown(config, tmp_path / "run")
    new = {path.name for path in (tmp_path / "run" / "results").iterdir()} - kept.keys()
    assert [name.rpartition("-")[0] for name in new] == ["scarce-3-lgtc-1"]
    assert again == first, "the figures are those of the same weights"


def test_a_checkpoint_trained_anew_while_an_evaluation_runs_is_not_flown_under_the_old_name(
    compared: Callable[..., Config], tmp_path: Path
) -> None:
    (flight,) = plan(compared("evaluation.methods=[greedy]", "evaluation.suites={scarce: {team.n_agents: 3}}"))
    stale = result_path(tmp_path, flight).with_name("scarce-3-greedy-0123456789ab.npz")
    with pytest.raises(UserError, match="scarce-3-greedy: its checkpoint, or the program, has changed meanwhile"):
        fly_one(flight, stale, ignore)
    assert not stale.exists()


def test_the_short_way_is_one_policy_against_the_references(
    configured: Callable[..., Config], fresh_policies: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    checkpoint = fresh_policies.format(method="lgtc", seed=2)
    config = configured(
        f"policy.checkpoint={checkpoint}", "world.backend=point", "evaluation.suites={delivery: {}}",
        "policy.accept_mismatch=true", path="configs/delivery.yaml",
    )  # fmt: skip
    table = flown(config, tmp_path)
    assert [row["method"] for row in table] == [*config.evaluation.methods, "best_reference"]
    assert (table[0]["method"], table[0]["n_train_seeds"], table[0]["std_over_seeds"]) == ("lgtc", 1, None)
    shown = capsys.readouterr().out
    assert "delivery: 6 unseen layouts, 4 drones, point world" in shown
    assert all(row["method"] in shown for row in table)
    alone = fly_policy(config, ignore)
    assert {key: table[0][key] for key in alone} == alone


def test_a_drone_alone_has_no_separation_and_json_no_infinity(
    configured: Callable[..., Config], tmp_path: Path
) -> None:
    config = configured("team.n_agents=1", "evaluation.n_agents=[]", "evaluation.methods=[greedy]")
    (row,) = flown(config, tmp_path)
    assert row["min_separation_m"] is None
    assert row["min_separation_m_ci95"] == [None, None]


def shipped(*overrides: str) -> Config:
    checkpoint = f"policy.checkpoint={PROJECT / 'configs/checkpoints/lgtc-1.ckpt'}"
    return load_config(PROJECT / "configs" / "delivery.yaml", [checkpoint, *overrides])


def test_the_shipped_checkpoint_delivers_in_pybullet() -> None:
    """Over 10 unseen layouts with 8 drones."""
    config = shipped("world.backend=pybullet", "evaluation.n_layouts=10")
    assert (config.team.n_agents, config.task.n_consumers, config.task.n_resources) == (8, 3, 2)
    row = fly_policy(config, ignore)
    assert row["delivered_mean"] >= 0.90
    assert row["collisions_per_agent_min"] == 0


def test_the_shipped_checkpoint_says_where_it_comes_from() -> None:
    metadata = load_metadata(shipped().policy.checkpoint)
    assert content_hash(metadata["config"]) == metadata["config_hash"]
    assert metadata["config"]["seed"] == metadata["seed"]
    assert metadata["contraction_rate"] > 0
    assert metadata["commit"] != "unknown"
    # Judged on configs/scarce.yaml, where time is short.
    assert metadata["figures"]["pybullet"]["delivered_mean"] >= 0.85
    assert metadata["figures"]["point"]["delivered_mean"] >= 0.89


def test_the_shipped_checkpoints_are_those_that_the_sweep_trains(tmp_path: Path) -> None:
    """By every key that both versions of the schema have."""
    config = load_config(PROJECT / "configs" / "evaluate" / "main.yaml")
    trainings = {each.name: each for each in plan_trainings(config, tmp_path / "sweep")}
    for seed in config.evaluation.train_seeds:
        planned = trainings[f"lgtc-{seed}"].config.model_dump(mode="python")
        shipped = load_metadata(PROJECT / config.evaluation.checkpoints.format(method="lgtc", seed=seed))["config"]
        for section in ("team", "task", "world", "comm", "policy", "reward", "expert", "train"):
            common = planned[section].keys() & shipped[section].keys()
            assert {key: shipped[section][key] for key in common} == {key: planned[section][key] for key in common}
        assert shipped["seed"] == planned["seed"] == seed


def test_a_policy_of_another_radius_is_not_evaluated_by_accident() -> None:
    with pytest.raises(UserError, match="comm.radius_m"):
        fly_policy(shipped("comm.radius_m=2.0"), ignore)
