"""A folder of stacks: complete or absent, one run's or refused, and how it is read."""

import multiprocessing
import os
import signal

import numpy as np
import pytest
import torch
from PIL import Image

from camwall import stacks
from camwall.errors import CamwallError
from camwall.images import read_image
from camwall.models.preprocessing import Preprocessing
from camwall.stacks import store


def painted(number=3):
    """Stacks of one colour each, with what their manifest says."""
    for index in range(number):
        image = Image.new("RGB", (224, 224), (10 * index, 0, 200))
        label = index if index < 2 else None
        yield image, store.describe("visible", label, f"{index}.jpg", "0" * 64)


def build(folder, parameters=None, seed=0, make=painted):
    """Build the coloured stacks."""
    return store.build(folder, "toy", parameters or {"n": 3}, seed, make, 3, progress=False)


def test_the_same_run_again_paints_nothing(tmp_path):
    """It gives back what is there, after checking it."""

    def fails():
        raise AssertionError("painted again")

    first = build(tmp_path / "s")
    again = build(tmp_path / "s", make=fails)
    assert again.paths == first.paths
    assert again.info == first.info


def test_an_image_changed_since_is_noticed(tmp_path):
    """Changed or missing: the manifest no longer describes the folder."""
    found = build(tmp_path / "s")
    Image.new("RGB", (224, 224)).save(found.paths[1])
    with pytest.raises(CamwallError, match=r"0001\.png is not the image its manifest describes"):
        build(tmp_path / "s")
    found.paths[1].unlink()
    with pytest.raises(CamwallError, match=r"0001\.png is not the image its manifest describes"):
        build(tmp_path / "s")


@pytest.mark.parametrize("other", [{"parameters": {"n": 4}}, {"seed": 1}])
def test_another_run_in_the_same_folder_is_refused(tmp_path, other):
    """Two runs are never mixed; the line says what differs."""
    before = build(tmp_path / "s").frame
    with pytest.raises(CamwallError, match="holds another run"):
        build(tmp_path / "s", **other)
    assert stacks.load(tmp_path / "s").frame.equals(before)


def test_a_folder_with_other_files_is_refused_and_left_alone(tmp_path):
    """Whatever lies there is not ours; an empty folder is taken."""
    (tmp_path / "s").mkdir()
    assert len(build(tmp_path / "s")) == 3
    (tmp_path / "t").mkdir()
    (tmp_path / "t" / "note.txt").write_text("mine")
    with pytest.raises(CamwallError, match="holds other files"):
        build(tmp_path / "t")
    assert [p.name for p in (tmp_path / "t").iterdir()] == ["note.txt"]
    with pytest.raises(CamwallError, match="holds other files"):
        build(tmp_path / "t" / "note.txt")


def test_a_run_that_breaks_off_leaves_nothing(tmp_path):
    """Neither the folder nor a temporary one beside it."""

    def breaks():
        yield from painted(2)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(tmp_path / "s", make=breaks)
    assert list(tmp_path.iterdir()) == []


def dies(folder):
    """Build stacks in a process that is killed on its way."""

    def killed():
        yield from painted(2)
        os.kill(os.getpid(), signal.SIGKILL)

    build(folder, make=killed)


def test_what_a_killed_run_left_is_removed_by_the_next(tmp_path):
    """And what a run leaves that is still at work, is not."""
    run = multiprocessing.get_context("fork").Process(target=dies, args=(tmp_path / "s",))
    run.start()
    run.join(60)
    assert run.exitcode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".s-")

    def others():
        (mine,) = tmp_path.iterdir()
        assert mine != left
        build(tmp_path / "t")
        build(tmp_path / "s")
        assert mine.is_dir()
        yield from painted()

    build(tmp_path / "s", make=others)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["s", "t"]


def test_another_process_that_was_faster_is_not_overwritten(tmp_path):
    """Its stacks are the same run's, so they are given back."""

    def overtaken():
        faster = build(tmp_path / "s")
        faster.paths[0].touch()
        yield from painted()

    found = build(tmp_path / "s", make=overtaken)
    assert len(found) == 3
    assert [p.name for p in tmp_path.iterdir()] == ["s"]


def test_labels_are_read_back_as_numbers_or_none(tmp_path):
    """One unknown visible class makes an accuracy impossible: then there are no labels at all."""
    found = build(tmp_path / "s")
    assert found.labels_visible is None
    assert found.head(2).labels_visible == [0, 1]
    assert found.labels("hidden") == [None] * 3


def test_images_are_what_the_preprocessing_makes_of_the_files(tmp_path):
    """A slice of them, in order."""
    found, preprocessing = build(tmp_path / "s"), Preprocessing()
    images = found.images(preprocessing, 1, 3)
    expected = torch.tensor([[10, 0, 200], [20, 0, 200]])[..., None, None] / 255
    torch.testing.assert_close(preprocessing.denormalize(images), expected.expand(2, 3, 224, 224))
    assert found.images(preprocessing).shape[0] == 3


def test_a_plain_folder_of_images_needs_no_manifest(tmp_path):
    """As the authors' own stacks: by name, without labels; other and hidden files passed over."""
    for name in ("b.jpg", "a.PNG", "c.jpeg"):
        Image.new("RGB", (300, 300), "green").save(tmp_path / name)
    (tmp_path / "readme.txt").write_text("about")
    (tmp_path / "._a.PNG").write_bytes(b"what a Mac leaves beside a file")
    found = stacks.load(tmp_path)
    assert [p.name for p in found.paths] == ["a.PNG", "b.jpg", "c.jpeg"]
    assert found.labels_visible is found.wall is None
    with pytest.raises(CamwallError, match=r"no two stacks in .* share a visible half"):
        found.differing()
    assert found.images(Preprocessing()).shape == (3, 3, 224, 224)


def test_the_first_of_stacks_are_at_least_one(tmp_path):
    """None of them, or all but the last, is not asked for by mistake."""
    Image.new("RGB", (300, 300), "green").save(tmp_path / "a.png")
    found = stacks.load(tmp_path)
    assert len(found.head(None)) == len(found.head(5)) == 1
    for number in (0, -1):
        with pytest.raises(
            CamwallError, match=f"number of stacks must be .* at least 1, not {number}"
        ):
            found.head(number)


def test_a_manifest_of_something_else_is_not_taken_for_stacks(tmp_path):
    """A folder of a run, or of images with a manifest of their own, is nothing to delete."""
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(CamwallError, match="no images in"):
        stacks.load(tmp_path)
    Image.new("RGB", (300, 300), "green").save(tmp_path / "a.png")
    assert len(stacks.load(tmp_path)) == 1


def test_what_cannot_be_loaded_is_named(tmp_path):
    """No folder, a folder without images, a manifest that is broken, an image that is."""
    with pytest.raises(CamwallError, match="no folder"):
        stacks.load(tmp_path / "gone")
    with pytest.raises(CamwallError, match="no images in"):
        stacks.load(tmp_path)
    found = build(tmp_path / "s")
    found.paths[0].write_bytes(b"torn")
    with pytest.raises(CamwallError, match=r"0000\.png is not an image that can be read"):
        found.images(Preprocessing())
    (tmp_path / "s" / "manifest.json").write_text("{")
    with pytest.raises(CamwallError, match=r"manifest.json cannot be read"):
        stacks.load(tmp_path / "s")


def test_a_read_image_is_whole(tmp_path):
    """Decoding happens at once, so that a file cut off shows here and not later."""
    file = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)).save(file)
    assert read_image(file).size == (64, 64)
    file.write_bytes(file.read_bytes()[:-5000])
    with pytest.raises(CamwallError, match="is not an image that can be read"):
        read_image(file)
