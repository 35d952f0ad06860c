"""Which class speaks to the vehicles of which adapter; each is imported only where it is used."""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import TYPE_CHECKING

from sortie_core.config import UserError
from sortie_flight.vehicle import VehicleError

if TYPE_CHECKING:
    from sortie_core.flight_config import FlightConfig
    from sortie_flight.vehicle import Vehicle

_KINDS = {
    "mavlink": ("sortie_flight.mavlink_vehicle", "MavlinkVehicle"),
    "cflib": ("sortie_flight.crazyflie_vehicle", "CrazyflieVehicle"),
    "crazyswarm2": ("sortie_flight.crazyswarm2_vehicle", "Crazyswarm2Vehicle"),
    "simulated": ("sortie_flight.simulated_vehicle", "SimulatedVehicle"),
}


def vehicle_kind(adapter: str) -> type[Vehicle]:
    """The class of an adapter.

    Raises:
        UserError: a library that it needs is not installed.
    """
    module, name = _KINDS[adapter]
    try:
        with warnings.catch_warnings():  # cflib switches on deprecation warnings, for all that is imported after it
            kind: type[Vehicle] = getattr(import_module(module), name)
    except ImportError as error:
        raise UserError(f"flight.adapter: {adapter} cannot be used ({error}); run `make setup`") from None
    return kind


def check_addresses(config: FlightConfig) -> None:
    """Refuse addresses at which no vehicle can be, before anything is started.

    Raises:
        UserError: one line that names the drone and the address; or two drones have the same one.
    """
    taken: dict[tuple[str, str], int] = {}
    for drone in range(config.team.n_agents):
        place = config.place(drone)
        if place.adapter == "simulated":
            continue
        other = taken.setdefault((place.adapter, place.address), drone)
        if other != drone:
            raise UserError(
                f"flight.address: drones {other} and {drone} are both at {place.address}; put {{drone}}, {{number}} or "
                "{port} into it, or name them in flight.vehicles"
            )
        try:
            vehicle_kind(place.adapter).check(place.address)
        except VehicleError as error:
            raise UserError(f"drone {drone}: {error}") from None
