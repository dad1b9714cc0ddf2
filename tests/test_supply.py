"""What is installed is known to the byte: the lock of CI, the list of parts, the oldest and newest versions allowed."""

import json
import os
import re
import shutil
import subprocess
import tomllib
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
LOCK = ROOT / ".ci" / "lock.txt"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def locked() -> dict[str, tuple[str, list[str]]]:
    """Version and hashes of each package in the lock."""
    found = {}
    for entry in LOCK.read_text().replace("\\\n", " ").splitlines():
        words = entry.split()
        name, version = words[0].split("==")
        found[canonicalize_name(name)] = (version, words[1:])
    return found


def test_every_file_is_pinned_by_its_hash():
    for name, (version, hashes) in locked().items():
        assert Version(version), name
        assert hashes, name
        assert all(re.fullmatch(r"--hash=sha256:[0-9a-f]{64}", one) for one in hashes), name
    assert not re.search(r"://|index|find-links|@", LOCK.read_text())


def test_the_lock_is_of_the_versions_that_are_tested():
    pinned = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    pinned = {canonicalize_name(name): version for name, version in pinned.items()}
    versions = {name: version for name, (version, _) in locked().items()}
    assert {name: pinned.get(name) for name in versions} == versions


def test_all_that_the_project_names_is_locked():
    extras = PROJECT["optional-dependencies"]
    wanted = [Requirement(line) for line in [*PROJECT["dependencies"], *chain(*extras.values())]]
    versions = {name: version for name, (version, _) in locked().items()}
    for one in wanted:
        if one.name != "polyprompt":
            assert one.specifier.contains(versions[canonicalize_name(one.name)]), str(one)


needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="there is no make")
TESTERS = ("beartype", "hypothesis", "pytest", "pytest-timeout")
TOOLS = ROOT / "build" / "tools" / "bin"


@needs_make
@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_the_list_of_parts_has_each_package_with_its_hashes():
    """Fetches the tools: a minute."""
    subprocess.run(["make", "sbom"], cwd=ROOT, check=True)
    parts = json.loads((ROOT / "build" / "sbom.json").read_text())
    assert parts["bomFormat"] == "CycloneDX"
    assert parts["metadata"]["component"]["name"] == "polyprompt"
    found = {canonicalize_name(one["name"]): one for one in parts["components"]}
    assert found.keys() == locked().keys()
    for name, (version, hashes) in locked().items():
        assert found[name]["purl"] == f"pkg:pypi/{name}@{version}"
        (files,) = (place["hashes"] for place in found[name]["externalReferences"])
        assert {f"--hash=sha256:{one['content']}" for one in files} == set(hashes)


def copied(project: Path) -> Path:
    """What a build needs, and what it leaves behind stays there."""
    shutil.copytree(ROOT / "src", project / "src", ignore=shutil.ignore_patterns("*.egg-info", "__pycache__"))
    shutil.copytree(ROOT / ".ci", project / ".ci")
    for name in ("pyproject.toml", "README.md", "LICENSE", "MANIFEST.in", "Makefile", "constraints.txt"):
        shutil.copy(ROOT / name, project / name)
    return project


@needs_make
@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_lock_is_all_that_a_fresh_environment_needs(tmp_path):
    """Fetches 5 GB: minutes."""
    project = copied(tmp_path / "project")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run(["make", "install-locked"], cwd=project, check=True, env=environment)
    python = str(project / ".venv" / "bin" / "python")
    command = [python, "-I", "-m", "pip", "--disable-pip-version-check"]
    listed = json.loads(subprocess.check_output([*command, "list", "--format", "json"], text=True, env=environment))
    versions = {canonicalize_name(one["name"]): one["version"] for one in listed}
    assert versions.keys() - {"pip", "polyprompt"} == locked().keys() | {"setuptools"}
    assert all(versions[name] == version for name, (version, _) in locked().items())
    subprocess.run([*command, "check"], check=True, env=environment)
    whole = ["install", "-q", "--no-deps", "--no-build-isolation", "--force-reinstall", str(project)]
    subprocess.run([*command, *whole], check=True, env=environment)  # make leaves a link to the sources
    subprocess.run([python, "-I", str(ROOT / "tests" / "smoke.py")], check=True, env=environment)


@needs_make
@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("resolution", ["lowest-direct", "highest"])
def test_the_oldest_and_the_newest_versions_that_are_allowed_work(resolution, tmp_path):
    """Fetches 5 GB: minutes. A floor that something else keeps from being reached says too little, so none may be."""
    subprocess.run(["make", str((TOOLS / "uv").relative_to(ROOT))], cwd=ROOT, check=True)
    uv, python = str(TOOLS / "uv"), str(tmp_path / "there" / "bin" / "python")
    project = copied(tmp_path / "project")
    subprocess.run([uv, "venv", "-q", "--python", "3.11", str(tmp_path / "there")], check=True)
    install = [uv, "pip", "install", "-q", "--python", python, "--resolution", resolution, str(project)]
    subprocess.run(install, check=True)
    listed = json.loads(subprocess.check_output([uv, "pip", "list", "--python", python, "--format", "json"], text=True))
    versions = {canonicalize_name(one["name"]): one["version"] for one in listed}
    for one in map(Requirement, PROJECT["dependencies"] if resolution == "lowest-direct" else ()):
        (floor,) = one.specifier
        assert Version(versions[canonicalize_name(one.name)]) == Version(floor.version), str(one)
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run([python, "-I", str(ROOT / "tests" / "smoke.py")], check=True, env=environment)
    subprocess.run([uv, "pip", "install", "-q", "--python", python, *TESTERS], check=True)
    tests = [str(ROOT / "tests" / test) for test in ("towers/test_llm.py", "campe/test_model.py")]
    plain = ["-q", "-p", "no:cacheprovider", "-o", "addopts=", "-o", "filterwarnings=ignore", "-m", "not slow"]
    subprocess.run([python, "-m", "pytest", *plain, *tests], check=True, env=environment)
