"""The wheel: built twice, in two places and at two times, it is the same to the byte."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HOME = Path(__file__).parents[1]
NEEDED = ("pyproject.toml", "README.md", "LICENSE", "src")


def built(place: Path, changed: float) -> Path:
    """A wheel of a copy whose files were last changed at a time."""
    source = place / "source"
    source.mkdir(parents=True)
    for name in NEEDED:
        copy = shutil.copytree if (HOME / name).is_dir() else shutil.copy
        copy(HOME / name, source / name)
    shutil.rmtree(source / "src" / "polyprompt.egg-info", ignore_errors=True)
    for path in source.rglob("*"):
        os.utime(path, (changed, changed))
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(place), str(source)]
    environment = os.environ | {"SOURCE_DATE_EPOCH": "1700000000"}
    subprocess.run(command, check=True, capture_output=True, env=environment)
    (wheel,) = place.glob("*.whl")
    return wheel


@pytest.mark.slow  # 30 s
def test_two_builds_of_the_wheel_are_equal(tmp_path):
    wheels = built(tmp_path / "one", 1_600_000_000), built(tmp_path / "another", 1_650_000_000)
    assert wheels[0].name == wheels[1].name
    one, another = (hashlib.sha256(wheel.read_bytes()).hexdigest() for wheel in wheels)
    assert one == another
