"""Packages of npm, against an npm that has one of them."""

import os
import tarfile

import pytest

from camwall.data import sources
from camwall.errors import DataUnavailable

NPM = """#!/bin/sh
[ "$2" = toy@1 ] || {{ echo "npm error code E404"; echo "npm error a log of this run"; exit 1; }}
cp {archive} "$4"
"""


@pytest.fixture
def npm(tmp_path, monkeypatch):
    """Put a fake npm first on PATH."""
    (tmp_path / "a.js").write_text("alpha")
    archive = tmp_path / "toy-1.tgz"
    with tarfile.open(archive, "w:gz") as files:
        files.add(tmp_path / "a.js", "package/dist/a.js")
    program = tmp_path / "bin" / "npm"
    program.parent.mkdir()
    program.write_text(NPM.format(archive=archive))
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    (tmp_path / "scratch").mkdir()
    return tmp_path / "scratch"


def test_a_package_is_unpacked_and_a_missing_one_says_why(npm):
    """Its files lie where npm puts them; npm's first word is the reason."""
    folder = sources.from_npm("toy@1", npm)
    assert (folder / "dist" / "a.js").read_text() == "alpha"
    with pytest.raises(DataUnavailable, match=r"^npm failed: npm error code E404$"):
        sources.from_npm("other@1", npm)


def test_without_npm_there_is_one_line(tmp_path, monkeypatch):
    """The page that wants it says so, and the book builds."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CAMWALL_CACHE", str(tmp_path / "cache"))
    with pytest.raises(DataUnavailable, match=r"cannot be had: there is no npm here\. Try again"):
        sources.obtain("onnxruntime-web")
