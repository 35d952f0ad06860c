"""The conversions between Sortie's, MAVLink's and a Crazyflie's frames and units."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from sortie_core import frames

NED_TO_ENU = np.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, -1.0]])
FLU_TO_FRD = np.diag([1.0, -1.0, -1.0])
HALF = math.sqrt(0.5)

vectors = st.lists(st.floats(-1e4, 1e4), min_size=3, max_size=3)
angles = st.floats(-20.0, 20.0)
quaternions = (
    st.lists(st.floats(-1.0, 1.0), min_size=4, max_size=4)
    .map(np.array)
    .filter(lambda q: np.linalg.norm(q) > 0.1)
    .map(lambda q: q / np.linalg.norm(q))
)


def wxyz(xyzw: np.ndarray) -> np.ndarray:
    return np.roll(xyzw, 1)


def test_north_is_y_east_is_x_and_down_is_minus_z():
    np.testing.assert_array_equal(frames.enu_of([1, 0, 0]), [0, 1, 0])
    np.testing.assert_array_equal(frames.enu_of([0, 1, 0]), [1, 0, 0])
    np.testing.assert_array_equal(frames.enu_of([0, 0, 1]), [0, 0, -1])
    np.testing.assert_array_equal(frames.ned_of([2.0, 3.0, 4.0]), [3, 2, -4])


@pytest.mark.parametrize(
    ("heading", "yaw"), [(0, math.pi / 2), (math.pi / 2, 0), (-math.pi / 2, -math.pi), (math.pi, -math.pi / 2)]
)
def test_headings_and_yaws(heading: float, yaw: float):
    """North, east, west and south."""
    assert frames.yaw_of(heading) == pytest.approx(yaw)


@pytest.mark.parametrize(
    ("ned", "enu"),
    [
        ([1, 0, 0, 0], [0, 0, HALF, HALF]),  # level, facing north
        ([HALF, 0, 0, HALF], [0, 0, 0, 1]),  # level, facing east
        ([math.cos(0.1), math.sin(0.1), 0, 0], None),  # right side down, facing north
    ],
)
def test_attitudes(ned: list[float], enu: list[float] | None):
    turned = frames.attitude_from_ned(ned)
    if enu is not None:
        assert abs(turned @ np.array(enu)) == pytest.approx(1)
        return
    forward, left, up = Rotation.from_quat(turned).as_matrix().T
    np.testing.assert_allclose(forward, [0, 1, 0], atol=1e-12)
    assert left[2] > 0.19 and up[0] > 0.19  # the left side is up, and the thrust pulls to the east


@given(vectors)
def test_vectors_return(vector: list[float]):
    np.testing.assert_array_equal(frames.enu_of(frames.ned_of(vector)), vector)
    np.testing.assert_array_equal(frames.enu_of(vector), NED_TO_ENU @ vector)


@given(angles)
def test_angles_return(yaw_rad: float):
    heading_rad = frames.heading_of(yaw_rad)
    assert -math.pi <= heading_rad <= math.pi
    assert math.cos(frames.yaw_of(heading_rad) - yaw_rad) == pytest.approx(1)


@given(quaternions)
def test_attitudes_return(xyzw: np.ndarray):
    np.testing.assert_allclose(frames.attitude_from_ned(frames.attitude_to_ned(xyzw)), xyzw, atol=1e-12)


@given(quaternions)
def test_attitudes_are_rotations_between_the_frames(xyzw: np.ndarray):
    """As matrices: FLU to FRD, FRD to NED, NED to ENU."""
    turned = Rotation.from_quat(frames.attitude_from_ned(wxyz(xyzw))).as_matrix()
    expected = NED_TO_ENU @ Rotation.from_quat(xyzw).as_matrix() @ FLU_TO_FRD
    np.testing.assert_allclose(turned, expected, atol=1e-9)


@given(st.floats(-math.pi, math.pi), st.floats(-1.4, 1.4), st.floats(-3.0, 3.0))
def test_yaw_of_an_attitude(yaw_rad: float, pitch_rad: float, roll_rad: float):
    xyzw = Rotation.from_euler("ZYX", [yaw_rad, pitch_rad, roll_rad]).as_quat()
    assert math.cos(frames.yaw_from_attitude(xyzw) - yaw_rad) == pytest.approx(1)
    heading_rad = Rotation.from_quat(np.roll(frames.attitude_to_ned(xyzw), -1)).as_euler("ZYX")[0]
    assert math.cos(frames.heading_of(yaw_rad) - heading_rad) == pytest.approx(1)


@given(st.lists(st.floats(-32.768, 32.767), min_size=3, max_size=3))
def test_millimetres_return_to_half_a_millimetre(metres: list[float]):
    np.testing.assert_allclose(frames.metres_of(frames.millimetres_of(metres)), metres, atol=5.0001e-4)


def test_millimetres_are_clipped():
    np.testing.assert_array_equal(frames.millimetres_of([40.0, -40.0, 0.0014]), [32767, -32768, 1])
