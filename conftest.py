"""Make the chapters tests: `pytest --nbmake` runs MyST notebooks as it runs .ipynb files."""

import shutil
from pathlib import Path
from typing import Any
from unittest import mock

import jupytext
import nbformat
import pytest
from nbmake.pytest_items import NotebookFile, NotebookItem


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


def pytest_sessionstart(session: pytest.Session) -> None:
    """Forget what the notebooks wrote when they were tested last: they would take it up again."""
    if session.config.option.nbmake and not hasattr(session.config, "workerinput"):
        shutil.rmtree(session.config.rootpath / "notebooks" / "runs", ignore_errors=True)


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
