"""The leak: by hand, on empty maps, with and without the rows that interpolation fills."""

from math import sqrt

import pytest
import torch

from camwall import CamwallError, Wall, explain, leak
from camwall.saliency import is_empty, render
from tests.networks import NETWORKS, images

WALL = Wall(image_rows=4, hidden_rows=2, map_rows=2, visible_map_rows=1)


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


def test_bleed_rows_are_left_out_of_both_norms() -> None:
    """With `bleed=False` the rows that upsampling fills from visible ones count nowhere."""
    assert WALL.bleed_rows == 1  # row 2 reads the map at 0.75: a quarter of the visible row
    maps = torch.tensor([[[3.0], [0.0], [100.0], [4.0]]])
    assert leak(maps, WALL, bleed=False).tolist() == pytest.approx([0.8])


def test_tiny_maps_keep_their_leak() -> None:
    """Values whose squares vanish in float32 still have a direction."""
    maps = torch.tensor([[[3e-30], [0.0], [4e-30], [0.0]]])
    assert leak(maps, WALL).tolist() == pytest.approx([0.8])


def test_a_flat_map_scores_the_flat_level() -> None:
    """√(hidden rows / rows), for the paper's wall √(54/224)."""
    wall = Wall(image_rows=224, hidden_rows=54, map_rows=14, visible_map_rows=5)
    found = leak(torch.ones(1, 224, 224), wall)
    assert found.item() == pytest.approx(wall.flat_level) == pytest.approx(sqrt(54 / 224))


@pytest.mark.parametrize("network", NETWORKS)
def test_hirescam_leaks_nothing_once_bleed_rows_are_left_out(network: str) -> None:
    """Exactly 0, by both engines; with them, only what the interpolation carries across."""
    model = NETWORKS[network](0)
    batch = images(model, 3)
    for engine in ("camwall", "grad-cam"):
        maps = explain(model, batch, "HiResCAM", engine=engine)  # type: ignore[arg-type]
        assert not is_empty(maps).any()
        assert leak(maps, model.wall, bleed=False).tolist() == [0.0, 0.0, 0.0]


def test_a_map_visible_to_its_last_row_bleeds() -> None:
    """A map that is 1 on the visible rows and 0 behind them leaks by interpolation alone."""
    wall = Wall(image_rows=32, hidden_rows=16, map_rows=4, visible_map_rows=2)
    raw = torch.tensor([1.0, 1.0, 0.0, 0.0]).view(1, 4, 1).expand(1, 4, 4)
    maps = render(raw, (32, 32))
    assert leak(maps, wall).item() > 0.05
    assert leak(maps, wall, bleed=False).item() == 0


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_maps_that_are_not_numbers_are_refused(bad: float) -> None:
    """One clear line instead of a NaN in a mean."""
    maps = torch.zeros(1, 4, 2)
    maps[0, 3, 1] = bad
    with pytest.raises(CamwallError, match="NaN or infinite"):
        leak(maps, WALL)


@pytest.mark.parametrize("shape", [(4, 4), (1, 1, 4, 4), (1, 5, 4)])
def test_maps_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    """The rows must be the wall's."""
    with pytest.raises(CamwallError, match=r"shape \[N, 4, W\]"):
        leak(torch.ones(shape), WALL)
