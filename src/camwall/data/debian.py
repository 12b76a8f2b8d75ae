"""Debian packages without root: apt downloads and checks them, dpkg unpacks them into a folder."""

import os
import shutil
import subprocess
import time
from pathlib import Path

from tqdm import tqdm

from camwall.errors import DataUnavailable

# Each download has this long to make progress, so that a machine without a network says so soon.
_NETWORK_TIMEOUT = 20
# apt keeps its lists and archives in our folder. Hooks that clean up after it belong to root, and
# so does the change of user for downloads.
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
Acquire::http::Timeout "{timeout}";
Acquire::https::Timeout "{timeout}";
"""


def unpack(package: str, folder: Path) -> Path:
    """Download a Debian package and unpack it, as any user and without installing anything.

    apt knows where its packages come from and checks their signatures and checksums.

    Parameters
    ----------
    package
        The package's name.
    folder
        An empty folder for the download, apt's lists and the unpacked tree.

    Returns
    -------
    Path
        The unpacked tree, with the package's files as they would lie below ``/``.

    Raises
    ------
    DataUnavailable
        If there is no apt-get here, or it cannot get the package.
    """
    if not (shutil.which("apt-get") and shutil.which("dpkg")):
        raise DataUnavailable("there is no apt-get here")
    for part in ("state/lists/partial", "cache/archives/partial", "tree"):
        (folder / part).mkdir(parents=True)
    configuration = folder / "apt.conf"
    configuration.write_text(
        _CONFIGURATION.format(folder=folder, timeout=_NETWORK_TIMEOUT), encoding="utf-8"
    )
    apt = ["apt-get", "-q", f"-c={configuration}"]
    _run([*apt, "update"], folder)
    size = int(_run([*apt, "download", "--print-uris", package], folder).split()[2])
    _run([*apt, "download", package], folder, watch="*.deb", size=size, label=package)
    archive = next(folder.glob("*.deb"))
    _run(["dpkg", "-x", str(archive), str(folder / "tree")], folder)
    return folder / "tree"


def _run(command: list[str], folder: Path, watch: str = "", size: int = 0, label: str = "") -> str:
    """Run a command in ``folder``; while it runs, show how much of the file ``watch`` is there."""
    # Messages in English: the last line becomes part of ours.
    environment = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    with (folder / "log").open("w+", encoding="utf-8") as log:
        process = subprocess.Popen(
            command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
        )
        try:
            with tqdm(total=size, desc=label, unit="B", unit_scale=True, disable=not watch) as bar:
                while process.poll() is None:
                    time.sleep(0.1)
                    if watch:
                        bar.update(sum(f.stat().st_size for f in folder.glob(watch)) - bar.n)
                if watch:
                    bar.update(size - bar.n if process.returncode == 0 else 0)
        finally:
            process.kill()
            process.wait()
        log.seek(0)
        output = log.read()
    if process.returncode:
        errors = [line[2:].strip() for line in output.splitlines() if line.startswith("E:")]
        reason = errors[-1] if errors else f"exit status {process.returncode}"
        raise DataUnavailable(f"{' '.join(command[:1])} failed: {reason}")
    return output
