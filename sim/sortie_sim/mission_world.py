"""One mission: the rules of delivery over a team that a flight simulator, or the point dynamics, moves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from sortie_core.comm_graph import squared_distances
from sortie_core.delivery import check_conservation, deliver, finished
from sortie_core.layout import sample_layout
from sortie_core.metrics import MissionMetrics
from sortie_core.reward import reward_terms
from sortie_sim.motion import make_motion

if TYPE_CHECKING:
    from sortie_core.config import Config
    from sortie_core.state import WorldState
    from sortie_sim.motion import Array, Motion

_CLIMB_GAIN_PER_S = 2.0
"""Commanded climb per metre of altitude error where the task is 2-D."""
_MAX_CLIMB_MPS = 1.0
_LANDING_SPEED_MPS = 0.5
"""Descent of a simulated drone that is told to land, as an autopilot would on its own."""
_LANDED_M = 0.05
"""Whose centre is this low has landed: its motors stop."""


def climb_rate(wanted_m: float, height_m: Array) -> Array:
    """The climb that holds an altitude, m/s, for drones at heights [N] m."""
    rate: Array = np.clip(_CLIMB_GAIN_PER_S * (wanted_m - height_m), -_MAX_CLIMB_MPS, _MAX_CLIMB_MPS)
    return rate


class MissionWorld:
    """One mission at a time over the motion that ``world.backend`` names.

    The state has a batch axis of 1 and is NumPy. In 2-D tasks the team flies at world.altitude_m; in 3-D tasks the
    arena's floor lies at that altitude, so that drones fly at ``z + task.arena_half_m + world.altitude_m``.

    Args:
        config: a whole configuration.
        motion: what moves the drones; None makes the one that the configuration names.

    Attributes:
        reward: what the team would have been given for the last step in training, by term, guidance left out.

    Raises:
        UserError: the simulator is not available.
    """

    def __init__(self, config: Config, motion: Motion | None = None) -> None:
        """Start the simulator; `reset` makes the mission."""
        self.config = config
        self.motion: Motion = make_motion(config, config.team.n_agents) if motion is None else motion
        flat = config.task.dimensions == 2
        self._floor_m = config.world.altitude_m + (0.0 if flat else config.arena_half_m)
        self._landing = np.zeros(config.team.n_agents, bool)
        self._initial: WorldState | None = None
        self._state: WorldState | None = None
        self._metrics: MissionMetrics | None = None
        self.reward: dict[str, float] = {}

    @property
    def state(self) -> WorldState:
        """The mission as it is, B = 1."""
        if self._state is None:
            raise RuntimeError("reset the world before using it")
        return self._state

    @property
    def metrics(self) -> MissionMetrics:
        """The figures so far."""
        if self._metrics is None:
            raise RuntimeError("reset the world before using it")
        return self._metrics

    @property
    def done(self) -> bool:
        """Every demand is met, or the time is up."""
        terminated, truncated = finished(self.state, self.config)
        return bool(terminated[0] | truncated[0])

    @property
    def success(self) -> bool:
        """Every demand is met."""
        return bool(finished(self.state, self.config)[0][0])

    def reset(self, seed: int) -> WorldState:
        """Begin the mission of a seed.

        Raises:
            UserError: drones or consumers do not fit into the arena.
        """
        return self.restart(sample_layout(self.config, [seed]))

    def restart(self, layout: WorldState) -> WorldState:
        """Begin a mission from a layout with a batch axis of 1 and team.n_agents drones."""
        self.motion.reset(self._in_space(layout.position[0], self._floor_m))
        self._landing[:] = False
        self.reward = {}
        self._initial = self._state = layout
        self._metrics = MissionMetrics(layout, self.config)
        return layout

    def step(self, velocity_command: Array) -> WorldState:
        """Fly for world.dt_s, then apply the rules of delivery.

        Failed drones are commanded to hover.

        Args:
            velocity_command: [N, D] m/s.

        Raises:
            ValueError: a command of the wrong shape, or one that is not finite.
            ArithmeticError: resources were not conserved.
        """
        before, dt_s = self.state, self.config.world.dt_s
        given = np.asarray(velocity_command)
        if given.shape != before.velocity.shape[1:]:
            raise ValueError(f"velocity_command has shape {given.shape}, not {before.velocity.shape[1:]}")
        wanted = np.where(before.alive[0][:, None], given, 0.0)
        command = self._in_space(wanted, 0.0)
        if self.config.task.dimensions == 2:
            command[:, 2] = climb_rate(self._floor_m, self.motion.position[:, 2])
        self._descend(command)
        self.motion.step(command, dt_s)

        after, served = deliver(self._moved(before), self.config)
        check_conservation(self._initial or before, after)
        squared_m2 = squared_distances(after.position, after.present)
        self.metrics.update(before, after, squared_m2)
        terms = reward_terms(before, after, served, squared_m2, self.config)
        self.reward = {name: float(term.sum()) for name, term in terms.items()}
        self._state = after
        return after

    def fail_agent(self, index: int) -> None:
        """A drone stops for good now: it hovers, delivers nothing, and is out of the radio graph."""
        state = self.state
        failure_time_s = state.failure_time_s.copy()
        failure_time_s[0, index] = min(failure_time_s[0, index], state.time_s[0])
        self._state = state.replace(failure_time_s=failure_time_s)

    def land(self, index: int) -> None:
        """A drone goes down where it is, and takes no further part."""
        self.fail_agent(index)
        self._landing[index] = True

    def cut(self, index: int) -> None:
        """The motors of a drone stop at once, and it takes no further part; point dynamics have none."""
        self.fail_agent(index)
        self.motion.stop_motors(index)

    def close(self) -> None:
        """Give the simulator back."""
        self.motion.close()

    def _descend(self, command: Array) -> None:
        """Set the climb [m/s] of drones that land in a command [N, 3]; stop the motors of those that have."""
        down = self.motion.position[:, 2] <= _LANDED_M
        command[self._landing, 2] = np.where(down, 0.0, -_LANDING_SPEED_MPS)[self._landing]
        for index in np.flatnonzero(self._landing & down):
            self.motion.stop_motors(int(index))

    def _moved(self, state: WorldState) -> WorldState:
        """The state with positions and velocities as the motion reports them."""
        dimensions, dtype = self.config.task.dimensions, state.position.dtype
        position = self.motion.position - np.array([0.0, 0.0, self._floor_m])
        return state.replace(
            position=position[None, :, :dimensions].astype(dtype),
            velocity=self.motion.velocity[None, :, :dimensions].astype(dtype),
        )

    def _in_space(self, vector: Array, floor_m: float) -> Array:
        """[N, 3] float64 from [N, D], `floor_m` added to z."""
        space = np.zeros((vector.shape[0], 3))
        space[:, : self.config.task.dimensions] = vector
        space[:, 2] += floor_m
        return space
