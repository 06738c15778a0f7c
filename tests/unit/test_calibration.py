"""Weights never exceed what their counts support."""

import math
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from calibration.bounds import upper_bound  # noqa: E402
from calibration.calibrate import check  # noqa: E402

CALIBRATION = ROOT / "calibration/calibration.toml"


def test_every_weight_is_within_its_bound() -> None:
    assert check(CALIBRATION) == []


def test_a_weight_above_its_bound_is_reported(tmp_path: Path) -> None:
    text = CALIBRATION.read_text()
    at = text.index("bits = ", text.index("[[weight]]"))
    end = text.index("\n", at)
    path = tmp_path / "calibration.toml"
    path.write_text(text[:at] + "bits = 40.0" + text[end:])
    assert len(check(path)) == 1


@pytest.mark.parametrize(("k", "n", "want"), [(0, 1000, 1 - 0.05 ** (1 / 1000)), (1, 10, 0.39416), (5, 5, 1.0), (3, 21815, 3.554e-4)])
def test_bounds_are_clopper_pearson(k: int, n: int, want: float) -> None:
    assert math.isclose(upper_bound(k, n), want, rel_tol=2e-3)


def test_bound_of_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="n > 0"):
        upper_bound(0, 0)
