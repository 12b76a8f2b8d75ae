"""The wheel alone: built, installed beside its hard dependencies and nothing else, and used."""

import shutil
import subprocess
import sys
import sysconfig
import venv
from importlib.metadata import distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.helpers.repository import ROOT, project, requirements

USE = """
import socket, sys, time

def refuse(*args, **kwargs):
    raise OSError("offline")

socket.socket.connect = socket.getaddrinfo = refuse
import camwall, camwall.commands.cli

assert "site-packages" in camwall.__file__, camwall.__file__
assert not {"torch", "pandas"} & sys.modules.keys()
import torch

torch.manual_seed(0)
model = camwall.build_wall(camwall.efficientnet_lite0(), 160)
images = torch.rand(1, 3, 224, 224)
assert "hidden" in str(camwall.certify(model))
maps = camwall.explain(model, images, "GradCAM")
assert maps.shape == (1, 224, 224), maps.shape
report = camwall.check(model, images, ["GradCAM", "HiResCAM"], progress=False)
assert set(report.table.index) == {"GradCAM", "HiResCAM"}, report.table
camwall.testing.assert_blind("HiResCAM")
try:
    camwall.testing.assert_blind("GradCAM")
except AssertionError as error:
    assert "GradCAM sees through" in str(error)
else:
    raise SystemExit("GradCAM passed")
from importlib.metadata import entry_points

(fixtures,) = entry_points(group="pytest11", name="camwall")
assert fixtures.value == "camwall.fixtures"
for call, extra in {
    "camwall.explain(model, images, 'GradCAM', engine='grad-cam')": "grad-cam",
    "__import__('camwall.data').data.digits()": "train",
    "camwall.train.fit": "train",
    "camwall.theory": "theory",
    "report.plot()": "plots",
    "__import__('camwall.config').config.cache_dir()": "data",
}.items():
    try:
        eval(call)
    except camwall.CamwallError as error:
        assert f"pip install 'camwall[{extra}]'" in str(error), error
    else:
        raise AssertionError(f"{call} needs an extra that is not there")
"""


def needed() -> set[str]:
    """The hard dependencies, and theirs, as they are installed here."""
    found: set[str] = set()
    waiting = requirements()
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        extras = wanted.extras or {""}
        marker = wanted.marker
        if name not in found and (marker is None or marker.evaluate()):
            found.add(name)
            for line in distribution(name).requires or []:
                further = Requirement(line)
                asked = further.marker
                if asked is None or any(asked.evaluate({"extra": extra}) for extra in extras):
                    further.marker = None
                    waiting.append(further)
    return found


def link(name: str, target: Path) -> None:
    """Show an installed distribution, whole, in another environment."""
    for file in distribution(name).files or []:
        top, source = file.parts[0], Path(sysconfig.get_path("purelib")) / file.parts[0]
        if top != ".." and source.exists() and not (target / top).exists():
            (target / top).symlink_to(source)


def run(*command: str | Path, cwd: Path) -> str:
    done = subprocess.run(
        list(command), cwd=cwd, capture_output=True, check=False, text=True, timeout=500
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_wheel_alone_explains_and_checks(tmp_path: Path) -> None:
    """An extra that is missing is named; the network is never asked."""
    source = tmp_path / "source"
    shutil.copytree(ROOT / "src" / "camwall", source / "src" / "camwall")
    for name in ("pyproject.toml", "README.md", "LICENSE", "LICENSE-prose"):
        shutil.copy(ROOT / name, source)
    pip = sys.executable, "-m", "pip", "--disable-pip-version-check"
    run(*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", tmp_path, source, cwd=tmp_path)
    (wheel,) = tmp_path.glob("camwall-*.whl")
    assert project()["version"] in wheel.name

    home = tmp_path / "env"
    venv.create(home, symlinks=True)
    packages = home / "lib" / f"python{sys.version_info[0]}.{sys.version_info[1]}/site-packages"
    for name in needed():
        link(name, packages)
    install = "install", "--no-index", "--no-deps", wheel
    run(*pip, "--python", home / "bin" / "python", *install, cwd=tmp_path)
    run(home / "bin" / "python", "-I", "-c", USE, cwd=tmp_path)
    camwall = home / "bin" / "camwall"
    assert "certify" in run(camwall, "--help", cwd=tmp_path)
    listed = run(camwall, "methods", cwd=tmp_path).splitlines()
    (line,) = [line for line in listed if line.startswith("FEM ")]
    assert "grad-cam (not installed)" in line
    told = run(camwall, "doctor", cwd=tmp_path)
    assert "pip install 'camwall[grad-cam]'" in told
    assert "missing" not in told
