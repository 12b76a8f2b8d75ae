"""STACK-OPEN: paired variants, determinism, geometry, and what goes wrong."""

import hashlib
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
from PIL import Image, ImageDraw

from camwall import Wall, config, data, stacks
from camwall.errors import CamwallError
from camwall.stacks import compose, cutouts, design, scenes
from camwall.stacks.scenes import SCENES
from camwall.stacks.store import sha256

# Of the pixels when they were first painted. If they change on purpose, raise cutouts.EDITION.
SCENES_SHA256 = "8cba1fda2366ebe466e5621271f5f14461d5fa752951cd24633f2fb90f8eb58c"
OPEN_SHA256 = "05c4c4ba93c466a772ca7ff4b37ae377ce4ee34b341c0f4ee2bfd17a24a53e20"
LEFT_SHA256 = "56ae53680535aa0fb1491fcc117348f7bfc6f2477de5d81e8fd2641c217c6c81"
BESIDE_SHA256 = "7ae7cf9af68431f1c32639682f08ed43737fa8786498a8b1d8541c0dd74d3582"
WALLS = {
    "top": Wall.rows(224, 224, 0, 64),
    "left": Wall.columns(224, 224, 0, 100),
    "right": Wall.columns(224, 224, 160),
    "bottom": Wall.rows(224, 224, 150),
}

# file, species, ImageNet class, scenes
MADE_UP = [
    ("fox.png", "red fox", 277, "meadow"),
    ("lion-1.png", "lion", 291, "meadow snow"),
    ("lion-2.png", "lion", 291, "meadow snow"),
    ("cock.png", "chicken", 7, "meadow"),
    ("hen.png", "chicken", 8, "meadow"),
    ("chick.png", "chicken", None, "meadow"),
    ("orca.png", "orca", 148, "underwater"),
    ("groper.png", "groper", None, "underwater"),
    ("slug.png", "slug", 114, "leaf"),
    ("moth.png", "moth", None, "leaf"),
    ("hare.png", "hare", 331, "snow"),
]

PLAIN = (100.0, (10, 20, 30), (70, 60, 50))  # a scene that is quick to paint


@pytest.fixture
def stamps(tmp_path, monkeypatch):
    """A folder of made-up stamps, blobs of each its own colours, with labels and plain scenes."""
    folder = tmp_path / "stamps"
    folder.mkdir()
    rows = []
    for number, (name, species, imagenet, places) in enumerate(MADE_UP):
        rng = np.random.default_rng(number)
        image = Image.new("RGBA", (150 + 10 * number, 130))
        draw = ImageDraw.Draw(image)
        for _ in range(8):
            x, y = int(rng.integers(5, 60)), int(rng.integers(5, 50))
            colour = (*(int(c) for c in rng.integers(0, 256, 3)), 255)
            draw.ellipse((x, y, x + 70, y + 70), fill=colour)
        image.save(folder / name)
        rows.append((name, species, imagenet, None, places.split(), None, sha256(folder / name)))
    columns = ["file", "species", "imagenet", "wnid", "scenes", "note", "sha256"]
    frame = pd.DataFrame(rows, columns=columns).astype({"imagenet": "Int64"})
    monkeypatch.setattr(data, "stamp_labels", lambda: frame)
    for name, scene in SCENES.items():
        plain = replace(
            scene, paint=lambda rng, horizon: 60.0 + 2.0 * scenes.ground(rng, *PLAIN)[0]
        )
        monkeypatch.setitem(SCENES, name, plain)
    return folder


def build(folder, stamps, **options):
    """Build without a progress bar."""
    return stacks.open(folder, stamps=stamps, progress=False, **options)


def pixels(found):
    """All images, [N, 224, 224, 3]."""
    return np.stack([np.asarray(Image.open(path)) for path in found.paths])


def test_the_seed_determines_every_byte(stamps, tmp_path):
    """Two builds agree file by file; another seed gives other pictures."""
    first, again = (build(tmp_path / name, stamps, n=4, seed=3) for name in "ab")
    other = build(tmp_path / "c", stamps, n=4, seed=4)
    pd.testing.assert_frame_equal(first.frame, again.frame)
    assert first.info["pixels_sha256"] == again.info["pixels_sha256"]
    assert not set(first.frame["sha256"]) & set(other.frame["sha256"])


def test_a_smaller_set_is_the_beginning_of_a_larger_one(stamps, tmp_path):
    """So that a quick run looks at some of the same stacks."""
    few, many = (build(tmp_path / str(n), stamps, n=n) for n in (4, 8))
    pd.testing.assert_frame_equal(few.frame, many.frame.head(4))
    assert many.head(4).frame.equals(few.frame)
    assert len(many.head(None)) == 8


@pytest.mark.parametrize("name", WALLS)
def test_variants_share_their_visible_half_and_differ_behind_the_wall_alone(stamps, tmp_path, name):
    """What makes the design paired: on the visible side not one pixel differs."""
    found = build(tmp_path / "o", stamps, n=9, wall=WALLS[name])
    images, behind = pixels(found), WALLS[name].hidden.numpy()
    assert (found.differing() == (images != images[np.arange(9) // 3 * 3]).any(axis=3)).all()
    for _, group in found.frame.groupby("group"):
        assert list(group["variant"]) == ["same", "other", "none"]
        for first, second in pairwise(group.index):
            differs = (images[first] != images[second]).any(axis=2)
            assert not differs[~behind].any()
            assert differs[behind].any()


def test_each_class_stands_above_once_before_any_comes_again(stamps, tmp_path):
    """And nothing is left out for lack of another photograph."""
    found = build(tmp_path / "o", stamps, n=7, hidden="none")
    assert sorted(found.labels_visible) == sorted({row[2] for row in MADE_UP if row[2]})


@pytest.mark.parametrize("wall", [48, 64, 160, 176, *WALLS.values(), Wall.columns(224, 224, 176)])
def test_no_animal_crosses_the_wall(stamps, tmp_path, wall):
    """The boxes of the manifest lie on their side, wherever the wall is."""
    found = build(tmp_path / "o", stamps, n=6, wall=wall)
    boxes, hidden = found.boxes, found.wall.hidden
    assert set(boxes["half"]) == {"visible", "hidden"}
    assert (boxes["behind"] == (boxes["half"] == "hidden")).all()
    for half, left, top, right, bottom in boxes[["half", "left", "top", "right", "bottom"]].values:
        assert 0 <= left < right <= 224
        assert 0 <= top < bottom <= 224
        assert (hidden[top:bottom, left:right] == (half == "hidden")).all()


@pytest.mark.parametrize("name", WALLS)
def test_who_stands_has_ground_under_its_feet(stamps, tmp_path, monkeypatch, name):
    """Both animals stand below the one horizon, on whichever side of the wall they are."""
    horizons = []

    def paint(rng, horizon):
        horizons.append(horizon / 2)  # the canvas has twice the picture's rows
        return np.full((448, 448, 3), 120.0)

    for key, scene in SCENES.items():
        monkeypatch.setitem(SCENES, key, replace(scene, paint=paint))
    found = build(tmp_path / "o", stamps, n=12, wall=WALLS[name])
    standing = found.boxes[(found.frame["scene"] == "meadow")[found.boxes["stack"]].to_numpy()]
    assert len(standing) > 4
    for stack, bottom in zip(standing["stack"], standing["bottom"], strict=True):
        assert bottom > horizons[found.groups[stack]]


def test_a_wall_of_rows_is_the_row(stamps, tmp_path):
    """An int, a mask and a wall that say the same are one run, and the manifest keeps the row."""
    first = build(tmp_path / "o", stamps, n=3, wall=150)
    for wall in (WALLS["bottom"], WALLS["bottom"].hidden):
        assert build(tmp_path / "o", stamps, n=3, wall=wall).info == first.info
    assert first.info["parameters"]["row"] == 150
    assert list(first.frame["row"]) == [150] * 3
    assert first.wall == WALLS["bottom"]


def test_the_manifest_gives_the_wall_back(stamps, tmp_path):
    """Read from the folder, by its JSON; the same run again paints nothing."""
    build(tmp_path / "o", stamps, n=3, wall=WALLS["left"])
    found = stacks.load(tmp_path / "o")
    assert found.wall == found.head(1).wall == WALLS["left"]
    assert "row" not in found.frame
    assert build(tmp_path / "o", stamps, n=3, wall=WALLS["left"]).info == found.info
    with pytest.raises(CamwallError, match="holds another run"):
        build(tmp_path / "o", stamps, n=3, wall=WALLS["right"])


@pytest.mark.parametrize("name", WALLS)
@pytest.mark.parametrize("scene", SCENES)
def test_painting_an_animal_changes_its_own_side_only(stamps, scene, name):
    """Shadow, haze and grass included; and it does change that side."""
    ground = np.full((224, 224, 3), 120.0)
    stamp = compose.cut_out(Image.open(stamps / "fox.png"))
    rng = np.random.default_rng(0)
    for side, behind in zip(design.sides(WALLS[name]), (False, True), strict=True):
        animal = compose.place(stamp, rng, side, False, 1.0, True)  # up to the wall itself
        picture = compose.paint(ground, animal, SCENES[scene], rng, side)
        own = (WALLS[name].hidden == behind).numpy()
        assert (picture[~own] == ground[~own]).all()
        assert (picture[own] != ground[own]).any()


def test_the_same_species_is_another_photograph_where_there_is_one(stamps, tmp_path):
    """Of the same class first; else of the species; else the same one mirrored and smaller."""
    labels = data.stamp_labels()
    index = {file: number for number, file in labels["file"].items()}

    def kin(name, scene):
        return {labels["file"][k] for k in cutouts._who_else(labels, index[name], scene)[0]}

    assert kin("lion-1.png", "snow") == {"lion-2.png"}
    assert kin("cock.png", "meadow") == {"hen.png", "chick.png"}
    assert kin("fox.png", "meadow") == set()
    frame = build(tmp_path / "o", stamps, n=7, hidden="same").frame
    assert (frame["visible_species"] == frame["hidden_species"]).all()


def test_another_species_is_of_another_class_and_could_stand_there(stamps, tmp_path):
    """Neither species nor class agrees; an animal without a class may hide but not stand above."""
    frame = build(tmp_path / "o", stamps, n=14, hidden="other").frame
    scenes = data.stamp_labels().set_index("file")["scenes"]
    assert (frame["visible_species"] != frame["hidden_species"]).all()
    assert (frame["visible_index"] != frame["hidden_index"].fillna(-1)).all()
    assert all(s in scenes[f] for s, f in zip(frame["scene"], frame["hidden_source"], strict=True))
    assert frame["visible_index"].notna().all()
    assert frame["hidden_index"].isna().any()


def test_the_manifest_describes_the_images_and_their_sources(stamps, tmp_path):
    """Checksums of both, labels of both halves, nothing where nothing stands."""
    found = build(tmp_path / "o", stamps, n=3)
    for path, row in zip(found.paths, found.frame.itertuples(), strict=True):
        assert hashlib.sha256(path.read_bytes()).hexdigest() == row.sha256
        assert sha256(stamps / row.visible_source) == row.visible_sha256
    none = found.frame.iloc[2]
    assert none["variant"] == "none"
    assert none[[c for c in found.frame if c.startswith("hidden_")]].isna().all()
    assert found.labels("hidden")[2] is None
    assert (
        found.frame["visible_name"][0] == data.imagenet_classes()["name"][found.labels_visible[0]]
    )
    assert found.info["parameters"] == {"n": 3, "hidden": "all", "row": 160, "edition": 1}
    assert {"seed", "versions", "date", "builder"} <= found.info.keys()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 0}, "n must be a whole number of at least 1, not 0"),
        ({"wall": 224}, "the wall at row 224 leaves no room"),
        ({"wall": -3}, "take a row between 48 and 176"),
        ({"wall": Wall.columns(224, 224, 0, 30)}, "take a column between 48 and 176"),
        ({"wall": Wall.border(224, 224, 32)}, "one animal on each side .* not 24576 pixels in 4"),
        ({"wall": Wall.patches(224, 224)}, "take a wall that hides the top, the bottom"),
        ({"wall": Wall.rows(299, 299, 200)}, "stacks have 224×224 pixels"),
        ({"wall": "left"}, "'left' is no wall: write its first hidden row"),
        ({"hidden": "Same"}, "unknown variant 'Same': take one of same, other, none, all"),
    ],
)
def test_parameters_out_of_range_are_refused_before_anything_is_written(
    stamps, tmp_path, options, message
):
    """One line that says what to do, and no folder."""
    with pytest.raises(CamwallError, match=message):
        build(tmp_path / "o", stamps, **options)
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: f.unlink(), r"no image at .*fox\.png"),
        (
            lambda f: f.write_bytes(f.read_bytes()[:300]),
            r"fox\.png is not an image that can be read",
        ),
        (
            lambda f: Image.new("RGBA", (9, 9), "red").save(f),
            r"fox\.png is not the picture that was",
        ),
    ],
)
def test_a_missing_corrupt_or_other_stamp_leaves_nothing_behind(stamps, tmp_path, spoil, message):
    """The build stops with one line; neither the folder nor a temporary one is there."""
    spoil(stamps / "fox.png")
    before = set(tmp_path.iterdir())
    with pytest.raises(CamwallError, match=message):
        build(tmp_path / "o", stamps, n=30)
    assert set(tmp_path.iterdir()) == before


def test_the_painting_is_the_same_on_every_machine():
    """Every scene, against the checksum of the pixels it had when it was written."""
    digest = hashlib.sha256()
    for number, scene in enumerate(SCENES.values()):
        rng = np.random.default_rng(number)
        digest.update(scenes.to_image(scene.paint(rng, 130.0)).tobytes())
    assert digest.hexdigest() == SCENES_SHA256


def test_stacks_of_the_real_stamps(tmp_path):
    """The stamps are those that were labelled, and give the stacks that the book measures."""
    if not (config.cache_dir() / "stamps").is_dir():
        pytest.skip("the stamps are not in the cache")
    found = stacks.open(tmp_path / "o", n=3, progress=False)
    assert found.info["pixels_sha256"] == OPEN_SHA256
    left = stacks.open(tmp_path / "l", n=3, wall=Wall.columns(224, 224, 0, 64), progress=False)
    assert left.info["pixels_sha256"] == LEFT_SHA256
    pair = stacks.open(tmp_path / "p", n=2, hidden="none", beside=True, progress=False)
    assert pair.info["pixels_sha256"] == BESIDE_SHA256
    labels = data.stamp_labels()
    for file, expected in zip(labels["file"], labels["sha256"], strict=True):
        assert sha256(data.stamps() / file) == expected


@pytest.fixture
def gathered(stamps, monkeypatch):
    """The made-up stamps, all of which can stand in the meadow."""
    frame = data.stamp_labels()
    frame = frame.assign(scenes=[["meadow"]] * len(frame))
    monkeypatch.setattr(data, "stamp_labels", lambda: frame)
    return stamps


@pytest.mark.parametrize("beside", [False, True])
@pytest.mark.parametrize("name", WALLS)
def test_outlines_are_those_that_were_painted(gathered, tmp_path, monkeypatch, name, beside):
    """Pixel by pixel, in a folder that is read again: of every animal, and of nobody else."""
    painted, paint = [], compose.paint

    def watch(ground, animal, *more):
        painted.append(animal.alpha > 0.5)
        return paint(ground, animal, *more)

    monkeypatch.setattr(compose, "paint", watch)
    build(tmp_path / "o", gathered, n=9, wall=WALLS[name], beside=beside)
    found = stacks.load(tmp_path / "o")
    seen = ["visible", "beside"] if beside else ["visible"]
    outlines = {a: stacks.outlines(found, a, gathered) for a in [*seen, "hidden"]}
    for stack in range(9):
        if stack % 3 == 0:
            for animal in seen:
                expected = painted.pop(0)
                assert expected.any()
                for variant in range(3):
                    assert (outlines[animal][stack + variant] == expected).all()
        if stack % 3 == 2:
            assert not outlines["hidden"][stack].any()
        else:
            assert (outlines["hidden"][stack] == painted.pop(0)).all()
    assert painted == []
    behind = WALLS[name].hidden.numpy()
    assert not outlines["hidden"][:, ~behind].any()
    assert not outlines["visible"][:, behind].any()
    few = found.frame.iloc[[4, 1]].reset_index(drop=True)
    some = stacks.outlines(replace(found, frame=few), "hidden", gathered)
    assert (some == outlines["hidden"][[4, 1]]).all()


def test_an_outline_is_where_the_picture_changes(stamps, tmp_path, monkeypatch):
    """Against the pixels: where the hidden animal is all that differs, without a shadow."""
    for name, scene in SCENES.items():
        monkeypatch.setitem(SCENES, name, replace(scene, contact="floats"))
    found = build(tmp_path / "o", stamps, n=9)
    outline, images = stacks.outlines(found, "hidden", stamps), pixels(found)
    for first in (0, 3, 6):
        changed = (images[first] != images[first + 2]).any(axis=2)
        inside = outline[first]
        assert changed[inside].mean() > 0.98  # a pixel may have the ground's colour by chance
        assert (changed & ~inside).sum() < 0.1 * inside.sum()  # a soft edge


def test_outlines_that_there_are_not(stamps, tmp_path):
    """Of a folder of images, of an animal nobody asked for; of a stamp that is another picture."""
    found = build(tmp_path / "o", stamps, n=3)
    with pytest.raises(CamwallError, match="has no 'beside' animals"):
        stacks.outlines(found, "beside", stamps)
    with pytest.raises(CamwallError, match=r"has no outlines: stacks\.open builds"):
        stacks.outlines(stacks.load(found.folder / "images"))
    Image.new("RGBA", (9, 9), "red").save(stamps / found.frame["visible_source"][0])
    with pytest.raises(CamwallError, match="is not the picture that was labelled"):
        stacks.outlines(found, stamps=stamps)


@pytest.mark.parametrize("name", WALLS)
def test_two_visible_animals_are_of_two_classes_and_apart(gathered, tmp_path, name):
    """Each in its half of the visible side, the first to the left and to the right in turn."""
    found = build(tmp_path / "o", gathered, n=9, wall=WALLS[name], beside=True)
    assert None not in found.labels("beside")
    for first, second in zip(found.labels_visible, found.labels("beside"), strict=True):
        assert first != second
    frame, boxes = found.frame, found.boxes
    assert (frame["visible_species"] != frame["beside_species"]).all()
    assert list(boxes["half"].value_counts()[["visible", "beside", "hidden"]]) == [9, 9, 6]
    assert (boxes["behind"] == (boxes["half"] == "hidden")).all()
    first, second = (boxes[boxes["half"] == half] for half in ("visible", "beside"))
    to_the_left = first["right"].to_numpy() <= second["left"].to_numpy()
    to_the_right = second["right"].to_numpy() <= first["left"].to_numpy()
    assert list(to_the_left) == [group % 2 == 0 for group in found.groups]
    assert (to_the_left != to_the_right).all()
    assert not found.differing()[:, ~WALLS[name].hidden.numpy()].any()


def test_who_is_beside_moves_nobody_else(gathered, tmp_path):
    """Scenes, first animals and hidden ones are chosen as without; neither run is the other."""
    plain = build(tmp_path / "o", gathered, n=12)
    pair = build(tmp_path / "p", gathered, n=12, beside=True)
    same = ["variant", "group", "scene", "visible_source", "hidden_source"]
    pd.testing.assert_frame_equal(plain.frame[same], pair.frame[same])
    assert pair.info["parameters"] == {**plain.info["parameters"], "beside": True}
    for folder, beside in (("o", True), ("p", False)):
        with pytest.raises(CamwallError, match=r"holds another run \(parameters.beside"):
            build(tmp_path / folder, gathered, n=12, beside=beside)
    with pytest.raises(CamwallError, match="a visible side of 64 columns has no room for two"):
        build(tmp_path / "q", gathered, wall=Wall.columns(224, 224, 64), beside=True)
    assert not (tmp_path / "q").exists()


def test_boxes_are_read_back_by_half(stamps, tmp_path):
    """One row an animal: three visible, two hidden in three stacks."""
    found = build(tmp_path / "o", stamps, n=3)
    boxes = found.boxes
    assert list(boxes["half"]) == ["visible"] * 3 + ["hidden"] * 2
    assert list(boxes["stack"]) == [0, 1, 2, 0, 1]
    first = found.frame["hidden_box"][1].split()
    assert [str(side) for side in boxes.loc[4, ["left", "top", "right", "bottom"]]] == first
    left, top, right, bottom = boxes.loc[4, ["left", "top", "right", "bottom"]]
    assert boxes["share"][4] == (right - left) * (bottom - top) / (224 * 64)
