"""Addresses at which no drone can be are refused before anything is started."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from sortie_core.config import UserError, load
from sortie_core.flight_config import FlightConfig
from sortie_flight.adapters import check_addresses, vehicle_kind
from sortie_flight.vehicle import Vehicle

CONFIGS = Path(__file__).parents[2] / "configs" / "flight"


def configured(adapter: str, *overrides: str) -> FlightConfig:
    return load(FlightConfig, CONFIGS / f"{adapter}.yaml", ["team.n_agents=2", "flight.first_port=15970", *overrides])


@pytest.mark.parametrize("adapter", ["mavlink", "cflib", "crazyswarm2"])
def test_the_shipped_addresses_can_be_used(adapter: str) -> None:
    check_addresses(configured(adapter))
    check_addresses(configured(adapter, "flight.adapter=simulated"))
    assert issubclass(vehicle_kind(adapter), Vehicle)


@pytest.mark.parametrize(
    ("adapter", "address", "message"),
    [
        ("mavlink", "udpin:127.0.0.1:15990", "drones 0 and 1 are both at udpin:127.0.0.1:15990"),
        ("mavlink", "nowhere:{port}", "drone 0: .* no such kind of link; it must be udpin:host:port"),
        ("mavlink", "tcp:{port}", "drone 0: .* it must be"),
        ("mavlink", "/dev/tty_{drone}", "drone 0: flight.address: /dev/tty_0"),
        ("cflib", "udp://127.0.0.1", "udp://127.0.0.1"),
        ("cflib", "radio://{drone}/80/2M", "no Crazyradio|no USB radio|there is no Crazyradio"),
        ("crazyswarm2", "9{drone}", "no name of a Crazyflie; take one of crazyflies.yaml"),
    ],
)
def test_others_are_refused_in_a_line(adapter: str, address: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        check_addresses(configured(adapter, f"flight.address={address}"))
    assert "\n" not in str(caught.value)


def test_a_port_that_is_taken_is_told() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        with pytest.raises(UserError, match="stop what else listens there"):
            check_addresses(configured("mavlink", f"flight.first_port={port}"))
