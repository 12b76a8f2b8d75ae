"""What CONTRIBUTING.md and the README show is done, block by block.

The API page has every public name.
"""

import doctest
import importlib
import inspect
import re
import subprocess
import sys

import jupytext
import matplotlib.pyplot as plt
import pytest
import torch
import torchvision
import yaml

import camwall
from tests.helpers.repository import ROOT

CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
API = (ROOT / "book" / "api.md").read_text(encoding="utf-8")


def test_the_worked_examples_work():
    """A method, an adapter, a metric: each block after those before it, in one namespace."""
    pytest.importorskip("captum")
    blocks = re.findall(r"^```python\n(.*?)^```", CONTRIBUTING, re.M | re.S)
    assert len(blocks) == 5
    namespace: dict = {}
    for block in blocks:
        exec(block, namespace)
    assert namespace["report"].table["visible_share"].notna().all()


def test_the_worked_chapter_is_one(capsys):
    """It is read as a notebook, its cells run, and its text has what they glue."""
    (page,) = re.findall(r"^````markdown\n(.*?)^````", CONTRIBUTING, re.M | re.S)
    chapter = jupytext.reads(page, fmt="md:myst")
    assert chapter.metadata["kernelspec"]["name"] == "python3"
    namespace: dict = {}
    for cell in chapter.cells:
        if cell.cell_type == "code":
            exec(cell.source, namespace)
    assert namespace["wall"].flat_level == pytest.approx((64 / 224) ** 0.5)
    glued = set(re.findall(r'glue\("([\w:]+)"', page))
    assert glued == set(re.findall(r"\{glue:text\}`([\w:]+)`", page))


def test_what_the_readme_calls_works():
    """Its blocks, one after the other, on a small network of torchvision's and two images."""
    torch.manual_seed(0)
    network = torchvision.models.ShuffleNetV2([1, 1, 1], [8, 8, 16, 16, 16], num_classes=3).eval()
    namespace = {"network": network, "images": torch.rand(2, 3, 224, 224), "method": "HiResCAM"}
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for block in re.findall(r"^```python\n(.*?)^```", readme, re.M | re.S):
        exec(block, namespace)
    assert namespace["report"].table.loc["GradCAM", "verdict"] == "sees through"
    assert namespace["report"].table.loc["HiResCAM", "response"] == 0
    plt.close("all")


def rooms() -> dict[str, list[str]]:
    """Each room with its public names."""
    packages = sorted(path.parent.name for path in (ROOT / "src/camwall").glob("*/__init__.py"))
    found = {"camwall": list(camwall.__all__)}
    for name in packages:
        importlib.import_module(f"camwall.{name}")
        found[f"camwall.{name}"] = list(getattr(sys.modules[f"camwall.{name}"], "__all__", []))
    return {room: names for room, names in found.items() if names}


@pytest.mark.parametrize("room", rooms())
def test_the_api_page_has_every_public_name(room):
    """What automodule finds by its docstring, or what the page describes itself."""
    module = sys.modules[room]
    blocks = re.findall(rf"^\.\. automodule:: {room}\n(.*?)^```", API, re.M | re.S)
    assert len(blocks) == 1, f"book/api.md has no section for {room}"
    (block,) = blocks
    left_out = re.search(r":exclude-members: (.*)", block)
    excluded = set(left_out[1].split(", ")) if left_out else set()
    said = set(re.findall(r"^\.\. (?:py:data|autofunction):: (?:[\w.]+\.)?(\w+)", block, re.M))
    documented = {"camwall"} if room == "camwall" else set(camwall.__all__)
    for name in rooms()[room]:
        value = getattr(module, name)
        if inspect.ismodule(value) or name in said:
            continue
        if room != "camwall" and name in documented:
            assert name in excluded or ":members:" not in block, f"{room}.{name} twice"
            continue
        comment = re.search(rf"^#: .*\n(?:#.*\n)*{name}\b", inspect.getsource(module), re.M)
        plain = inspect.isclass(value) or inspect.isroutine(value)
        assert ":members:" in block
        assert name not in excluded
        assert (plain and value.__doc__) or comment, f"book/api.md does not say what {name} is"


def test_the_api_page_builds_without_a_warning(tmp_path):
    """By Sphinx, with the settings of the book: each docstring is valid."""
    given = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))["sphinx"]["config"]
    used = {"sphinx.ext.autodoc", "sphinx.ext.napoleon"}
    assert used <= set(given["extensions"])
    names = ("default_role", "autodoc_typehints", "autodoc_member_order", "napoleon_use_ivar")
    settings = {name: given[name] for name in names}
    settings |= {"extensions": ["myst_parser", *sorted(used)], "root_doc": "api"}
    settings |= {"suppress_warnings": ["myst.xref_missing"]}  # other pages
    lines = [f"{name} = {value!r}" for name, value in settings.items()]
    (tmp_path / "conf.py").write_text("\n".join(lines), encoding="utf-8")
    (tmp_path / "api.md").write_text(API, encoding="utf-8")
    build = [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", "-b", "dummy"]
    done = subprocess.run(
        [*build, tmp_path, tmp_path / "out"], capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr


def examples() -> dict[str, doctest.DocTest]:
    """The docstrings of public names, and of their methods, that have examples."""
    found = {}
    for room, names in [*rooms().items(), ("camwall.testing", ["assert_blind", "walled_model"])]:
        for name in names:
            value = getattr(importlib.import_module(room) and sys.modules[room], name)
            if not (inspect.isclass(value) or inspect.isroutine(value)):
                continue
            home = sys.modules[value.__module__]
            for test in doctest.DocTestFinder(recurse=True).find(
                inspect.unwrap(value), value.__qualname__, home, vars(home)
            ):
                if test.examples:
                    found[f"{value.__module__}.{test.name}"] = test
    return found


EXAMPLES = examples()


def test_the_main_functions_have_examples():
    """So that the page shows how each is called."""
    for name in ("build_wall", "certify", "check", "explain", "leak", "response"):
        value = getattr(camwall, name)
        assert f"{value.__module__}.{name}" in EXAMPLES, name


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_give_what_they_show(name):
    """Exactly, but for what three dots stand for."""
    runner = doctest.DocTestRunner(verbose=False, optionflags=doctest.ELLIPSIS)
    said: list[str] = []
    runner.run(EXAMPLES[name], out=said.append)
    assert runner.failures == 0, "".join(said)
