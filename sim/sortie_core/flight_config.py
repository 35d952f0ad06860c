"""The configuration of a flight: a delivery mission's, and what flies it; configs/flight/*.yaml show every key."""

from __future__ import annotations

import string
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, model_validator

from sortie_core.config import Config
from sortie_core.config_sections import Finite, NonNegative, Positive, Section

Adapter = Literal["simulated", "mavlink", "cflib", "crazyswarm2"]
_FIELDS = {"drone", "number", "port"}


def _fillable(value: str) -> str:
    try:
        fields = {name for _, name, _, _ in string.Formatter().parse(value) if name is not None}
        value.format(drone=0, number=1, port=14540)
    except (ValueError, KeyError, IndexError, AttributeError, TypeError):
        fields = {"?"}
    if not fields <= _FIELDS:
        raise ValueError(
            "may hold {drone} (from 0), {number} (from 1), {port} (flight.first_port + drone) and no other"
        )
    return value


Address = Annotated[str, AfterValidator(_fillable)]


class VehicleEntry(Section):
    """What is different about one drone; None as in the section `flight`.

    Attributes:
        adapter: what speaks to it.
        address: where it is; fields as in flight.address.
        origin: where the origin of its own local frame lies in the world: x, y, z, m; None: they are the same.
        battery_warn_v: it does not start below this, V.
        battery_land_v: it is landed below this, V.
    """

    adapter: Adapter | None = None
    address: Address | None = None
    origin: Annotated[list[Finite], Field(min_length=3, max_length=3)] | None = None
    battery_warn_v: NonNegative | None = None
    battery_land_v: NonNegative | None = None


class Place(Section):
    """How one drone is reached.

    Attributes:
        adapter: what speaks to it.
        address: where it is.
        origin: [3] m, where the origin of its own local frame lies in the world.
        battery_warn_v: it does not start below this, V.
        battery_land_v: it is landed below this, V.
    """

    adapter: Adapter
    address: str
    origin: tuple[float, float, float]
    battery_warn_v: float
    battery_land_v: float


class Flight(Section):
    """What flies the drones, and when they must not."""

    adapter: Adapter
    address: Address
    first_port: Annotated[int, Field(ge=1, le=65000)]
    vehicles: dict[Annotated[int, Field(ge=0)], VehicleEntry]
    peers: bool
    confirm: bool
    setpoint_hz: Annotated[float, Field(ge=10, le=100)]
    climb_timeout_s: Positive
    link_timeout_s: Positive
    battery_warn_v: NonNegative
    battery_land_v: NonNegative


class FlightConfig(Config):
    """A delivery mission flown by vehicles."""

    EXAMPLE = "configs/flight/mavlink.yaml"

    flight: Flight

    @model_validator(mode="after")
    def _can_be_flown(self) -> FlightConfig:
        if strange := [drone for drone in self.flight.vehicles if drone >= self.team.n_agents]:
            raise ValueError(f"flight.vehicles: there is no drone {strange[0]}; team.n_agents is {self.team.n_agents}")
        for drone in range(self.team.n_agents):
            place = self.place(drone)
            if place.battery_land_v > place.battery_warn_v:
                raise ValueError(
                    f"flight.battery_land_v: {place.battery_land_v} is above battery_warn_v = {place.battery_warn_v} "
                    f"for drone {drone}; lower it"
                )
        if self.ros.lockstep:
            raise ValueError("ros.lockstep: vehicles wait for nobody; set it to false, or fly with `sortie sim`")
        if self.ros.real_time_factor != 1:
            raise ValueError("ros.real_time_factor: vehicles keep the clock's time; set it to 1")
        return self

    def place(self, drone: int) -> Place:
        """How a drone is reached."""
        flight, entry = self.flight, self.flight.vehicles.get(drone, VehicleEntry())
        address = flight.address if entry.address is None else entry.address
        filled = address.format(drone=drone, number=drone + 1, port=flight.first_port + drone)
        origin: Any = tuple(entry.origin or (0.0, 0.0, 0.0))
        return Place(
            adapter=entry.adapter or flight.adapter,
            address=filled,
            origin=origin,
            battery_warn_v=flight.battery_warn_v if entry.battery_warn_v is None else entry.battery_warn_v,
            battery_land_v=flight.battery_land_v if entry.battery_land_v is None else entry.battery_land_v,
        )

    @property
    def real(self) -> bool:
        """Something may be hurt: not all drones are simulated."""
        return not self.flight.peers and set(self.adapters) != {"simulated"}

    @property
    def asks(self) -> bool:
        """Drones are armed only once somebody has said so."""
        return self.flight.confirm and self.real

    @property
    def adapters(self) -> dict[Adapter, tuple[int, ...]]:
        """Which drones each adapter flies."""
        found: dict[Adapter, list[int]] = {}
        for drone in range(self.team.n_agents):
            found.setdefault(self.place(drone).adapter, []).append(drone)
        return {adapter: tuple(drones) for adapter, drones in found.items()}
