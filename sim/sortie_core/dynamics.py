"""Motion of a drone that follows a velocity command."""

from __future__ import annotations

from typing import TYPE_CHECKING

from array_api_compat import array_namespace

from sortie_core.state import batch_first, batch_last

if TYPE_CHECKING:
    from sortie_core.config_sections import World
    from sortie_core.state import Array

_TINY = 1e-12


def follow_velocity(
    position: Array, velocity: Array, command: Array, moving: Array, world: World, dt_s: float | None = None
) -> tuple[Array, Array]:
    """One step of a double integrator under a velocity command (this project's design).

    ``a = clip_norm((command - v) / tau, a_max)``, ``v+ = clip_norm(v + a dt, v_max)``, ``p+ = p + v+ dt``, with
    tau = world.velocity_time_constant_s, but never less than dt, so that the command is not overshot.

    Args:
        position: [B, N, D] m.
        velocity: [B, N, D] m/s.
        command: [B, N, D] m/s.
        moving: [B, N] bool; the others stand still.
        world: for the limits and the time constant.
        dt_s: step, s; None for world.dt_s.

    Returns:
        The new position [B, N, D] m and velocity [B, N, D] m/s.
    """
    xp = array_namespace(position, velocity, command)
    dt_s = world.dt_s if dt_s is None else dt_s
    start, before = batch_last(position), batch_last(velocity)
    accel = (batch_last(command) - before) / max(world.velocity_time_constant_s, dt_s)
    accel *= _shrink(accel, world.max_accel_mps2)
    after = before + accel * dt_s
    after *= _shrink(after, world.max_speed_mps) * xp.astype(batch_last(moving), after.dtype)[:, None]
    return batch_first(start + after * dt_s), batch_first(after)


def _shrink(vector: Array, limit: float) -> Array:
    """[N, 1, B] the factor that brings vectors [N, D, B] down to a norm of at most `limit`."""
    xp = array_namespace(vector)
    norm = xp.sqrt(xp.sum(vector * vector, axis=1, keepdims=True))
    return xp.clip(limit / xp.clip(norm, min=_TINY), max=1.0)
