"""Training by an evolution strategy: reproducible, resumable, and it learns."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from sortie_cluster.config import ClusterConfig
from sortie_core.config import UserError, load
from sortie_policy.cluster_checkpoint import load_cluster_policy
from sortie_policy.cluster_policy import ClusterPolicy
from sortie_schedule import evolution
from sortie_schedule.evolution import State, advance, drawn, score_pair, train

if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Executor

CONFIG_FILE = Path(__file__).resolve().parents[2] / "configs/cluster.yaml"
SMALL = [
    "trace.n_jobs=2000", "training.pairs=3", "training.linear_generations=1", "training.generations=1",
    "training.checkpoint_every=1", "training.scenarios=[{arrivals.n_tasks: 150}]",
]  # fmt: skip


def configuration(*overrides: str) -> ClusterConfig:
    return load(ClusterConfig, CONFIG_FILE, [*SMALL, *overrides])


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[Executor]:
    """Threads in place of processes, which take seconds to start."""
    with ThreadPoolExecutor(1) as threads:
        monkeypatch.setattr(evolution, "pool_of", lambda _: _Kept(threads))
        yield threads


class _Kept:
    def __init__(self, threads: Executor) -> None:
        self._threads = threads

    def __enter__(self) -> Executor:
        return self._threads

    def __exit__(self, *_: object) -> None:
        pass


def fresh(config: ClusterConfig) -> tuple[ClusterPolicy, State]:
    policy = ClusterPolicy(config.training.hidden, config.training.width, config.training.seed)
    return policy, State.beginning(policy)


def test_a_generation_is_the_same_by_seed_and_moves_the_linear_part_first(pool: Executor) -> None:
    config = configuration()
    policy, state = fresh(config)
    one, other = (advance(config, policy, state, pool) for _ in range(2))
    assert (one[0].vector == other[0].vector).all() and one[1] == other[1]
    moved = one[0].vector != state.vector
    assert moved[policy.is_linear > 0].all()
    assert not moved[policy.is_linear == 0].any()
    second, _ = advance(config, policy, one[0], pool)
    assert (second.vector != one[0].vector)[policy.is_linear == 0].mean() > 0.9


def test_both_of_a_pair_meet_the_same_tasks() -> None:
    config = configuration()
    policy, _ = fresh(config)
    one, other = score_pair(config, policy.vector, policy.vector, 5, 0)
    assert one == other
    assert score_pair(config, policy.vector, policy.vector, 6, 0)[0] != one


def test_of_a_list_of_values_one_is_drawn() -> None:
    config = configuration("training.scenarios=[{arrivals.load: [0.6, 0.9], cluster.cores: [[1, 4]]}]")
    found = [drawn(config, seed, 0) for seed in range(12)]
    assert {each.arrivals.load for each in found} == {0.6, 0.9}
    assert all(each.cluster.cores == [1.0, 4.0] for each in found)


def test_training_learns_what_a_spoilt_rule_has_forgotten(pool: Executor) -> None:
    """Pushing to the slowest nodes is unlearned within a few generations."""
    config = configuration("training.pairs=8", "training.linear_generations=12", "training.linear_rate=0.5")
    policy, state = fresh(config)
    spoilt = policy.with_vector(state.vector)
    spoilt.parts["push_linear"][:] = 0.0
    spoilt.parts["pull_linear"][:] = 0.0
    state = state._replace(vector=spoilt.vector)
    for _ in range(12):
        state, _ = advance(config, policy, state, pool)
    before, after = np.mean(
        [score_pair(config, spoilt.vector, state.vector, seed, 0) for seed in range(900, 908)], axis=0
    )
    assert after > before + 0.05


def test_a_training_that_was_killed_goes_on_as_if_it_had_not_been(pool: Executor, tmp_path: Path) -> None:
    whole = load_cluster_policy(train(configuration(), tmp_path / "whole"))
    train(configuration("training.generations=0"), tmp_path / "cut")
    with pytest.raises(UserError, match="of another configuration"):
        train(configuration(), tmp_path / "cut", resume=True)
    # as if the process had been killed after the first generation
    half = tmp_path / "half"
    keep = evolution._keep
    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):

        def keep_and_die(*arguments: object) -> None:
            keep(*arguments)  # type: ignore[arg-type]
            raise KeyboardInterrupt

        patch.setattr(evolution, "_keep", keep_and_die)
        train(configuration(), half)
    resumed = load_cluster_policy(train(configuration(), half, resume=True))
    assert (resumed.vector == whole.vector).all()
    assert (half / "history.csv").read_text() == (tmp_path / "whole/history.csv").read_text()


def test_there_must_be_something_to_resume(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="nothing was saved there yet"):
        train(configuration(), tmp_path, resume=True)
    (tmp_path / "train_state.npz").write_bytes(b"PK")
    with pytest.raises(UserError, match="is damaged"):
        train(configuration(), tmp_path, resume=True)
