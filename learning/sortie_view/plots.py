"""Plots of missions, each drawn into axes that are given."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sortie_view.colours import colour_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    from sortie_view.mission_data import MissionData
    from sortie_view.run_data import RunData

    Floats = NDArray[np.floating]

_MOST_NAMED = 10
_RATE_WINDOW_S = 1.0


def trajectories(
    axes: Axes, position: Floats, alive: NDArray[np.bool_], consumer_position: Floats, radius_m: float
) -> None:
    """Where drones flew, from above.

    Args:
        axes: to draw into.
        position: [T, N, 3] m.
        alive: [T, N].
        consumer_position: [M, 2 or 3] m.
        radius_m: within which a consumer is served.
    """
    from matplotlib.patches import Circle

    for k, path in enumerate(position.transpose(1, 0, 2)):
        colour = f"C{k % 10}"
        axes.plot(path[:, 0], path[:, 1], color=colour, linewidth=1, label=f"drone {k}")
        axes.plot(*path[0, :2], "o", color=colour, markersize=4)
        if not alive[-1, k]:
            axes.plot(*path[-1, :2], "x", color="black", markersize=9)
    for at in consumer_position:
        axes.add_patch(Circle(tuple(at[:2]), radius_m, color="0.8", zorder=0))
    axes.set(xlabel="x, m", ylabel="y, m", aspect="equal", title="trajectories; grey: consumers, x: lost drones")
    if position.shape[1] <= _MOST_NAMED:
        axes.legend(fontsize="small")


def demand(axes: Axes, time_s: Floats, unmet: Floats, delivered: Floats) -> None:
    """What consumers still ask for, [T, M, R] in drone capacities, and the delivered share [T], over time [T]."""
    for m, asked in enumerate(unmet.sum(axis=-1).T):
        axes.plot(time_s, asked, label=f"consumer {m}", color=colour_of(m))
    axes.set(xlabel="mission time, s", ylabel="demand still asked, drone capacities", ylim=(0, None), title="demand")
    share = axes.twinx()
    share.plot(time_s, delivered, "k--", label="delivered share")
    share.set(ylabel="delivered share", ylim=(0, 1.02))
    if unmet.shape[1] <= _MOST_NAMED:
        axes.legend(loc="center right", fontsize="small")


def subteams(axes: Axes, mission: MissionData) -> None:
    """Which consumer each drone had chosen, a row for each drone, in the colours of the live view."""
    picture = np.array([[colour_of(choice) for choice in row] for row in mission.choice.T])
    picture[~mission.alive.T] = 0.2
    last_s = mission.time_s[-1]
    axes.imshow(picture, aspect="auto", interpolation="nearest", extent=(0, last_s, len(picture) - 0.5, -0.5))
    axes.set(xlabel="mission time, s", ylabel="drone", title="sub-teams: colour is the consumer agreed on; dark: lost")


def separation(axes: Axes, missions: Sequence[MissionData]) -> None:
    """The least distance between two drones, and below which it is a collision."""
    for mission in missions:
        axes.plot(mission.time_s, mission.separation_m, label=mission.name, linewidth=1)
    world = missions[0].config.world
    axes.axhline(world.collision_distance_m, color="tab:red", linewidth=1, label="collision")
    axes.axhline(world.safe_distance_m, color="0.5", linewidth=1, linestyle=":", label="safe distance of the reward")
    axes.set(xlabel="mission time, s", ylabel="m", ylim=(0, None), title="least separation")
    axes.legend(fontsize="small")


def messages(axes: Axes, missions: Sequence[RunData]) -> None:
    """Packets on the air, in missions or clusters' runs."""
    for mission in missions:
        axes.plot(mission.time_s, mission.messages_per_s, label=f"{mission.name}, packets/s", linewidth=1)
    n_bytes = axes.twinx()
    for mission in missions:
        n_bytes.plot(mission.time_s, mission.bytes_per_s / 1000, linestyle=":", linewidth=1)
    n_bytes.set(ylabel="kB/s (dotted)", ylim=(0, None))
    axes.set(xlabel="mission time, s", ylabel="packets/s", ylim=(0, None), title="radio, of all agents together")
    axes.legend(fontsize="small")


def reward(axes: Axes, mission: MissionData) -> None:
    """What the team would have earned so far in training, by term."""
    for term, earned in mission.reward.items():
        axes.plot(mission.time_s, np.cumsum(earned), label=term)
    axes.set(xlabel="mission time, s", ylabel="reward so far, weighted, summed over drones", title="reward terms")
    if mission.reward:
        axes.legend(fontsize="small")


def interventions(axes: Axes, missions: Sequence[MissionData]) -> None:
    """Setpoints that the safety gate's shield had changed."""
    for mission in missions:
        axes.plot(mission.time_s, mission.shielded, label=mission.name)
    axes.set(
        xlabel="mission time, s", ylabel="setpoints changed so far", ylim=(0, None), title="interventions of the shield"
    )
    axes.legend(fontsize="small")


def delivery(axes: Axes, missions: Sequence[RunData], what: str = "delivered") -> None:
    """The share that is delivered, or of the tasks that have ended, of one or more runs."""
    for mission in missions:
        axes.plot(mission.time_s, mission.delivered, label=mission.name)
    axes.set(xlabel="mission time, s", ylabel="share", ylim=(0, 1.02), title=what)
    axes.legend(fontsize="small")
