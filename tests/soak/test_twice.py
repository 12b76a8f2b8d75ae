"""Each chapter and notebook again, in kernels of their own: the same tables and pictures."""

import os
import re
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path

import jupytext
import nbformat
import pytest
from nbclient import NotebookClient

from camwall.config import quick
from camwall.plots.live import DIGITS
from tests.helpers.repository import ROOT

pytestmark = pytest.mark.skipif(quick(), reason="minutes a page: --long")

PAGES = [
    path
    for path in sorted([*ROOT.glob("book/*.md"), *ROOT.glob("notebooks/*.ipynb")])
    if path.suffix == ".ipynb" or "\n```{code-cell}" in path.read_text(encoding="utf-8")
]
#: What two counts of threads may differ by, of a number or below all numbers that say something:
#: sums in another order are other sums in the last bits.
RELATIVE, ABSOLUTE = 1e-4, 1e-5
NUMBER = re.compile(r"(?<![\w.])[-−]?\d+(?:\.\d+)?(?:e[-+]?\d+)?")
#: Pictures, and the live wall's checksums of scores: they are of the last bits too.
EXACT = re.compile(r'base64,[\w+/=]+|"print":"[0-9a-f]+"')
#: The live wall's maps, whose values are whole levels, each in two digits of its own.
MAPS = re.compile(r'(?<="maps":")[\w+-]+')


def run(path: Path, threads: int, folder: Path) -> nbformat.NotebookNode:
    """Execute a page from its first cell to its last.

    Chapters run where the book runs them and in the size that it shows, notebooks elsewhere (they
    take up what lies beside them) and as smoke runs (their full size takes hours).
    """
    chapter = path.suffix == ".md"
    notebook = jupytext.read(path)
    where = {"metadata": {"path": str(path.parent if chapter else folder)}}
    size = {"CAMWALL_QUICK": "0" if chapter else "1", "OMP_NUM_THREADS": str(threads)}
    size["OMP_WAIT_POLICY"] = "PASSIVE"  # more threads than cores wait without turning
    client = NotebookClient(notebook, timeout=1200, resources=where)
    return client.execute(env=os.environ | size)


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


def levels(coded: re.Match) -> str:
    """A live wall's maps as numbers."""
    digits = [DIGITS.index(digit) for digit in coded[0]]
    return " ".join(
        str(len(DIGITS) * a + b) for a, b in zip(digits[::2], digits[1::2], strict=True)
    )


def near(text: str, other: str) -> bool:
    """Whether texts are alike but for numbers, and these but for their last digit or rounding.

    Spaces that fill a column up to its longest number are one.
    """
    text, other = (
        re.sub(" +", " ", MAPS.sub(levels, EXACT.sub("", page))) for page in (text, other)
    )
    if NUMBER.split(text) != NUMBER.split(other):
        return False
    for pair in zip(NUMBER.findall(text), NUMBER.findall(other), strict=True):
        one, two = (Decimal(number.replace("−", "-")) for number in pair)
        last = Decimal(1).scaleb(one.as_tuple().exponent)
        if abs(one - two) > max(last, abs(one) * Decimal(RELATIVE), Decimal(ABSOLUTE)):
            return False
    return True


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_a_page_shows_the_same_again(path, tmp_path, record_property):
    """Byte for byte in another kernel; with two threads to 10⁻⁴ or the last digit shown."""
    found = []
    for number, threads in enumerate((1, 1, 2)):
        folder = tmp_path / str(number)
        folder.mkdir()
        found.append(list(shown(run(path, threads, folder))))
    one, again, two = found
    assert again == one
    assert [kind for kind, _ in two] == [kind for kind, _ in one]
    for (kind, text), (_, other) in zip(one, two, strict=True):
        assert kind.startswith("image/") or near(text, other), (kind, text, other)
    record_property("outputs", len(one))
