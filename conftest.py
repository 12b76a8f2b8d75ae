"""Make the chapters tests: `pytest --nbmake` runs MyST notebooks as it runs .ipynb files.

Runs are shrunk to smoke runs, unless `--long` asks for their full size. None of them has a network.
"""

import importlib
import os
import shutil
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Any
from unittest import mock

import jupytext
import nbformat
import pytest
from nbmake.pytest_items import NotebookFile, NotebookItem

LONG_CELL = 2 * 60 * 60  # seconds that a notebook's cell may take in its full size
OFFLINE = Path(__file__).parent / "tests" / "helpers" / "offline"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the one option of ours."""
    parser.addoption(
        "--long",
        action="store_true",
        help="run tests, notebooks and chapters in their full size, not as smoke runs",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Set what kernels, subprocesses and test modules read from the environment, before they do.

    The option alone decides, as in `make book`: a variable forgotten in a shell has no say.
    """
    os.environ["CAMWALL_QUICK"] = "0" if config.option.long else "1"
    if config.option.long and hasattr(config.option, "nbmake_timeout"):
        config.option.nbmake_timeout = max(config.option.nbmake_timeout, LONG_CELL)
    # One thread a process, on every machine: sums in another order are other sums in the last bit.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    leave_the_network()


def leave_the_network() -> None:
    """Give this process, and those that it starts, this machine alone.

    Data that is missing is said to be missing, as on any machine without a network. Python's own
    sockets are refused; other programs (apt-get, npm, git, a browser) are told of a proxy that is
    not there, but npm where it fetches axe-core. What opens a socket of its own in C, as gloo does,
    is not covered.
    """
    sys.path.insert(0, str(OFFLINE))
    importlib.import_module("sitecustomize")  # once a process
    paths = [str(OFFLINE), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    os.environ["PYTHONPATH"] = os.pathsep.join(path for path in dict.fromkeys(paths) if path)
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        os.environ[name] = os.environ[name.upper()] = "http://127.0.0.1:9"
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = "localhost,127.0.0.1,::1"


def pytest_report_header(config: pytest.Config) -> str:
    """Say which way this run goes."""
    return "camwall: " + ("full size" if config.option.long else "smoke runs (--long: full size)")


def read_chapter(path: str, as_version: int = nbformat.current_nbformat) -> nbformat.NotebookNode:
    """Read a MyST chapter as a notebook, with the time limit of its front matter as nbmake's."""
    chapter = nbformat.from_dict(jupytext.read(path, fmt="md:myst", as_version=as_version))
    limit = chapter.metadata.get("mystnb", {}).get("execution_timeout")
    if limit is not None:
        chapter.metadata["execution"] = nbformat.from_dict({"timeout": limit})
    return chapter


class ChapterItem(NotebookItem):
    """One chapter, run from its first cell to its last."""

    def runtest(self) -> None:
        if self.config.option.overwrite:
            pytest.skip("--overwrite would replace the Markdown source by JSON")
        with mock.patch("nbmake.nb_run.nbformat.read", read_chapter):
            super().runtest()


class ChapterFile(NotebookFile):
    """A Markdown file with code cells."""

    def collect(self) -> Any:
        yield ChapterItem.from_parent(self, filename=str(self.path))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """Run a copy of a notebook, elsewhere.

    What it writes beside itself neither takes up nor replaces a run of the reader's.
    """
    if type(item) is not NotebookItem or item.config.option.overwrite:
        return (yield)
    source = item.filename
    with tempfile.TemporaryDirectory(prefix="camwall-") as folder:
        item.filename = shutil.copy(source, folder)
        try:
            return (yield)
        finally:
            item.filename = source


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> ChapterFile | None:
    """Take the Markdown files that hold code cells, next to nbmake's notebooks."""
    if not parent.config.option.nbmake or file_path.suffix != ".md" or "_build" in file_path.parts:
        return None
    if "\n```{code-cell}" not in file_path.read_text(encoding="utf-8"):
        return None
    return ChapterFile.from_parent(parent, path=file_path)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start with chapters and notebooks: they take longest, and fill the workers best."""
    items.sort(key=lambda item: not isinstance(item, NotebookItem))
