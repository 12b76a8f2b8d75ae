"""Where each data set comes from, what it must contain, and how it gets into the cache once."""

import gzip
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pandas as pd
from filelock import FileLock

from camwall import config
from camwall.errors import CamwallError, DataUnavailable
from camwall.runs import scratch_beside, sweep_beside

_STAMPS_URL = (
    "https://downloads.sourceforge.net/project/tuxpaint/tuxpaint-stamps/2022-06-04/"
    "tuxpaint-stamps-2022.06.04.tar.gz"
)
# As the Nix package collection records it for the same release.
_STAMPS_SHA256 = "842065576fae554358e00e51d71a492616a6490b12b592228067477c287a0bf8"

# Of the idx files themselves: Debian compresses them anew, so the archives differ.
_FASHION_SHA256 = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}

#: The version of the npm package onnxruntime-web, and the two of its files that a page needs.
_RUNTIME = "onnxruntime-web@1.30.0"
_MODULE, _WASM = "ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"
_RUNTIME_SHA256 = {
    _MODULE: "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    _WASM: "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}

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


@cache
def table(name: str) -> pd.DataFrame:
    """One of the committed tables beside this module."""
    return pd.read_csv(Path(__file__).with_name(name), dtype={"imagenet": "Int64"})


def _stamp_checksums() -> dict[str, str]:
    labels = table("stamps.csv")
    return dict(zip(labels["file"], labels["sha256"], strict=True))


def _download_stamps(folder: Path) -> Path:
    pooch = config.pooch()
    pooch.retrieve(
        _STAMPS_URL,
        known_hash=f"sha256:{_STAMPS_SHA256}",
        path=folder,
        processor=pooch.Untar(extract_dir="tree"),
        progressbar=True,
    )
    return next(folder.glob("tree/*/stamps/animals"), folder)


def _download_fashion(folder: Path) -> Path:
    from torchvision.datasets import FashionMNIST  # here, since it is slow

    return Path(FashionMNIST(folder, download=True).raw_folder)


@dataclass(frozen=True)
class Source:
    """A data set: its files with their checksums, and the places they can come from."""

    title: str  # for messages
    checksums: Callable[[], Mapping[str, str]]  # each file's SHA-256; it may lie there gzipped
    download: Callable[[Path], Path]  # from their public home into a folder; where they lie in it
    package: str | None = None  # of Debian
    inside: str = ""  # the folder in its tree that holds the files

    @property
    def places(self) -> list[Callable[[Path], Path]]:
        """Where to look in turn, given an empty folder to work in; each says where files lie."""
        package = self.package
        if package is None:
            return [self.download]
        return [
            lambda _: Path("/") / self.inside,
            lambda folder: unpack(package, folder) / self.inside,
            self.download,
        ]


SOURCES = {
    "stamps": Source(
        "cut-out animal photographs (Tux Paint's stamps, GPL-2)",
        _stamp_checksums,
        _download_stamps,
        "tuxpaint-stamps-default",
        "usr/share/tuxpaint/stamps/animals",
    ),
    "fashion-mnist": Source(
        "Fashion-MNIST",
        lambda: _FASHION_SHA256,
        _download_fashion,
        "dataset-fashion-mnist",
        "usr/share/datasets/fashion-mnist",
    ),
    "onnxruntime-web": Source(
        "ONNX Runtime for browsers (npm, MIT)",
        lambda: _RUNTIME_SHA256,
        lambda folder: from_npm(_RUNTIME, folder) / "dist",
    ),
}


def obtain(name: str) -> Path:
    """Give the folder of a data set in the cache, fetching it the first time.

    The places are tried in turn: the package if it is installed, apt-get without root, the public
    home. The folder appears in one step and complete; a second process waits for the first. Each
    process checks it once against its checksums, and one that has rotted is fetched again. Where no
    place has the right contents, DataUnavailable says what is missing, why, and what to do.
    """
    return _obtained(name, config.cache_dir() / name)


@cache
def _obtained(name: str, target: Path) -> Path:
    source = SOURCES[name]
    if damaged(name, target) is None:
        sweep_beside(target)  # of one that was killed once the data stood
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.parent / f".{name}.lock"):
            if damaged(name, target):
                with scratch_beside(target) as scratch:
                    found = _fetch(source, scratch)
                    if target.is_dir():
                        print(f"camwall: {target} was damaged: fetched again", file=sys.stderr)
                        target.rename(scratch / "damaged")
                    found.rename(target)
    except OSError as error:
        raise DataUnavailable(
            f"no place for {source.title}: {error}; set CAMWALL_CACHE to a folder you can write to."
        ) from error
    return target


def _fetch(source: Source, scratch: Path) -> Path:
    """Collect the files of ``source`` in a new folder below ``scratch``."""
    reasons = []
    for number, place in enumerate(source.places):
        folder = scratch / str(number)
        folder.mkdir()
        try:
            return _collect(place(folder), scratch / f"from-{number}", source.checksums())
        except CamwallError as error:
            reasons.append(str(error))
        except (OSError, RuntimeError, ValueError) as error:  # of many lines, from a library
            reasons.append(f"{type(error).__name__} in the download")
    install = f"Install the Debian package {source.package}, or try" if source.package else "Try"
    raise DataUnavailable(
        f"{source.title} cannot be had: {'; '.join(reasons[-2:])}. {install} again with a network."
    )


def damaged(name: str, folder: Path) -> str | None:
    """What is wrong with the first file of a data set that a folder lacks or has otherwise."""
    for file, expected in SOURCES[name].checksums().items():
        try:
            content = (folder / file).read_bytes()
        except OSError:
            return f"{file} is missing"
        if hashlib.sha256(content).hexdigest() != expected:
            return f"{file} has other contents than expected"
    return None


def _collect(found: Path, target: Path, checksums: Mapping[str, str]) -> Path:
    """Copy the files named in ``checksums`` to ``target``, unpacked, and check their contents."""
    for name, expected in checksums.items():
        file = found / name
        if file.is_file():
            content = file.read_bytes()
        elif file.with_name(f"{file.name}.gz").is_file():
            content = gzip.decompress(file.with_name(f"{file.name}.gz").read_bytes())
        else:
            raise DataUnavailable(f"{name} is missing from {found}")
        if hashlib.sha256(content).hexdigest() != expected:
            raise DataUnavailable(f"{name} has other contents than expected (another release?)")
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (target / name).write_bytes(content)
    return target


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


def from_npm(package: str, folder: Path) -> Path:
    """Download a package of npm, ``name@version``, and unpack it; where its files lie."""
    if not shutil.which("npm"):
        raise DataUnavailable("there is no npm here")
    print(f"camwall: npm downloads {package}", file=sys.stderr)
    _run(["npm", "pack", package, "--pack-destination", str(folder)], folder)
    with tarfile.open(next(folder.glob("*.tgz"))) as files:
        files.extractall(folder, filter="data")
    return folder / "package"


def _run(command: list[str], folder: Path) -> None:
    """Run a command in ``folder``; what it says of its failure becomes our reason."""
    env = {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
    ran = subprocess.run(command, cwd=folder, env=env, input="", capture_output=True, text=True)
    if ran.returncode:
        lines = (ran.stdout + ran.stderr).splitlines()
        said = [line[2:].strip() for line in lines if line.startswith("E:")][::-1]
        said += [line for line in lines if line.startswith("npm err")]  # its first says most
        reason = said[0] if said else f"exit status {ran.returncode}"
        raise DataUnavailable(f"{command[0]} failed: {reason}")
