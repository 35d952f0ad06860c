"""A recording is read back as it was, whole or not."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from sortie_cluster.live_config import LiveConfig
from sortie_core.config import Config, UserError, load, load_config
from sortie_view.mission_data import MissionData
from sortie_view.recorded_runs import load_run
from sortie_view.recording import Recording
from sortie_view.scene import Scene

if TYPE_CHECKING:
    from collections.abc import Callable

    Record = Callable[..., Path]

YAML = Path(__file__).parents[2] / "configs" / "delivery.yaml"
CLUSTER = YAML.with_name("cluster_live.yaml")


def test_every_tick_is_there_with_what_was_said_before_it(record: Record) -> None:
    path = record("run", 40, "team.n_agents=6", "task.n_consumers=3", "comm.radius_m=2.0")
    recording = Recording(path)
    assert len(recording) == 40
    assert recording.config.team.n_agents == 6
    tick = recording.snapshot(10)
    assert tick["time_s"] == pytest.approx(1.0)
    assert tick["drones"]["choice"] == [0, 0, 1, 1, 2, 2]
    assert tick["delivered"] == pytest.approx(10 / 39, abs=1e-4)
    assert [sum(each) for each in tick["unmet"]] == pytest.approx([2 * (1 - 10 / 39)] * 3, abs=2e-3)
    assert tick["rates"]["messages_per_s"] == pytest.approx(60.0)
    assert tick["rates"]["bytes_per_s"] == pytest.approx(6000.0)
    assert {(0, 1), (2, 3), (4, 5)} <= {tuple(pair) for pair in tick["links"]}
    history = recording.scene.history()
    assert history["delivered"][-1] == 1.0
    assert recording.tick_at(recording.times_ns[7] + 1) == 7
    assert recording.tick_at(0) == 0


def test_a_folder_will_do_and_arrays_have_the_shapes_they_say(record: Record) -> None:
    path = record("run", 30, "team.n_agents=4")
    mission = load_run(path.parent, "run")
    assert isinstance(mission, MissionData)
    n_consumers, n_resources = mission.config.task.n_consumers, mission.config.task.n_resources
    assert mission.position.shape == (30, 4, 3)
    assert mission.unmet.shape == (30, n_consumers, n_resources)
    assert mission.choice.shape == mission.alive.shape == (30, 4)
    distance = np.linalg.norm(mission.position[:, :, None] - mission.position[:, None], axis=-1)
    least = (distance + 1e9 * np.eye(4)).min(axis=(1, 2))
    assert mission.separation_m.tolist() == pytest.approx(least.tolist())
    assert np.cumsum(mission.reward["demand"])[-1] == pytest.approx(15.0)
    assert [fault["drone"] for fault in mission.faults] in ([], [1])


def test_a_recording_that_was_cut_off_is_read_as_far_as_it_goes(record: Record) -> None:
    path = record("run", 200, "team.n_agents=20")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 2 // 3])
    path.with_name("config.yaml").write_text(Recording(record("other", 3, "team.n_agents=20")).config.to_yaml())
    cut = Recording(path)
    assert 0 < len(cut) < 200


def test_a_damaged_recording_is_refused_in_a_line(record: Record, tmp_path: Path) -> None:
    whole, refused = record("run", 60).read_bytes(), 0
    damaged = tmp_path / "damaged.mcap"
    for at in range(100, len(whole) - 8, len(whole) // 30):
        damaged.write_bytes(whole[:at] + b"\xff" * 8 + whole[at + 8 :])
        try:
            Recording(damaged)
        except UserError as error:
            refused += 1
            assert "\n" not in str(error) and "damaged.mcap" in str(error)
    assert refused >= 15, "the rest are bytes that nobody reads"


def test_a_clusters_scene_does_without_its_trace() -> None:
    """Who is sent a recording has not got the trace."""
    config = load(LiveConfig, CLUSTER, ["trace.path=gone.csv"])
    assert len(Scene(config).snapshot()["facts"]["capacity"]) == config.cluster.n_nodes


def test_what_is_no_recording_is_refused_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no recording"):
        Recording(tmp_path / "nothing.mcap")
    with pytest.raises(UserError, match="holds no recordings"):
        Recording(tmp_path)
    text = tmp_path / "text.mcap"
    text.write_text("not at all")
    with pytest.raises(UserError, match="no MCAP file"):
        Recording(text)


@pytest.mark.parametrize(
    ("then", "told"),
    [
        (lambda text: text.replace("  view_host: 127.0.0.1\n", ""), None),
        (lambda text: text + "gone: 1\n", "recorded by another version of Sortie .*config.yaml.* gone"),
    ],
)
def test_recordings_of_other_versions_are_read_where_no_key_is_gone(
    record: Record, then: Callable[[str], str], told: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = then(load_config(YAML, ["seed=7"]).to_yaml())
    monkeypatch.setattr(Config, "to_yaml", lambda _: text)
    path = record("run", 3)
    if told:
        with pytest.raises(UserError, match=told):
            Recording(path)
    else:
        config = Recording(path).config
        assert (config.seed, config.ros.view_host) == (7, "127.0.0.1")
