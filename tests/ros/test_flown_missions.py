"""Whole flights, as users start them: real processes, protocol peers, PyBullet behind them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import psutil
import pytest
from mcap.reader import make_reader
from mcap_ros2.decoder import DecoderFactory

from sortie_core.config import load
from sortie_core.flight_config import FlightConfig

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.ros, pytest.mark.usefixtures("domain")]

CONFIGS = Path(__file__).parents[2] / "configs" / "flight"
SHORT = ("team.n_agents=3", "task.duration_s=6", "ros.success_fraction=0.1", "flight.peers=true")


class Flights:
    """Flies by the runner."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "flight"

    @contextmanager
    def start(self, adapter: str, *overrides: str) -> Iterator[subprocess.Popen[str]]:
        runner = [sys.executable, "-m", "sortie_bringup.runner", "--config", str(CONFIGS / f"{adapter}.yaml")]
        command = [*runner, "--out", str(self.folder), "--json", "--", *SHORT, *overrides]
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"NO_COLOR": "1"},
            start_new_session=True,
        )
        try:
            yield process
        finally:
            process.terminate()
            process.communicate(timeout=40)

    def finish(self, process: subprocess.Popen[str]) -> dict[str, Any]:
        stdout, stderr = process.communicate(timeout=90)
        assert process.returncode in (0, 1), stdout + stderr
        return json.loads((self.folder / "summary.json").read_text())

    def recorded(self, topic: str) -> list[list[tuple[float, Any]]]:
        """What was recorded of one topic of each drone: times, s, and messages."""
        found: list[list[tuple[float, Any]]] = [[] for _ in range(3)]
        with (self.folder / "run.mcap").open("rb") as stream:
            reader = make_reader(stream, decoder_factories=[DecoderFactory()])
            for drone, course in enumerate(found):
                for each in reader.iter_decoded_messages(topics=[f"/drone_{drone}/{topic}"]):
                    course.append((each.message.log_time * 1e-9, each.decoded_message))
        return found

    def until_flying(self, process: subprocess.Popen[str]) -> None:
        """The manager says so; all other lines are of no interest."""
        assert process.stderr is not None
        for line in process.stderr:
            if "taking off" in line:
                time.sleep(4.0)  # until the mission has begun
                return
        pytest.fail("the drones did not take off")


@pytest.fixture
def flights(tmp_path: Path) -> Flights:
    return Flights(tmp_path)


def test_real_and_simulated_drones_fly_one_mission_and_everything_is_recorded(flights: Flights) -> None:
    crazyflie = "{adapter: cflib, address: 'udp://127.0.0.1:19671', battery_warn_v: 3.8, battery_land_v: 3.7}"
    mixed = f"flight.vehicles={{1: {crazyflie}, 2: {{adapter: simulated}}}}"
    with flights.start("mavlink", mixed, "flight.first_port=14671") as process:
        summary = flights.finish(process)
    assert process.returncode == 0
    assert summary["flight"]["adapters"] == ["cflib", "mavlink", "simulated"]
    assert summary["faults"] == []
    assert summary["collisions"] == 0
    assert summary["delivered_fraction"] > 0.1
    assert 30 < summary["flight"]["setpoint_interval_ms_p50"] < 50
    assert summary["setpoints"] > 3 * 25 * 4
    with np.load(flights.folder / "trajectory.npz") as file:
        assert (file["position"][-1, :, 2] > 0.7).all()
    with (flights.folder / "run.mcap").open("rb") as stream:
        told = make_reader(stream).get_summary()
        assert told is not None
        topics = {channel.topic for channel in told.channels.values()}
    names = ("setpoint", "vehicle/odom", "vehicle/status", "cmd_vel")
    wanted = {f"/drone_{k}/{name}" for k in range(3) for name in names}
    assert wanted | {"/checklist", "/flight_status", "/team_status", "/faults"} <= topics
    again = load(FlightConfig, flights.folder / "config.yaml")
    assert again.hash() == summary["config_hash"]


def test_without_a_word_between_them_drones_still_keep_apart(flights: Flights) -> None:
    overrides = ("flight.adapter=simulated", "comm.loss=1.0", "task.arena_half_m=1.5", "ros.record=false")
    with flights.start("mavlink", *overrides) as process:
        summary = flights.finish(process)
    assert summary["messages_delivered"] == 0
    assert summary["faults"] == []
    assert summary["collisions"] == 0


def test_the_team_goes_on_without_a_drone_whose_policy_is_killed(flights: Flights) -> None:
    overrides = ("flight.adapter=simulated", "task.duration_s=12", "task.supply_ratio=[0.2,0.2]", "ros.record=false")
    with flights.start("mavlink", *overrides) as process:
        flights.until_flying(process)
        children = psutil.Process(process.pid).children(recursive=True)
        next(child for child in children if "__ns:=/drone_1" in child.cmdline()).kill()
        summary = flights.finish(process)
    assert {(fault["kind"], fault["drone"]) for fault in summary["faults"]} & {("process_exit", 1), ("landing", 1)}
    assert {fault["drone"] for fault in summary["faults"]} == {1}
    with np.load(flights.folder / "trajectory.npz") as file:
        assert file["position"][-1, 1, 2] < 0.1
        assert (file["position"][-1, [0, 2], 2] > 0.7).all()
        assert file["alive"][-1].tolist() == [True, False, True]


@pytest.mark.parametrize("adapter", ["mavlink", "cflib", "crazyswarm2"])
def test_without_the_relay_of_the_radio_all_land(flights: Flights, adapter: str) -> None:
    """It stands for the radio of the whole team: the flight is over, and everybody comes down in good order."""
    overrides = ("task.duration_s=60", "task.supply_ratio=[0.2,0.2]", "flight.first_port=14701")
    with flights.start(adapter, *overrides) as process:
        flights.until_flying(process)
        children = psutil.Process(process.pid).children(recursive=True)
        next(child for child in children if "__node:=comm_relay" in child.cmdline()).kill()
        _, said = process.communicate(timeout=40)
    assert process.returncode == 1
    assert "comm_relay ended with" in said
    assert "did not end cleanly" not in said
    for course in flights.recorded("vehicle/status"):
        flown_s = [stamp_s for stamp_s, status in course if status.airborne]
        assert course[-1][0] > flown_s[-1], "it was in the air to the end"
        assert not course[-1][1].locked, "it has fallen"


def test_who_interrupts_a_flight_has_the_drones_land_first(flights: Flights) -> None:
    overrides = ("task.duration_s=60", "task.supply_ratio=[0.2,0.2]", "flight.first_port=14681")
    with flights.start("mavlink", *overrides) as process:
        flights.until_flying(process)
        os.kill(process.pid, signal.SIGINT)
        flights_end_s = time.monotonic() + 40
        while process.poll() is None and time.monotonic() < flights_end_s:
            time.sleep(0.2)
        assert process.returncode == 130
    summary = json.loads((flights.folder / "summary.json").read_text())
    assert {fault["kind"] for fault in summary["faults"]} == {"told_to_land"}
    assert summary["flight"]["least_battery_v"] > 0


def test_a_checklist_that_stays_red_ends_it_and_is_read_out(flights: Flights) -> None:
    overrides = ("flight.peers=false", "flight.confirm=false", "flight.first_port=14691", "ros.ready_timeout_s=8")
    with flights.start("mavlink", *overrides) as process:
        _, said = process.communicate(timeout=90)
    assert process.returncode == 1
    assert "the checklist is red: drone 0: link: nothing heard at udpin:127.0.0.1:14691" in said
