"""What flies which drone, and where it is reached."""

from __future__ import annotations

from pathlib import Path

import pytest

from sortie_core.config import UserError, load
from sortie_core.flight_config import FlightConfig

MAVLINK = Path(__file__).parents[2] / "configs" / "flight" / "mavlink.yaml"


def test_addresses_are_filled_in_for_each_drone() -> None:
    config = load(FlightConfig, MAVLINK, ["flight.address='a{drone}-{number}-{port}'", "flight.first_port=100"])
    assert [config.place(k).address for k in (0, 7)] == ["a0-1-100", "a7-8-107"]
    assert config.adapters == {"mavlink": tuple(range(8))}


def test_single_drones_may_differ() -> None:
    entry = "flight.vehicles={2: {adapter: simulated}, 5: {address: 'udpin:0.0.0.0:9', origin: [1, 2, 3]}}"
    config = load(FlightConfig, MAVLINK, [entry])
    assert config.adapters == {"mavlink": (0, 1, 3, 4, 5, 6, 7), "simulated": (2,)}
    assert (config.place(5).address, config.place(5).origin) == ("udpin:0.0.0.0:9", (1.0, 2.0, 3.0))
    assert config.place(0).origin == (0.0, 0.0, 0.0)


def test_a_battery_of_fewer_cells_has_limits_of_its_own() -> None:
    entry = "flight.vehicles={1: {battery_warn_v: 3.8, battery_land_v: 3.7}}"
    config = load(FlightConfig, MAVLINK, [entry])
    limits = [(config.place(k).battery_warn_v, config.place(k).battery_land_v) for k in (0, 1)]
    assert limits == [(14.0, 13.2), (3.8, 3.7)]


@pytest.mark.parametrize(
    ("overrides", "real", "asks"),
    [
        ([], True, True),
        (["flight.confirm=false"], True, False),
        (["flight.peers=true"], False, False),
        (["flight.adapter=simulated"], False, False),
        (["flight.adapter=simulated", "flight.vehicles={0: {adapter: cflib}}"], True, True),
    ],
)
def test_nobody_is_asked_where_nothing_is_real(overrides: list[str], real: bool, asks: bool) -> None:
    config = load(FlightConfig, MAVLINK, overrides)
    assert (config.real, config.asks) == (real, asks)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("flight.address=x{foo}", "may hold {drone}"),
        ("flight.address=x{", "may hold {drone}"),
        ("flight.address='x{drone.x}'", "may hold {drone}"),
        ("flight.address='x{drone[0]}'", "may hold {drone}"),
        ("flight.vehicles={0: {address: 'x{foo}'}}", "may hold {drone}"),
        ("flight.vehicles={8: {adapter: cflib}}", "there is no drone 8"),
        ("flight.battery_land_v=15", "battery_land_v: 15.0 is above battery_warn_v = 14.0"),
        ("flight.vehicles={3: {battery_warn_v: 3.8}}", "13.2 is above battery_warn_v = 3.8 for drone 3"),
        ("flight.setpoint_hz=5", "setpoint_hz"),
        ("ros.lockstep=true", "vehicles wait for nobody"),
        ("ros.real_time_factor=2", "set it to 1"),
    ],
)
def test_what_cannot_be_flown_is_said_in_a_line(override: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        load(FlightConfig, MAVLINK, [override])
