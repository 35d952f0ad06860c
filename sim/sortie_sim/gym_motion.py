"""The same flight control on gym-pybullet-drones' aviary, for comparison and for its users."""

from __future__ import annotations

import contextlib
import io
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from sortie_core.config import UserError
from sortie_sim.aerodynamics import downwash
from sortie_sim.pybullet_motion import load_pybullet
from sortie_sim.quadrotor_motion import QuadrotorMotion

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from sortie_core.config import Config
    from sortie_core.config_sections import Effects

    Array = NDArray[np.float64]

INSTALL = "pip install --no-deps transforms3d==0.4.2 git+https://github.com/learnsyslab/gym-pybullet-drones"
# The aviary has no other combinations; keys are drag, ground effect, downwash.
PHYSICS = {
    (False, False, False): "PYB",
    (True, False, False): "PYB_DRAG",
    (False, True, False): "PYB_GND",
    (False, False, True): "PYB_DW",
    (True, True, True): "PYB_GND_DRAG_DW",
}
# The link of the aviary's drone model on which effects on the whole body act.
CENTRE_LINK = 4


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what the aviaries print and warn about off the terminal."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def load_aviaries() -> tuple[Any, Any]:
    """gym-pybullet-drones' modules ``envs`` and ``utils.enums``.

    Raises:
        UserError: it is not installed.
    """
    load_pybullet()
    try:
        with quiet():
            from gym_pybullet_drones import envs
            from gym_pybullet_drones.utils import enums
    except ImportError as error:
        raise UserError(
            f"world.backend: gym-pybullet-drones cannot be imported ({error}); install it with: {INSTALL}, "
            "or set world.backend=pybullet"
        ) from None
    return envs, enums


class GymMotion(QuadrotorMotion):
    """N CF2X drones in a `CtrlAviary`, driven by this project's flight control through rotor speeds.

    The aviary runs one physics period per `step`, so that the clock, and the control periods in it, are those of
    `QuadrotorMotion`. The aviary's downwash grows without bound between drones at nearly one altitude and throws them
    out of the world in the first tick of a mission; it is therefore limited as in `sortie_sim.aerodynamics.downwash`,
    which changes nothing for drones at least 0.36 m below one another.
    """

    def __init__(self, config: Config, n_agents: int, *, limit_downwash: bool = True) -> None:
        """Open an aviary.

        Args:
            config: its section ``world`` is read.
            n_agents: N.
            limit_downwash: False flies the aviary's own downwash, for comparisons.

        Raises:
            UserError: gym-pybullet-drones is not installed, or has no such combination of effects.
        """
        super().__init__(config, n_agents)
        envs, enums = load_aviaries()
        physics = _physics(config.world.effects)
        start = np.stack([np.arange(n_agents), np.zeros(n_agents), np.ones(n_agents)], axis=1).astype(np.float64)
        with quiet():
            self._aviary: Any = envs.CtrlAviary(
                drone_model=enums.DroneModel.CF2X,
                num_drones=n_agents,
                initial_xyzs=start,
                physics=enums.Physics[physics],
                pyb_freq=self.physics_hz,
                ctrl_freq=self.physics_hz,
                user_debug_gui=False,
            )
        self._open = True
        self._limits_downwash = limit_downwash and config.world.effects.downwash
        if self._limits_downwash:
            self._aviary._downwash = self._take_lift
        self._place(start)
        self._set_rpm(np.full((n_agents, 4), self.quadrotor.hover_rpm))

    def close(self) -> None:
        """Close the aviary; further calls do nothing."""
        if self._open:
            self._aviary.close()
            self._open = False

    def _place(self, position: Array) -> None:
        self._aviary.INIT_XYZS = position
        with quiet():
            self._aviary.reset()
        self._read()

    def _set_rpm(self, rpm: Array) -> None:
        self._rpm = rpm

    def _advance(self) -> None:
        if self._limits_downwash:
            self._lost_lift = downwash(self.quadrotor, self._aviary.pos)
        self._aviary.step(self._rpm)
        self._read()

    def _read(self) -> None:
        aviary = self._aviary
        self._state = np.hstack([aviary.pos, aviary.quat, aviary.vel, aviary.ang_v])

    def _take_lift(self, drone: int) -> None:
        bullet = load_pybullet()
        bullet.applyExternalForce(
            int(self._aviary.DRONE_IDS[drone]),
            CENTRE_LINK,
            [0.0, 0.0, -self._lost_lift[drone]],
            [0.0, 0.0, 0.0],
            bullet.LINK_FRAME,
            self._aviary.CLIENT,
        )


def _physics(effects: Effects) -> str:
    wanted = (effects.drag, effects.ground_effect, effects.downwash)
    if wanted not in PHYSICS:
        raise UserError(
            "world.effects: gym-pybullet-drones has none, one, or all three of drag, ground_effect and downwash; "
            "choose one of these or set world.backend=pybullet"
        )
    return PHYSICS[wanted]
