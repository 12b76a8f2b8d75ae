"""Each chapter and notebook again, in kernels of their own: the same tables and pictures."""

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jupytext
import nbformat
import pytest
from nbclient import NotebookClient

from camwall.config import quick
from tests.helpers.repository import ROOT

pytestmark = pytest.mark.skipif(quick(), reason="minutes a page: --long")

PAGES = [
    path
    for path in sorted([*ROOT.glob("book/*.md"), *ROOT.glob("notebooks/*.ipynb")])
    if path.suffix == ".ipynb" or "\n```{code-cell}" in path.read_text(encoding="utf-8")
]
MOST = 1536  # MiB: Binder gives a kernel and its server 2048
#: What two counts of threads may differ by: sums in another order are other sums in the last bits.
RELATIVE = 1e-4
NUMBER = re.compile(r"(?<![\w.])[-−]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")


def run(path: Path, threads: int, folder: Path) -> tuple[nbformat.NotebookNode, float]:
    """Execute a page from its first cell to its last; the most memory of its kernel, in MiB.

    Chapters run where the book runs them and in the size that it shows, notebooks elsewhere (they
    take up what lies beside them) and as smoke runs (their full size takes hours).
    """
    notebook, peak = jupytext.read(path), []

    def look(**_: Any) -> None:
        status = Path(f"/proc/{client.km.provisioner.process.pid}/status")
        if status.exists():
            lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
            peak.append(int(lines["VmHWM"].split()[0]) / 1024)

    chapter = path.suffix == ".md"
    client = NotebookClient(
        notebook,
        timeout=1200,
        resources={"metadata": {"path": str(path.parent if chapter else folder)}},
        on_cell_executed=look,
    )
    size = {"CAMWALL_QUICK": "0" if chapter else "1", "OMP_NUM_THREADS": str(threads)}
    client.execute(env=os.environ | size)
    return notebook, max(peak, default=0.0)


def shown(notebook: nbformat.NotebookNode) -> Iterator[tuple[str, str]]:
    """What its cells show, each with its kind: printed lines, tables, glued values, pictures.

    Progress and warnings (stderr) are no part of it. Nothing else is left out: times and memory
    that a page shows are read from records.
    """
    for cell in notebook.cells:
        outputs = cell.get("outputs", [])
        printed = "".join(output.text for output in outputs if output.get("name") == "stdout")
        if printed:  # in as many parts as the kernel's clock made of it
            yield "text", printed
        for output in outputs:
            for kind, content in output.get("data", {}).items():
                yield kind, str(content)


def near(text: str, other: str) -> bool:
    """Whether two texts differ in nothing but numbers, and these by no more than their last digit
    shows, or `RELATIVE`."""
    if NUMBER.split(text) != NUMBER.split(other):
        return False
    for one, two in zip(NUMBER.findall(text), NUMBER.findall(other), strict=True):
        last = 10.0 ** -len(one.partition(".")[2])
        a, b = (float(number.replace("−", "-")) for number in (one, two))
        if abs(a - b) > last * 1.001 + RELATIVE * abs(a):
            return False
    return True


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_page_shows_the_same_again(path, tmp_path, record_property):
    """Byte for byte in another kernel, to 10⁻⁴ or the last digit with two threads; within 2 GB."""
    found = []
    for number, threads in enumerate((1, 1, 2)):
        folder = tmp_path / str(number)
        folder.mkdir()
        notebook, peak = run(path, threads, folder)
        assert peak <= MOST, f"{peak:.0f} MiB"
        found.append(list(shown(notebook)))
    one, again, two = found
    assert again == one
    assert [kind for kind, _ in two] == [kind for kind, _ in one]
    for (kind, text), (_, other) in zip(one, two, strict=True):
        assert kind.startswith("image/") or near(text, other), (kind, text, other)
    record_property("outputs", len(one))
