"""The leak: by hand, on empty maps, with and without the pixels that interpolation fills."""

from math import isnan, sqrt

import pytest
import torch

from camwall import CamwallError, Wall, explain, leak
from camwall.methods import render
from camwall.metrics import is_empty, mean_leak
from tests.helpers.networks import NETWORKS, images

WALL = Wall.rows(4, 2, 2)
#: The upper of two map rows is read.
VISIBLE = torch.tensor([[True, True], [False, False]])


def test_leak_by_hand() -> None:
    """‖hidden rows‖ / ‖map‖ on literal maps."""
    maps = torch.tensor(
        [
            [[3.0, 0.0], [0.0, 0.0], [4.0, 0.0], [0.0, 0.0]],
            [[1.0, 1.0], [1.0, 1.0], [0.0, 0.0], [0.0, 0.0]],
            [[0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [0.0, 2.0]],
            [[1.0, 1.0], [1.0, 1.0], [1.0, 1.0], [1.0, 1.0]],
            [[0.0, 0.0], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]],
        ]
    )
    expected = torch.tensor([0.8, 0.0, 1.0, sqrt(0.5), 0.0]).double()
    torch.testing.assert_close(leak(maps, WALL), expected)
    assert is_empty(maps).tolist() == [False, False, False, False, True]


def test_leak_by_hand_behind_a_wall_of_any_shape() -> None:
    """‖hidden pixels‖ / ‖map‖ where the hidden pixels are two corners."""
    wall = Wall.boxes(2, 3, [(0, 0, 1, 1), (1, 2, 2, 3)])
    maps = torch.tensor([[[3.0, 1.0, 1.0], [1.0, 1.0, 4.0]], [[0.0, 5.0, 0.0], [0.0, 0.0, 0.0]]])
    torch.testing.assert_close(leak(maps, wall), torch.tensor([5 / sqrt(29), 0.0]).double())
    assert leak(torch.ones(1, 2, 3), wall).item() == pytest.approx(wall.flat_level)


def test_bleed_pixels_are_left_out_of_both_norms() -> None:
    """With ``clear_of`` the pixels that upsampling fills from visible cells count nowhere."""
    bleed = WALL.bleed(VISIBLE)  # row 2 reads the map at 0.75: a quarter of the visible row
    assert bleed.tolist() == [[False] * 2, [False] * 2, [True] * 2, [False] * 2]
    maps = torch.tensor([[[3.0, 0.0], [0.0, 0.0], [100.0, 100.0], [0.0, 4.0]]])
    assert leak(maps, WALL, clear_of=VISIBLE).tolist() == pytest.approx([0.8])


def test_tiny_maps_keep_their_leak() -> None:
    """Values whose squares vanish in float32 still have a direction."""
    maps = torch.tensor([[[3e-30, 0.0], [0.0, 0.0], [4e-30, 0.0], [0.0, 0.0]]])
    assert leak(maps, WALL).tolist() == pytest.approx([0.8])


def test_a_flat_map_scores_the_flat_level() -> None:
    """√(hidden pixels / pixels), for the paper's wall √(54/224)."""
    wall = Wall.rows(224, 224, 170)
    found = leak(torch.ones(1, 224, 224), wall)
    assert found.item() == pytest.approx(wall.flat_level) == pytest.approx(sqrt(54 / 224))


def test_a_mean_leaves_out_empty_maps() -> None:
    """The mean of 0 and 1, its standard error; of too few maps there is none."""
    maps = torch.zeros(3, 2, 2)
    maps[0, 0, 0] = maps[1, 1, 1] = 1
    wall = Wall.rows(2, 2, 1)
    assert mean_leak(maps, wall) == pytest.approx((0.5, 0.5))
    assert mean_leak(maps[1:], wall) == pytest.approx((1.0, float("nan")), nan_ok=True)
    assert all(map(isnan, mean_leak(maps[2:], wall)))


@pytest.mark.parametrize("network", NETWORKS)
def test_hirescam_leaks_nothing_once_bleed_is_left_out(network: str) -> None:
    """Exactly 0, by both engines; with them, only what the interpolation carries across."""
    model = NETWORKS[network](0)
    batch = images(model, 3)
    for engine in ("camwall", "grad-cam"):
        maps = explain(model, batch, "HiResCAM", engine=engine)  # type: ignore[arg-type]
        assert not is_empty(maps).any()
        assert leak(maps, model.wall, clear_of=model.visible_cells).tolist() == [0.0, 0.0, 0.0]


def test_a_map_visible_to_its_last_row_bleeds() -> None:
    """A map that is 1 on the visible rows and 0 behind them leaks by interpolation alone."""
    wall = Wall.rows(32, 32, 16)
    raw = torch.tensor([1.0, 1.0, 0.0, 0.0]).view(1, 4, 1).expand(1, 4, 4)
    maps = render(raw, (32, 32))
    assert leak(maps, wall).item() > 0.05
    assert leak(maps, wall, clear_of=~wall.cells(4, 4)).item() == 0


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_maps_that_are_not_numbers_are_refused(bad: float) -> None:
    """One clear line instead of a NaN in a mean."""
    maps = torch.zeros(1, *WALL.shape)
    maps[0, 3, 1] = bad
    with pytest.raises(CamwallError, match="NaN or infinite"):
        leak(maps, WALL)


@pytest.mark.parametrize("shape", [(4, 2), (1, 1, 4, 2), (1, 5, 2), (1, 4, 3)])
def test_maps_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    """Their size must be the wall's."""
    with pytest.raises(CamwallError, match=r"shape \[N, 4, 2\]"):
        leak(torch.ones(shape), WALL)
