"""The rule: B = M ⊙ trunk(x̃) + (1 − M) ⊙ trunk(x), scores = rest(M ⊙ B); its fills; sides apart."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from camwall import CamwallError, Wall
from camwall.models import FILLS, Preprocessing, fill
from camwall.models.walled import WalledModel
from tests.helpers.networks import (
    CLASSES,
    Parts,
    efficientnet_parts,
    randomise,
    resnet_parts,
    walled,
)

SIZE = 32, 32
WALLS = {
    "rows": Wall.rows(*SIZE, 20),
    "rows that do not divide": Wall.rows(*SIZE, 17),
    "rows between": Wall.rows(*SIZE, 9, 19),
    "columns": Wall.columns(*SIZE, 0, 12),
    "quadrant": Wall.quadrant(*SIZE, top=True),
    "border": Wall.border(*SIZE, 5),
    "boxes": Wall.boxes(*SIZE, [(1, 2, 9, 7), (20, 13, 31, 30)]),
    "patches": Wall.patches(*SIZE, 7, seed=2),
    "a mask": Wall(torch.rand(SIZE, generator=torch.Generator().manual_seed(0)) < 0.03),
}
PARTS = {"resnet": resnet_parts, "efficientnet": efficientnet_parts}


def noise(shape: tuple[int, int], count: int = 2, seed: int = 0, scale: float = 1.0) -> Tensor:
    """Network inputs [count, 3, H, W]."""
    return scale * torch.randn(count, 3, *shape, generator=torch.Generator().manual_seed(seed))


def block_is_visible(wall: Wall, cells: tuple[int, int]) -> Tensor:
    """M: 1 on the cells whose own block of the image holds no hidden pixel, cell by cell."""
    (height, width), (h, w) = wall.shape, cells
    visible = torch.ones(cells, dtype=torch.bool)
    for y, x in wall.hidden.nonzero().tolist():
        for r in range(h):
            for c in range(w):
                rows = r * height < (y + 1) * h and y * h < (r + 1) * height
                columns = c * width < (x + 1) * w and x * w < (c + 1) * width
                visible[r, c] &= not (rows and columns)
    return visible


def maps_of(model: WalledModel, images: Tensor) -> tuple[Tensor, Tensor]:
    """Scores, and the maps that they were computed from, as a hook finds them."""
    seen: list[Tensor] = []
    handle = model.target_layer.register_forward_hook(lambda *found: seen.append(found[2]))
    scores = model(images)
    handle.remove()
    return scores, seen[0]


@pytest.mark.parametrize("network", PARTS)
@pytest.mark.parametrize("name", WALLS)
def test_the_rule_written_out(network: str, name: str) -> None:
    """Maps, scores and their gradient in float64, cell by cell and image by image."""
    parts, wall = PARTS[network](1), WALLS[name]
    if network == "efficientnet" and name in ("patches", "a mask"):
        wall = Wall.boxes(*SIZE, [(9, 2, 15, 5), (25, 18, 31, 31)])  # 16 cells: others hide all
    parts.features.double()
    parts.head.double()
    model = walled(parts, wall)
    batch = noise(SIZE).double()
    maps, scores = model.features(batch), model(batch)
    trunk, rest = parts.features.eval(), parts.head.eval()
    size = (8, 8) if network == "resnet" else (4, 4)
    m = block_is_visible(wall, size)
    assert torch.equal(model.visible_cells, m)
    assert 0 < int(m.sum()) < m.numel()
    for i, image in enumerate(batch):
        painted = image.clone()
        for y, x in wall.hidden.nonzero().tolist():
            painted[:, y, x] = 0.0
        with torch.no_grad():
            of_painted, of_image = trunk(painted[None])[0], trunk(image[None])[0]
        expected = torch.empty_like(of_image)
        for r in range(size[0]):
            for c in range(size[1]):
                side = of_painted if m[r, c] else of_image
                expected[:, r, c] = side[:, r, c]
        torch.testing.assert_close(maps[i], expected, atol=1e-10, rtol=1e-10)
        read = expected.clone()
        read[:, ~m] = 0.0
        read.requires_grad_()
        torch.testing.assert_close(scores[i], rest(read[None])[0], atol=1e-10, rtol=1e-10)
        (at_read,) = torch.autograd.grad(rest(read[None])[0, 3], read)
        own, of_one = maps_of(model, image[None])
        (gradient,) = torch.autograd.grad(own[0, 3], of_one)
        torch.testing.assert_close(gradient[0], at_read * m, atol=1e-10, rtol=1e-10)


CONSTRUCTIONS = [(name, "whole") for name in WALLS] + [("rows", "apart"), ("columns", "apart")]


@pytest.mark.parametrize(("name", "construction"), CONSTRUCTIONS)
def test_no_score_and_no_gradient_knows_the_hidden_pixels(name: str, construction: str) -> None:
    """Bit for bit under repaints; exactly 0 at each hidden pixel and cell, not at the others."""
    wall = WALLS[name]
    model = walled(resnet_parts(2), wall, construction=construction)
    batch = noise(SIZE, 3)
    scores = model(batch)
    for seed, scale in ((1, 1.0), (2, 1e-3), (3, 1e3)):
        other = torch.where(wall.hidden, noise(SIZE, 3, seed, scale), batch)
        assert torch.equal(model(other), scores)
        assert not torch.equal(model.features(other), model.features(batch))
        with torch.no_grad():
            assert torch.equal(model(other), model(batch))
        assert torch.equal(model(other[:1]), model(batch[:1]))

    batch.requires_grad_()
    scores, maps = maps_of(model, batch)
    for index in range(CLASSES):
        at_images, at_maps = torch.autograd.grad(
            scores[:, index].sum(), (batch, maps), retain_graph=True
        )
        assert not at_images[:, :, wall.hidden].any()
        assert not at_maps[:, :, ~model.visible_cells].any()
        assert at_images[:, :, ~wall.hidden].any(dim=1).float().mean() > 0.9
        assert at_maps[:, :, model.visible_cells].any(dim=1).all()


@pytest.mark.parametrize("shape", [(24, 40), (40, 24), (30, 44)])
def test_images_that_are_not_square(shape: tuple[int, int]) -> None:
    """The rule, the cells and the certificate's zeros for any height and width."""
    parts = resnet_parts(3)
    parts.preprocessing = replace(parts.preprocessing, crop=shape)
    height, width = shape
    batch = noise(shape, 1)
    cells = parts.features.eval()(batch).shape[2:]
    walls = [Wall.rows(*shape, 17), Wall.columns(*shape, 0, 9), Wall.quadrant(*shape)]
    for wall in [*walls, Wall.border(*shape, 3), Wall.patches(*shape, 6, seed=1)]:
        model = walled(parts, wall)
        assert model.visible_cells.shape == cells
        assert torch.equal(model.visible_cells, block_is_visible(wall, tuple(cells)))
        painted = batch.masked_fill(wall.hidden, 0.0)
        m = model.visible_cells
        with torch.no_grad():
            expected = m * parts.features(painted) + ~m * parts.features(batch)
            assert torch.equal(model.features(batch), expected)
            assert torch.equal(model(batch), parts.head(m * expected))
            assert torch.equal(model(batch), model(painted))
    for wall in (Wall.rows(*shape, height // 2), Wall.columns(*shape, 0, width // 2)):
        if cells[0 if wall.row else 1] % 2 == 0:
            model = walled(parts, wall, construction="apart")
            with torch.no_grad():
                assert model.features(batch).shape[2:] == cells
                assert torch.equal(model(batch), model(batch.masked_fill(wall.hidden, 7.0)))
    with pytest.raises(CamwallError, match=rf"shape \[N, 3, {height}, {width}\], not \[1, 3, 32"):
        model(noise(SIZE, 1))


def test_any_cells_may_be_read() -> None:
    """M is a choice: cells with hidden pixels may be read of x̃, and others may be left out."""
    gen = torch.Generator().manual_seed(5)
    wall, batch = WALLS["rows"], noise(SIZE)
    for _ in range(3):
        m = torch.rand(8, 8, generator=gen) < 0.5
        parts = resnet_parts(4)
        model = walled(parts, wall, visible_cells=m)
        assert torch.equal(model.visible_cells, m)
        with torch.no_grad():
            painted = batch.masked_fill(wall.hidden, 0.0)
            expected = m * parts.features(painted) + ~m * parts.features(batch)
            assert torch.equal(model.features(batch), expected)
            assert torch.equal(model(batch), parts.head(m * expected))
            assert torch.equal(model(batch), model(painted))


def test_a_row_a_mask_and_a_wall_are_the_same() -> None:
    """What `build_wall` takes for a wall."""
    batch, wall = noise(SIZE), Wall.rows(*SIZE, 20)
    scores = [walled(resnet_parts(0), w)(batch) for w in (20, wall.hidden, wall)]
    assert torch.equal(scores[0], scores[1])
    assert torch.equal(scores[0], scores[2])


def test_a_hidden_infinity_reaches_no_score() -> None:
    """M ⊙ B takes no product: 0 · ∞ would be no number."""
    for construction in ("whole", "apart"):
        model = walled(resnet_parts(0), 20, construction=construction)
        batch = noise(SIZE)
        scores = model(batch)
        for value in (float("nan"), float("inf")):
            other = batch.masked_fill(model.wall.hidden, value)
            assert not torch.isfinite(model.features(other)).all()
            assert torch.equal(model(other), scores)


# --------------------------------------------------------------------------------------------
# What x̃ is painted with

PLAIN2 = Preprocessing((0.5, 0.25, 0.1), (0.25, 0.5, 0.2), None, SIZE)


@pytest.mark.parametrize("name", WALLS)
@pytest.mark.parametrize("paint", [name for name in FILLS if name != "none"])
def test_no_fill_reads_a_hidden_pixel(paint: str, name: str) -> None:
    """NaN in the hidden pixels does not come out; visible pixels stay as they are."""
    wall, batch = WALLS[name], noise(SIZE)
    before = batch.clone()
    expected = fill(paint, batch, wall, PLAIN2)
    found = fill(paint, batch.masked_fill(wall.hidden, float("nan")), wall, PLAIN2)
    assert torch.isfinite(found).all()
    assert torch.equal(found, expected)
    assert torch.equal(found[:, :, ~wall.hidden], batch[:, :, ~wall.hidden])
    assert torch.equal(batch, before)
    # Of each image alone, not of its neighbours.
    assert torch.equal(fill(paint, batch[1:], wall, PLAIN2), expected[1:])


def test_paint_none_leaves_all_as_it_is() -> None:
    """The one that reads hidden pixels; an unknown name is refused."""
    batch = noise(SIZE)
    assert torch.equal(fill("none", batch, WALLS["rows"], PLAIN2), batch)
    with pytest.raises(CamwallError, match="unknown paint 'blue'; known: zero, grey, black"):
        fill("blue", batch, WALLS["rows"], PLAIN2)


def test_fills_by_hand() -> None:
    """Two columns and three rows, the last hidden: what each fill puts there."""
    wall = Wall.rows(3, 2, 2)
    way = Preprocessing((0.5,), (0.25,), None, (3, 2))
    image = torch.tensor([[[[1.0, 2.0], [3.0, 6.0], [70.0, 80.0]]]])
    expected = {
        "zero": [0.0, 0.0],
        "grey": [0.0, 0.0],
        "black": [-2.0, -2.0],
        "white": [2.0, 2.0],
        "mean": [3.0, 3.0],
        "mirror": [1.0, 2.0],
        "none": [70.0, 80.0],
    }
    for paint, values in expected.items():
        assert fill(paint, image, wall, way)[0, 0, 2].tolist() == values
    pixels = way.denormalize(fill("noise", image, wall, way))[0, 0, 2]
    assert ((pixels >= 0) & (pixels < 1)).all()
    # Two of three columns hidden: the flip brings one visible column, the mean fills the other.
    wall = Wall.columns(1, 3, 1)
    image = torch.tensor([[[[4.0, 50.0, 60.0]]]])
    assert fill("mirror", image, wall, way).flatten().tolist() == [4.0, 4.0, 4.0]
    wall = Wall(torch.tensor([[False, False, True, True, True]]))
    image = torch.tensor([[[[4.0, 8.0, 50.0, 60.0, 70.0]]]])
    assert fill("mirror", image, wall, way).flatten().tolist() == [4.0, 8.0, 6.0, 8.0, 4.0]


def test_mirror_takes_the_flip_that_brings_most() -> None:
    """Columns are flipped sideways; a border, which no flip covers, gets the mean."""
    wall, batch = WALLS["columns"], noise(SIZE)
    assert torch.equal(fill("mirror", batch, wall, PLAIN2)[..., :12], batch.flip(3)[..., :12])
    wall = WALLS["border"]
    mean = batch[:, :, ~wall.hidden].mean(dim=2)[:, :, None].expand(-1, -1, int(wall.hidden.sum()))
    torch.testing.assert_close(fill("mirror", batch, wall, PLAIN2)[:, :, wall.hidden], mean)
    torch.testing.assert_close(fill("mean", batch, wall, PLAIN2)[:, :, wall.hidden], mean)


@pytest.mark.parametrize("paint", [name for name in FILLS if name != "none"])
def test_the_rule_with_every_paint(paint: str) -> None:
    """x̃ is what `fill` makes; the ground names the paint; the scores hold still."""
    parts, wall, batch = resnet_parts(0), WALLS["quadrant"], noise(SIZE)
    model = walled(parts, wall, paint=paint)
    m = model.visible_cells
    painted = fill(paint, batch, wall, parts.preprocessing)
    with torch.no_grad():
        expected = m * parts.features(painted) + ~m * parts.features(batch)
        assert torch.equal(model.features(batch), expected)
        assert torch.equal(model(batch), parts.head(m * expected))
        assert torch.equal(model(torch.where(wall.hidden, noise(SIZE, 2, 9), batch)), model(batch))
    assert f"painted ({paint}) alone" in model.ground


# --------------------------------------------------------------------------------------------
# Sides apart


@pytest.mark.parametrize(
    "wall",
    [
        Wall.rows(*SIZE, 20),
        Wall.rows(*SIZE, 16),
        Wall.rows(*SIZE, 0, 8),
        Wall.columns(*SIZE, 24),
        Wall.columns(*SIZE, 0, 12),
    ],
    ids=str,
)
def test_each_side_is_the_trunk_on_that_side_alone(wall: Wall) -> None:
    """Visible first or last, sides of any length, by rows and by columns."""
    parts, batch = resnet_parts(1), noise(SIZE).double()
    parts.features.double()
    parts.head.double()
    model = walled(parts, wall, construction="apart")
    axis, at, hidden_last = wall.cut
    sides = batch.tensor_split([at], dim=axis + 2)
    with torch.no_grad():
        maps = [parts.features(side) for side in sides]
        assert torch.equal(model.features(batch), torch.cat(maps, dim=axis + 2))
        visible = maps[0] if hidden_last else maps[1]
        assert torch.equal(model.read(model.features(batch)), visible)
        assert torch.equal(model(batch), parts.head(model.read(model.features(batch))))
        # A mean over columns that are cut out adds in another order than over a copy of them.
        torch.testing.assert_close(model(batch), parts.head(visible), atol=1e-12, rtol=0)
    shown = model.visible_cells.any(dim=1 - axis)
    assert torch.equal(shown, model.visible_cells.all(dim=1 - axis))
    assert shown.tolist() == [(4 * cell < at) == hidden_last for cell in range(8)]


def test_equal_sides_of_one_content_have_equal_maps() -> None:
    """A side and its translated copy: the maps of the two are the same bit for bit."""
    half = noise((16, 32), 2)
    model = walled(resnet_parts(0), 16, construction="apart")
    maps = model.features(torch.cat([half, half], dim=2))
    assert torch.equal(maps[:, :, :4], maps[:, :, 4:])
    whole = walled(resnet_parts(0), 16).features(torch.cat([half, half], dim=2))
    assert not torch.equal(whole[:, :, :4], whole[:, :, 4:])


def test_sides_whose_maps_do_not_make_up_the_map_are_refused() -> None:
    """Padding that adds rows adds them on each side; the whole is as it was."""
    features = nn.Sequential(nn.Conv2d(3, 4, 2, stride=2, padding=4), nn.ReLU())
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))
    randomise(nn.ModuleList([features, head]), 0)
    parts = Parts(features, head)
    line = (
        "a wall at row 8 gives maps of 8 and 16 rows, which do not divide the map of 20; rows that"
    )
    with pytest.raises(CamwallError, match=line):
        walled(parts, 8, construction="apart")
    with pytest.raises(
        CamwallError, match="at column 24 gives maps of 16 and 8 columns, which do not"
    ):
        walled(parts, Wall.columns(32, 32, 0, 24), construction="apart")
    assert walled(parts, 8).visible_cells.shape == (20, 20)


def test_a_named_layer_may_have_more_cells_than_the_image_has_pixels() -> None:
    """Padding can add more rows than the kernel takes."""
    features = nn.Sequential(nn.Conv2d(3, 4, 1, padding=2), nn.ReLU())
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5))
    assert walled(Parts(features, head), 8).visible_cells.shape == (36, 36)
