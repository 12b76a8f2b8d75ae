"""Debian packages without root: apt downloads and checks them, dpkg unpacks them into a folder."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from camwall.errors import DataUnavailable

# apt keeps its lists and archives in our folder. Hooks that clean up after it belong to root, and
# so does the change of user for downloads. Each download has 20 seconds to make progress, so that
# a machine without a network says so soon.
_CONFIGURATION = """\
Dir::State "{folder}/state";
Dir::Cache "{folder}/cache";
Dir::State::status "/var/lib/dpkg/status";
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
APT::Sandbox::User "root";
Acquire::Languages "none";
Acquire::Retries "1";
Acquire::http::Timeout "20";
Acquire::https::Timeout "20";
"""


def unpack(package: str, folder: Path) -> Path:
    """Download a Debian package and unpack it, as any user and without installing anything.

    apt knows where its packages come from and checks their signatures and checksums; it works in
    ``folder``. The result holds the package's files as they would lie below ``/``.
    """
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        raise DataUnavailable("there is no apt-get here")
    for part in ("state/lists/partial", "cache/archives/partial", "tree"):
        (folder / part).mkdir(parents=True)
    configuration = folder / "apt.conf"
    configuration.write_text(_CONFIGURATION.format(folder=folder), encoding="utf-8")
    print(f"camwall: apt-get downloads {package}, which can take a minute", file=sys.stderr)
    for command in (["update"], ["download", package]):
        _run(["apt-get", "-q", f"-c={configuration}", *command], folder)
    _run(["dpkg", "-x", str(next(folder.glob("*.deb"))), str(folder / "tree")], folder)
    return folder / "tree"


def _run(command: list[str], folder: Path) -> None:
    """Run a command in ``folder``; the last error that it prints becomes our reason."""
    env = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    ran = subprocess.run(command, cwd=folder, env=env, input="", capture_output=True, text=True)
    if ran.returncode:
        said = [line for line in (ran.stdout + ran.stderr).splitlines() if line.startswith("E:")]
        reason = said[-1][2:].strip() if said else f"exit status {ran.returncode}"
        raise DataUnavailable(f"{command[0]} failed: {reason}")
