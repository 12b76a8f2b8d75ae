"""One entry for the three builders, and the notebook that calls it."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from camwall import Wall, stacks
from camwall.commands import stacks as commands
from camwall.errors import CamwallError

NOTEBOOK = Path(__file__).parents[2] / "notebooks" / "stacks.ipynb"


@pytest.fixture
def images(tmp_path):
    """A folder of eight generated images, each of one colour."""
    (tmp_path / "images").mkdir()
    for number in range(8):
        image = Image.new("RGB", (256, 256), (30 * number, 99, 0))
        image.save(tmp_path / "images" / f"{number}.png")
    return tmp_path / "images"


def test_only_what_was_given_reaches_the_builder(images, tmp_path):
    """None leaves the builder's default; the source goes by the builder's own name."""
    made = commands.make("gen", tmp_path / "a", images, progress=False)
    direct = stacks.gen(images, tmp_path / "b", progress=False)
    assert made.info["parameters"] == direct.info["parameters"]
    assert list(made.frame["sha256"]) == list(direct.frame["sha256"])
    photographs = tmp_path / "in" / "n02119022"
    shutil.copytree(images, photographs)
    mixed = commands.make("mix", tmp_path / "c", tmp_path / "in", 3, 1, "same", 99, progress=False)
    wanted = {"n": 3, "hidden": "same", "row": 99}
    assert wanted.items() <= mixed.info["parameters"].items()
    assert mixed.info["seed"] == 1
    given = {"hidden": "same", "wall": "columns:99", "progress": False}
    made = commands.make("mix", tmp_path / "d", tmp_path / "in", 3, **given)
    assert made.wall == Wall.columns(224, 224, 99)


def test_a_quick_run_is_small_and_in_a_folder_of_its_own(images, tmp_path):
    """So that it never stands in the way of the full one."""
    shutil.copytree(images, tmp_path / "in" / "n02119022")
    made = commands.make(
        "mix", tmp_path / "m", tmp_path / "in", 50, hidden="same", quick=True, progress=False
    )
    assert len(made) == 6
    assert made.folder == tmp_path / "m-quick"


def test_a_quick_run_generates_in_a_folder_of_its_own(images, tmp_path, monkeypatch):
    """A few quick prompts must not claim the folder of the full run."""
    monkeypatch.setattr(
        stacks, "generate", lambda folder, *_, **__: shutil.copytree(images, folder)
    )
    given = {"pipeline": "x", "quick": True, "progress": False}
    made = commands.make("gen", tmp_path / "g", tmp_path / "made", **given)
    assert (made.folder, len(made)) == (tmp_path / "g-quick", 8)
    assert (tmp_path / "made-quick").is_dir()
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"builder": "mixed"}, "unknown builder 'mixed': take one of open, mix, gen"),
        ({"builder": "mix"}, "mix needs a source"),
        ({"builder": "gen", "source": "images", "wall": 3}, "the builder gen takes no wall"),
        ({"builder": "open", "wall": "column:99"}, "'column:99' is no wall: write its first"),
        ({"builder": "open", "pipeline": "x"}, "the builder open takes no pipeline"),
        ({"builder": "mix", "source": "in", "beside": True}, "the builder mix takes no beside"),
    ],
)
def test_what_a_builder_does_not_take_is_refused(tmp_path, given, message):
    """No parameter is silently without effect."""
    with pytest.raises(CamwallError, match=message):
        commands.make(folder=tmp_path / "o", **given)
    assert not (tmp_path / "o").exists()


def test_the_notebook_builds_and_refuses_what_it_does_not_know(images, tmp_path):
    """Run by papermill: -p reaches the builder, and a misspelt name stops the run."""
    papermill = pytest.importorskip("papermill")
    given = {"builder": "gen", "source": str(images), "folder": str(tmp_path / "out")}
    run = {"progress_bar": False, "cwd": str(tmp_path)}
    papermill.execute_notebook(NOTEBOOK, tmp_path / "OUT.ipynb", given, **run)
    (built,) = tmp_path.glob("out*")
    manifest = json.loads((built / "manifest.json").read_text())
    assert manifest["builder"] == "gen"
    assert manifest["command"].startswith(
        "papermill notebooks/stacks.ipynb OUT.ipynb -p builder gen"
    )
    misspelt = {"bilder": "gen", "folder": str(tmp_path / "never")}
    with pytest.raises(papermill.PapermillExecutionError, match="did you mean 'builder'"):
        papermill.execute_notebook(NOTEBOOK, tmp_path / "OUT.ipynb", misspelt, **run)
    assert not list(tmp_path.glob("never*"))
