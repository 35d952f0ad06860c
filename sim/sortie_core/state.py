"""The state of a batch of missions, as a struct of arrays.

Axes: ``B`` environments, ``N`` agents, ``M`` consumers, ``R`` resources, ``D`` dimensions. Every array is NumPy or
torch (array API); all of one state live in one namespace and on one device.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

from array_api_compat import array_namespace
from array_api_compat import device as device_of

Array = Any


def batch_last(array: Array) -> Array:
    """A view [..., B] of an array [B, ...]; rules compute on it, since long inner loops are what makes them fast."""
    return array_namespace(array).moveaxis(array, 0, -1)


def batch_first(array: Array) -> Array:
    """A view [B, ...] of an array [..., B]: the inverse of `batch_last`."""
    return array_namespace(array).moveaxis(array, -1, 0)


def stored_batch_last(array: Array) -> Array:
    """A copy with the same axes [B, ...] whose memory holds the batch axis last (contiguous under `batch_last`)."""
    view = batch_last(array)
    copy = array_namespace(array).empty(view.shape, dtype=view.dtype, device=device_of(array))
    copy[...] = view
    return batch_first(copy)


@dataclass
class WorldState:
    """Everything that the rules of delivery read and write.

    Axes are as below everywhere; worlds store the arrays with B last in memory (`stored_batch_last`), which no reader
    needs to know.

    Attributes:
        time_s: [B] mission time, s.
        position: [B, N, D] m, ENU world frame.
        velocity: [B, N, D] m/s.
        stock: [B, N, R] in units of one drone's capacity.
        present: [B, N] bool, False for padding.
        failure_time_s: [B, N] when the agent stops for good, s; inf = never.
        discharge_per_s: [B, N] decay rate of the stock, 1/s.
        discharge_onset_s: [B, N] when the decay starts, s.
        consumer_position: [B, M, D] m.
        demand: [B, M, R] as first asked; once it has changed, what was received before and what was asked then.
        unmet: [B, M, R] still asked.
        demand_time_s: [B, M] when the demand appears, s; inf for padding.
        demand_change_s: [B, M] when a new demand replaces what is open, s; inf = never, or done.
        new_demand: [B, M, R] what is asked from then on.
        presence: [B, R] bool, True where the resource is a demand for presence.
        presence_held_s: [B, M] how long the presence demand has been covered, s.
        completed: [B, M] bool.
        delivered: [B, N, R] handed over by each agent so far.
        discharged: [B, N, R] lost by discharge so far.
    """

    time_s: Array
    position: Array
    velocity: Array
    stock: Array
    present: Array
    failure_time_s: Array
    discharge_per_s: Array
    discharge_onset_s: Array
    consumer_position: Array
    demand: Array
    unmet: Array
    demand_time_s: Array
    demand_change_s: Array
    new_demand: Array
    presence: Array
    presence_held_s: Array
    completed: Array
    delivered: Array
    discharged: Array

    @property
    def alive(self) -> Array:
        """[B, N] bool: present and not failed."""
        return self.present & (self.time_s[:, None] < self.failure_time_s)

    @property
    def active(self) -> Array:
        """[B, M] bool: consumers whose demand has appeared."""
        return self.time_s[:, None] >= self.demand_time_s

    def map(self, function: Any) -> WorldState:
        """A state with `function` applied to every array."""
        return WorldState(**{field.name: function(getattr(self, field.name)) for field in fields(self)})

    def replace(self, **changes: Array) -> WorldState:
        """A state with some arrays exchanged, sharing the others."""
        return WorldState(**({field.name: getattr(self, field.name) for field in fields(self)} | changes))
