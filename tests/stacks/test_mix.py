"""STACK-MIX: which photographs, which half, and what goes wrong."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from camwall import Wall, data, stacks
from camwall.errors import CamwallError
from camwall.stacks.mixed import halves

FOX, LION, COCK, ABACUS = "n02119022", "n02129165", "n01514668", "n02666196"


def colour(wnid, number):
    """A colour of its own for each photograph."""
    return (int(wnid[2:5]) % 256, int(wnid[5:]) % 256, 20 + 40 * number)


@pytest.fixture
def root(tmp_path):
    """Three photographs of foxes and lions, one of a cock and of an abacus, each of one colour."""
    for wnid, count in ((FOX, 3), (LION, 3), (COCK, 1), (ABACUS, 2)):
        (tmp_path / "in" / wnid).mkdir(parents=True)
        for number in range(count):
            image = Image.new("RGB", (300 + 20 * number, 200), colour(wnid, number))
            image.save(tmp_path / "in" / wnid / f"{number}.png")
    return tmp_path / "in"


def mix(folder, root, **options):
    """Build without a progress bar."""
    return stacks.mix(root, folder, progress=False, **options)


def photograph(source):
    """Colour of a source as the manifest names it."""
    wnid, name = source.split("/")
    return colour(wnid, int(name[0]))


@pytest.mark.parametrize(
    "wall", [60, 170, Wall.rows(224, 224, 0, 54), Wall.columns(224, 224, 0, 90)]
)
def test_each_photograph_fills_its_side_of_the_wall(root, tmp_path, wall):
    """To the last pixel, wherever the wall is."""
    found = mix(tmp_path / "o", root, n=5, wall=wall)
    hidden = found.wall.hidden.numpy()
    assert found.wall == Wall.of(wall, 224, 224)
    for path, entry in zip(found.paths, found.frame.itertuples(), strict=True):
        image = np.asarray(Image.open(path))
        assert image.shape == (224, 224, 3)
        assert (image[~hidden] == photograph(entry.visible_source)).all()
        assert (image[hidden] == photograph(entry.hidden_source)).all()


def test_a_photograph_keeps_its_proportions_and_covers_its_side(tmp_path):
    """A disc stays a disc; what does not fit is cut off around a point above the middle."""
    y, x = np.mgrid[:400, :400]
    disc = (x - 200) ** 2 + (y - 160) ** 2 < 40**2
    path = tmp_path / "disc.png"
    Image.fromarray(np.where(disc[..., None], 255, 0).astype(np.uint8).repeat(3, 2)).save(path)
    image = np.asarray(halves(path, path, Wall.rows(224, 224, 150)))[..., 0] > 127
    for side in (image[:150], image[150:]):
        rows, columns = np.flatnonzero(side.any(axis=1)), np.flatnonzero(side.any(axis=0))
        assert abs(len(rows) - len(columns)) <= 1
        assert abs(len(columns) - 80 * 224 / 400) <= 1
        assert abs(columns.mean() - 111.5) < 1


def test_same_and_other_are_what_they_say(root, tmp_path):
    """Another photograph of the same class, or one of another class; abaci are no animals."""
    same = mix(tmp_path / "s", root, n=8, hidden="same").frame
    assert (same["visible_index"] == same["hidden_index"]).all()
    assert (same["visible_source"] != same["hidden_source"]).all()
    other = mix(tmp_path / "o", root, n=8, hidden="other").frame
    assert (other["visible_index"] != other["hidden_index"]).all()
    assert set(other["visible_index"]) == {277, 291, 7}
    assert set(same["visible_index"]) == {277, 291}


def test_all_pairs_the_variants_over_one_visible_half(root, tmp_path):
    """The same photograph above, once with its class below and once with another."""
    frame = mix(tmp_path / "a", root, n=6, hidden="all").frame
    assert list(frame["variant"]) == ["same", "other"] * 3
    assert (frame.groupby("group")["visible_source"].nunique() == 1).all()


def test_the_seed_determines_every_byte_and_the_first_stacks_do_not_depend_on_n(root, tmp_path):
    """Also when the folder is found at another place."""
    root.rename(tmp_path / "elsewhere").rename(root)
    first, again = (mix(tmp_path / str(n), root, n=n, seed=2) for n in (7, 4))
    pd.testing.assert_frame_equal(first.frame.head(4), again.frame)
    assert list(mix(tmp_path / "o", root, n=7, seed=3).frame["sha256"]) != list(
        first.frame["sha256"]
    )


def test_a_validation_folder_is_found_below_the_root(root, tmp_path):
    """As ImageNet is unpacked: val/n02119022/…"""
    (tmp_path / "imagenet").mkdir()
    root.rename(tmp_path / "imagenet" / "val")
    found = mix(tmp_path / "o", tmp_path / "imagenet", n=2)
    assert found.frame["visible_source"].str.startswith("val/n").all()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": -1}, "n must be a whole number of at least 1, not -1"),
        ({"wall": 300}, "the wall at row 300 leaves no room"),
        ({"wall": Wall.quadrant(224, 224)}, "one animal on each side of its wall"),
        ({"hidden": "none"}, "unknown variant 'none': take one of same, other, all"),
    ],
)
def test_parameters_out_of_range_are_refused(root, tmp_path, options, message):
    """One line that says what to do, and no folder."""
    with pytest.raises(CamwallError, match=message):
        mix(tmp_path / "o", root, **options)
    assert not (tmp_path / "o").exists()


def test_a_folder_without_class_subfolders_is_refused(tmp_path):
    """Photographs side by side have no classes; nor has a folder that is not there."""
    (tmp_path / "flat").mkdir()
    Image.new("RGB", (9, 9)).save(tmp_path / "flat" / "a.png")
    with pytest.raises(CamwallError, match=r"flat has no class subfolders: .* like n02119022"):
        mix(tmp_path / "o", tmp_path / "flat")
    with pytest.raises(CamwallError, match=r"no folder .*gone"):
        mix(tmp_path / "o", tmp_path / "gone")


def test_a_folder_without_animals_is_refused(root, tmp_path):
    """Only things, or empty class folders."""
    for wnid in (FOX, LION, COCK):
        for file in (root / wnid).iterdir():
            file.unlink()
    with pytest.raises(CamwallError, match="none of the 4 classes in"):
        mix(tmp_path / "o", root)


def test_too_few_photographs_for_the_variant_are_refused(root, tmp_path):
    """One a class cannot show the same class twice; one class has no other."""
    for wnid in (FOX, LION):
        for number in (1, 2):
            (root / wnid / f"{number}.png").unlink()
    with pytest.raises(CamwallError, match=r"none of the 3 animal classes .* take hidden='other'"):
        mix(tmp_path / "o", root, hidden="same")
    for wnid in (FOX, LION):
        (root / wnid / "0.png").unlink()
    with pytest.raises(CamwallError, match="one animal class"):
        mix(tmp_path / "o", root)


def test_a_corrupt_photograph_is_named_and_nothing_is_written(root, tmp_path):
    """A file cut off in the middle, as after a broken download."""
    for file in (root / COCK).iterdir():
        file.write_bytes(file.read_bytes()[:60])
    before = set(tmp_path.iterdir())
    with pytest.raises(CamwallError, match=r"n01514668/0\.png is not an image that can be read"):
        mix(tmp_path / "o", root, n=6)
    assert set(tmp_path.iterdir()) == before


@pytest.mark.skipif(not os.environ.get("CAMWALL_IMAGENET"), reason="CAMWALL_IMAGENET is not set")
def test_real_photographs_make_a_hundred_stacks(tmp_path):
    """With the folder that CAMWALL_IMAGENET names: every visible label is its folder's class."""
    found = mix(tmp_path / "o", Path(os.environ["CAMWALL_IMAGENET"]))
    wnids = data.imagenet_classes()["wnid"]
    folders = [Path(source).parent.name for source in found.frame["visible_source"]]
    assert len(found) == 100
    assert folders == [wnids[label] for label in found.labels_visible]
