"""What `make dist` builds: sdist and wheel with fixed content, which install into a bare environment and work there."""

import os
import re
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from fnmatch import fnmatch
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "polyprompt"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
INFO = {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "top_level.txt", "licenses/LICENSE"}


def package_files() -> set[str]:
    """What lies in the package, without what Python leaves there."""
    found = (path for path in PACKAGE.rglob("*") if path.is_file() and path.suffix != ".pyc")
    return {path.relative_to(PACKAGE).as_posix() for path in found}


def test_every_file_of_the_package_is_shipped():
    patterns = PROJECT["tool"]["setuptools"]["package-data"]["polyprompt"]
    others = {name for name in package_files() if not name.endswith(".py")}
    assert {name for name in others if not any(fnmatch(name, pattern) for pattern in patterns)} == set()
    assert all(any(fnmatch(name, pattern) for name in others) for pattern in patterns)
    assert all((folder / "__init__.py").is_file() for folder in {(PACKAGE / name).parent for name in modules()})


def modules() -> set[str]:
    return {name for name in package_files() if name.endswith(".py")}


def test_the_target_builds_what_is_tested_here():
    rule = re.search(r"^dist:.*?(?:\n\n|\Z)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert rule
    assert all(message in rule[0] for message in ("SOURCE_DATE_EPOCH", "-m build", "tests/smoke.py", "constraints.txt"))


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The folder with both archives; the wheel is built from the sdist."""
    place = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", place, ROOT]
    done = subprocess.run(
        [*map(str, command)], capture_output=True, text=True, env=os.environ | {"SOURCE_DATE_EPOCH": "1700000000"}
    )
    assert done.returncode == 0, done.stderr
    return place


@pytest.mark.slow
def test_the_content_is_the_package_and_nothing_else(built):
    version = PROJECT["project"]["version"]
    (wheel,) = built.glob("*.whl")
    assert wheel.name == f"polyprompt-{version}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        inside = set(archive.namelist())
        metadata = archive.read(f"polyprompt-{version}.dist-info/METADATA").decode()
    assert inside == {f"polyprompt/{name}" for name in package_files()} | {
        f"polyprompt-{version}.dist-info/{name}" for name in INFO
    }
    assert "License-Expression: Apache-2.0" in metadata
    with tarfile.open(built / f"polyprompt-{version}.tar.gz") as archive:
        tops = {Path(name).parts[1] for name in archive.getnames() if len(Path(name).parts) > 1}
    assert tops == {"LICENSE", "MANIFEST.in", "PKG-INFO", "README.md", "pyproject.toml", "setup.cfg", "src"}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_it_works_in_an_environment_of_its_own(built, tmp_path):
    """Its dependencies are those of this environment; `make dist` installs them, too."""
    place = tmp_path / "bare"
    venv.create(place, with_pip=False)
    python = place / "bin" / "python"
    site = Path(sysconfig.get_path("purelib", "venv", {"base": str(place)}))
    (wheel,) = built.glob("*.whl")
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "-qq", "--no-deps", "--no-index", wheel]
    alone = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}  # else it is there already
    subprocess.run([*map(str, pip)], check=True, env=alone)
    (site / "others.pth").write_text(sysconfig.get_path("purelib") + "\n")  # behind the wheel, its .pth files unread
    done = subprocess.run([python, "-I", ROOT / "tests" / "smoke.py"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"polyprompt {PROJECT['project']['version']} works in {place}")
