"""The bank solves once, trusts nothing it reads, goes on after a kill, and does not depend on its workers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from instances import MAIN, main_config, padded, small

from sortie_core.config import UserError
from sortie_core.layout import sample_training_layout
from sortie_expert import bank as module
from sortie_expert.bank import AssignmentBank, solve_bank
from sortie_expert.solution import AssignmentSolution, AssignmentStatus

ROOT = Path(__file__).parents[2]


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The keys of the problems solved in this process."""
    solved: list[str] = []
    honest = module.solve

    def solve(problem: object, *how: object) -> AssignmentSolution:
        solved.append(problem.key())
        return honest(problem, *how)

    monkeypatch.setattr(module, "solve", solve)
    return solved


def test_a_hit_does_not_solve_again(tmp_path: Path, counted: list[str]) -> None:
    problems = [small(seed) for seed in (0, 1, 0, 2)]
    first = solve_bank(problems, main_config(), tmp_path, workers=1)
    assert first.shape == (4, 6)
    assert len(counted) == 3, "equal problems are solved once"
    assert np.array_equal(first[0], first[2])
    steps: list[tuple[int, int]] = []
    again = solve_bank(problems, main_config(), tmp_path, workers=1, progress=lambda *step: steps.append(step))
    assert len(counted) == 3
    assert np.array_equal(first, again)
    assert steps == [(3, 3)]


def test_what_changes_the_result_misses(tmp_path: Path, counted: list[str]) -> None:
    problem = [small(0)]
    solve_bank(problem, main_config(), tmp_path, workers=1)
    solve_bank(problem, main_config(), tmp_path, workers=1, relative_gap=1e-6)
    solve_bank(problem, main_config(), tmp_path, workers=1, solver="scip")
    solve_bank(problem, main_config("expert.time_limit_s=5"), tmp_path, workers=1)
    assert len(counted) == 4


def test_broken_or_false_files_are_solved_again(tmp_path: Path, counted: list[str]) -> None:
    config, problem = main_config(), small(3)
    right = solve_bank([problem], config, tmp_path, workers=1)
    (path,) = tmp_path.iterdir()
    text = path.read_text()
    other = json.loads(text)
    swapped = [(value + 1) % 4 for value in other["plan"]]
    broken = [
        text[: len(text) // 2],
        "",
        "[]",
        "null",
        json.dumps(other | {"plan": swapped}),
        json.dumps(other | {"plan": [99] * 6}),
        json.dumps(other | {"status": "splendid"}),
        json.dumps({name: value for name, value in other.items() if name != "bound"}),
        json.dumps(other | {"extra": 1}),
    ]
    for number, content in enumerate(broken, start=2):
        path.write_text(content)
        assert np.array_equal(solve_bank([problem], config, tmp_path, workers=1), right)
        assert len(counted) == number, content
        assert json.loads(path.read_text())["plan"] == other["plan"]
    path.write_bytes(b"\xff\xfe\x00")
    assert AssignmentBank(config, tmp_path).recall(problem) is None


def test_results_do_not_depend_on_the_workers(tmp_path: Path) -> None:
    config = main_config("team.n_agents=8", "train.n_consumers=[2,3]", "train.n_resources=[1,2]")
    layouts = padded(sample_training_layout(config, range(10)), 4)
    steps: list[tuple[int, int]] = []
    alone = solve_bank(layouts, config, tmp_path / "one", workers=1)
    together = solve_bank(layouts, config, tmp_path / "two", workers=2, progress=lambda *step: steps.append(step))
    assert np.array_equal(alone, together)
    assert steps == [(done, 10) for done in range(11)]
    assert {path.name for path in (tmp_path / "one").iterdir()} == {path.name for path in (tmp_path / "two").iterdir()}
    none = layouts.consumer_position.shape[1]
    assert alone.shape == layouts.present.shape
    assert np.all(alone[~layouts.present] == none)
    assert np.any(alone < none)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_killed_run_goes_on_where_it_was_and_leaves_no_process(
    tmp_path: Path, counted: list[str], workers: int
) -> None:
    overrides = ["team.n_agents=10", "train.n_consumers=[3,3]", "train.n_resources=[2,2]"]
    script, folder = tmp_path / "run.py", tmp_path / "bank"
    script.write_text(
        "from sortie_core.config import load_config\n"
        "from sortie_core.layout import sample_training_layout\n"
        "from sortie_expert.bank import solve_bank\n"
        "if __name__ == '__main__':\n"
        f"    config = load_config({str(MAIN)!r}, {overrides!r})\n"
        f"    layouts = sample_training_layout(config, range(200))\n"
        f"    solve_bank(layouts, config, {str(folder)!r}, workers={workers})\n"
    )
    paths = os.pathsep.join([str(ROOT / "sim"), str(ROOT / "learning")])
    process = subprocess.Popen([sys.executable, script], env=os.environ | {"PYTHONPATH": paths})
    deadline_s = time.monotonic() + 60
    while len(list(folder.glob("*.json"))) < 5:
        assert process.poll() is None
        assert time.monotonic() < deadline_s
        time.sleep(0.02)
    children = psutil.Process(process.pid).children()
    assert len(children) >= workers if workers > 1 else not children
    process.send_signal(signal.SIGKILL)
    process.wait()
    _, alive = psutil.wait_procs(children, timeout=20)
    assert not alive
    kept = len(list(folder.glob("*.json")))
    assert 5 <= kept < 200
    config = main_config(*overrides)
    solve_bank(sample_training_layout(config, range(20)), config, folder, workers=1)
    assert len(counted) <= 20 - 5, "what the killed run had solved of these is not solved again"
    assert len(list(folder.glob("*.json"))) == kept + len(counted)


def test_kept_solutions_are_whole(tmp_path: Path) -> None:
    bank = AssignmentBank(main_config(), tmp_path)
    (solution,) = bank.solutions([small(4)], workers=1)
    recalled = bank.recall(small(4))
    assert recalled is not None
    assert not small(4).faults(recalled.plan)
    assert recalled.status is AssignmentStatus.OPTIMAL
    assert np.array_equal(recalled.assignment, solution.assignment)
    assert (recalled.objective, recalled.bound, recalled.gap) == (solution.objective, solution.bound, solution.gap)


def test_faults_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write .*file"):
        solve_bank([small(0)], main_config(), tmp_path / "file", workers=1)
    bigger = sample_training_layout(main_config(), [0])
    mixed = [small(0), module.AssignmentProblem.from_state(bigger, 0, main_config())]
    with pytest.raises(ValueError, match="different numbers"):
        solve_bank(mixed, main_config(), tmp_path, workers=1)
