"""Debian packages without root, against an apt-get that serves one package from a folder."""

import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest

from camwall.data import sources
from camwall.errors import DataUnavailable

pytestmark = pytest.mark.skipif(not shutil.which("dpkg-deb"), reason="needs dpkg-deb")

# What `unpack` asks of apt-get; everything else fails, and so does a state that is not ours.
APT = """#!/bin/sh
log={folder}/calls
for a in "$@"; do case "$a" in -c=*) config="${{a#-c=}}";; esac; done
grep -q "^Dir::State \\"$PWD/state\\";" "$config" || {{ echo "E: not our state"; exit 100; }}
case "$*" in
  *"update") echo update >> "$log" ;;
  *"download --print-uris toy") echo "'http://deb.invalid/toy.deb' toy.deb $(wc -c < {deb}) x" ;;
  *"download toy") sleep 0.3; echo download >> "$log"; cp {deb} . ;;
  *) echo "E: Unable to locate package"; exit 100 ;;
esac
"""


@pytest.fixture
def apt(tmp_path, monkeypatch):
    """Put a fake apt-get first on PATH that knows the package ``toy``; give its log of calls."""
    tree = tmp_path / "package"
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN" / "control").write_text(
        "Package: toy\nVersion: 1\nArchitecture: all\nMaintainer: nobody\nDescription: toy\n"
    )
    (tree / "usr" / "share" / "toy").mkdir(parents=True)
    (tree / "usr" / "share" / "toy" / "a.bin").write_bytes(b"alpha")
    deb = tmp_path / "toy.deb"
    subprocess.run(["dpkg-deb", "--build", tree, deb], check=True, capture_output=True)
    program = tmp_path / "bin" / "apt-get"
    program.parent.mkdir()
    program.write_text(APT.format(folder=tmp_path, deb=deb))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("CAMWALL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "calls"


def toy():
    """The data set that lies in the package."""
    checksum = "8ed3f6ad685b959ead7022518e1af76cd816f8e8ec7ccdda1ed4018e8f2223f8"
    return sources.Source("a toy", lambda: {"a.bin": checksum}, _offline, "toy", "usr/share/toy")


def _offline(folder):
    raise ConnectionError("no network")


def test_a_package_is_downloaded_with_a_state_of_its_own_and_unpacked(apt, tmp_path):
    """apt's lists are refreshed first; the tree is what dpkg would install."""
    (tmp_path / "scratch").mkdir()
    tree = sources.unpack("toy", tmp_path / "scratch")
    assert (tree / "usr/share/toy/a.bin").read_bytes() == b"alpha"
    assert apt.read_text().split() == ["update", "download"]


def test_what_apt_says_of_an_unknown_package_becomes_our_reason(apt, tmp_path):
    """One line, from apt's own error."""
    with pytest.raises(DataUnavailable, match=r"^apt-get failed: Unable to locate package$"):
        sources.unpack("other", tmp_path)


def test_without_apt_there_is_a_plain_reason(monkeypatch, tmp_path):
    """As on a system that is not Debian's."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DataUnavailable, match="no apt-get here"):
        sources.unpack("toy", tmp_path)


def test_two_at_once_download_once(apt, tmp_path, monkeypatch):
    """The second waits for the first and finds the complete folder.

    Two threads stand for two processes: the lock is one on an open file, not on a process.
    """
    monkeypatch.setitem(sources.SOURCES, "toy", toy())
    with ThreadPoolExecutor(2) as pool:
        folders = list(pool.map(sources.obtain, ["toy", "toy"]))
    assert folders == [tmp_path / "cache" / "toy"] * 2
    assert apt.read_text().split() == ["update", "download"]
    assert (tmp_path / "cache" / "toy" / "a.bin").read_bytes() == b"alpha"
