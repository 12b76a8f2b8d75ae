"""The places an animal can stand in: painted backgrounds, each from a random generator alone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from camwall.stacks import texture as tx
from camwall.stacks.texture import CANVAS, Array, Colour, Random


@dataclass(frozen=True)
class Scene:
    """A kind of place: (rng, horizon row on the canvas) -> picture [448, 448, 3] in 0..255.

    An animal ``stands`` on ground seen at a slant, lies ``flat`` on ground seen from above, or
    ``floats``.
    """

    paint: Callable[[Random, float], Array]
    light: Colour = (1.0, 1.0, 1.0)  # that falls on an animal
    contact: str = "stands"
    blades: Sequence[Colour] = ()  # of the grass in front of its feet
    haze: tuple[Colour, float] = ((0.0, 0.0, 0.0), 0.0)  # in front of everything: colour, weight


_GREEN = ((74, 104, 42), (96, 126, 52), (58, 86, 36), (120, 140, 66), (134, 146, 84))
_STRAW = ((176, 150, 92), (150, 124, 70), (196, 172, 112), (128, 110, 62), (112, 108, 60))
_FERN = ((52, 78, 38), (70, 96, 44), (40, 60, 30), (88, 104, 52))
_LEAVES = ((112, 76, 44), (136, 94, 54), (92, 62, 38), (152, 112, 66), (104, 84, 54), (82, 84, 48))
_STONE = ((136, 130, 122), (116, 112, 106), (150, 142, 130), (98, 96, 94), (142, 128, 108))
_SEDGE = ((150, 146, 120), (128, 122, 96), (170, 164, 140))


def _focus(picture: Array, horizon: float, far: float, near: float) -> Array:
    """Blur what lies far behind the animals, as a lens focused on them does."""
    soft = tx.mix(tx.blur(picture, far), tx.blur(picture, near), tx.rows_between(horizon, 230))
    return tx.mix(soft, picture, tx.rows_between(200, 300))


def _lawn(rng: Random, picture: Array, horizon: float, colours: Sequence[Colour], n: int) -> Array:
    image = tx.to_image(picture)
    tx.blades(rng, image, (horizon, CANVAS + 20), (-10, CANVAS + 10), n, (2.0, 26.0), colours)
    return tx.to_array(image)


def _meadow(rng: Random, horizon: float) -> Array:
    picture = tx.sky(rng, (142, 176, 214), (214, 226, 234), (246, 247, 248), rng.uniform(0.2, 0.8))
    picture = tx.ridge(rng, picture, horizon - 6, rng.uniform(30, 70), (122, 142, 128))
    picture = tx.ridge(rng, picture, horizon + 8, rng.uniform(20, 80), (70, 94, 58))
    plane, cover = tx.ground(rng, horizon, (62, 88, 34), (132, 150, 74))
    picture = tx.mix(picture, plane, cover)
    return _focus(_lawn(rng, picture, horizon, _GREEN, 9000), horizon, 9.0, 5.0)


def _savanna(rng: Random, horizon: float) -> Array:
    picture = tx.sky(rng, (168, 190, 208), (228, 220, 200), (240, 234, 222), rng.uniform(0.1, 0.5))
    picture = tx.ridge(rng, picture, horizon - 2, rng.uniform(16, 44), (158, 150, 132))
    picture = tx.ridge(rng, picture, horizon + 6, rng.uniform(10, 60), (112, 106, 66))
    plane, cover = tx.ground(rng, horizon, (132, 104, 60), (206, 178, 122))
    picture = tx.mix(picture, plane, cover)
    return _focus(_lawn(rng, picture, horizon, _STRAW, 6500), horizon, 8.0, 4.5)


def _forest(rng: Random, horizon: float) -> Array:
    shades = tx.noise(rng, (4, 5), 5)
    picture = tx.mix((38, 50, 30), (128, 144, 86), shades)
    picture = tx.mix(picture, (206, 216, 176), 0.7 * tx.smooth(tx.noise(rng, (5, 6), 3), 0.68, 0.9))
    for _ in range(int(rng.integers(5, 10))):
        centre, half = rng.uniform(0, CANVAS), rng.uniform(5, 20)
        bend = 10.0 * (tx.noise(rng, (3, 2), 2)[:, 0] - 0.5)
        across = np.abs(np.arange(CANVAS)[None, :] - centre - bend[:, None]) / half
        bark = np.asarray((66, 56, 44)) * (0.6 + 0.7 * tx.noise(rng, (4, 40), 3))[..., None]
        picture = tx.mix(picture, bark, 0.95 * (1.0 - tx.smooth(across, 0.8, 1.1)))
    # Either a bed of fallen leaves or an undergrowth of moss and fern.
    leaves, ferns = (1500, 1300) if rng.integers(2) else (250, 5500)
    dark, light = (
        ((58, 48, 30), (122, 104, 64)) if leaves > ferns else ((42, 56, 28), (98, 108, 56))
    )
    plane, cover = tx.ground(rng, horizon, dark, light)
    image = tx.to_image(tx.mix(picture, plane, cover))
    tx.pebbles(rng, image, (horizon, CANVAS + 10), leaves, (2.0, 13.0), _LEAVES, 0.45)
    tx.blades(rng, image, (horizon, CANVAS + 20), (-10, CANVAS + 10), ferns, (3, 24), _FERN)
    return _focus(tx.to_array(image), horizon, 8.0, 4.5)


def _shore(rng: Random, horizon: float) -> Array:
    picture = tx.sky(rng, (150, 182, 212), (218, 226, 230), (244, 245, 246), rng.uniform(0.2, 0.8))
    waves = tx.noise(rng, (90, 4), 4)
    sea = tx.mix((74, 112, 130), (150, 180, 190), waves)
    beach = horizon + rng.uniform(40, 80)
    picture = tx.mix(picture, sea, tx.rows_between(horizon - 1.5, horizon + 1.5))
    plane, _ = tx.ground(rng, horizon, (168, 150, 122), (214, 200, 172))
    edge = beach + 22.0 * (tx.noise(rng, (2, 3), 4)[0] - 0.5)
    below = np.arange(CANVAS, dtype=np.float64)[:, None] - edge[None, :]
    wet = tx.mix(plane, (120, 112, 98), 0.55 * (1.0 - tx.smooth(below, 0, 60)))
    picture = tx.mix(picture, (236, 240, 240), tx.smooth(below, -9, -2) * 0.9)
    picture = tx.mix(picture, wet, tx.smooth(below, -2, 5))
    image = tx.to_image(picture)
    tx.pebbles(rng, image, (beach + 25, CANVAS + 10), 160, (0.8, 4.0), _STONE, 0.5)
    return _focus(tx.to_array(image), horizon, 6.0, 3.0)


def _snow(rng: Random, horizon: float) -> Array:
    picture = tx.sky(rng, (166, 184, 206), (220, 226, 232), (238, 240, 243), rng.uniform(0.3, 0.9))
    picture = tx.ridge(rng, picture, horizon - 2, rng.uniform(30, 90), (176, 188, 204))
    picture = tx.ridge(rng, picture, horizon + 6, rng.uniform(10, 50), (112, 124, 132))
    plane, cover = tx.ground(rng, horizon, (186, 198, 218), (244, 246, 250), 1.6)
    drift = tx.mix(plane, (246, 248, 251), 0.6 * tx.noise(rng, (7, 3), 3))
    picture = _lawn(rng, tx.mix(picture, drift, cover), horizon + 40, _SEDGE, 110)
    return _focus(picture, horizon, 7.0, 4.0)


def _rock(rng: Random, horizon: float) -> Array:
    picture = tx.sky(rng, (136, 170, 210), (206, 218, 230), (240, 242, 244), rng.uniform(0.1, 0.6))
    picture = tx.ridge(rng, picture, horizon + 4, rng.uniform(70, 130), (136, 144, 154))
    picture = tx.ridge(rng, picture, horizon + 8, rng.uniform(30, 70), (112, 114, 104))
    plane, cover = tx.ground(rng, horizon, (92, 90, 80), (150, 144, 128))
    image = tx.to_image(tx.mix(picture, plane, cover))
    tx.pebbles(rng, image, (horizon + 4, CANVAS + 16), 900, (2.0, 22.0), _STONE, 0.55, 8)
    tx.blades(rng, image, (horizon, CANVAS + 20), (-10, CANVAS + 10), 900, (2, 15), _GREEN)
    return _focus(tx.to_array(image), horizon, 7.0, 4.0)


def _desert(rng: Random, horizon: float) -> Array:
    picture = tx.sky(rng, (130, 172, 214), (222, 222, 212), (240, 238, 232), rng.uniform(0.0, 0.25))
    picture = tx.ridge(rng, picture, horizon - 2, rng.uniform(20, 60), (206, 170, 122))
    picture = tx.ridge(rng, picture, horizon + 6, rng.uniform(10, 40), (190, 150, 102))
    plane, cover = tx.ground(rng, horizon, (182, 142, 94), (226, 192, 142), 6.0)
    ripples = tx.noise(rng, (60, 5), 3)
    picture = tx.mix(picture, tx.mix(plane, (166, 126, 82), 0.4 * ripples), cover)
    image = tx.to_image(picture)
    tx.pebbles(rng, image, (horizon + 30, CANVAS + 10), 70, (0.8, 4.0), _LEAVES, 0.5)
    return _focus(tx.to_array(image), horizon, 5.0, 2.5)


def _underwater(rng: Random, horizon: float) -> Array:
    picture = tx.mix((84, 176, 196), (10, 62, 104), tx.rows_between(-40, CANVAS))
    slant = np.arange(CANVAS)[None, :] - 0.5 * np.arange(CANVAS)[:, None]
    beams = tx.noise(rng, (2, 14), 3)[0][slant.astype(np.int64) % CANVAS]
    fade = 1.0 - tx.rows_between(0, 330)
    picture = tx.mix(picture, (190, 232, 236), 0.35 * fade * tx.smooth(beams, 0.5, 0.9))
    picture = tx.mix(picture, (40, 120, 140), 0.4 * tx.noise(rng, (4, 4), 4))
    floor = rng.uniform(310, 380)
    plane, _ = tx.ground(rng, floor - 40, (40, 92, 106), (122, 156, 146))
    bank = tx.rows_between(floor - 20, floor + 70) + 0.3 * (tx.noise(rng, (3, 5), 4) - 0.5)
    image = tx.to_image(tx.mix(tx.blur(picture, 4.0), plane, 0.75 * tx.smooth(bank, 0.0, 1.0)))
    tx.pebbles(rng, image, (0, CANVAS), 90, (0.5, 1.4), ((150, 200, 205),), 1.0)
    return tx.blur(tx.to_array(image), 0.8)


def _air(rng: Random, horizon: float) -> Array:
    picture = tx.sky(rng, (84, 136, 194), (190, 212, 230), (246, 247, 249), rng.uniform(0.3, 0.8))
    return tx.blur(picture, 1.5)


def _leaf(rng: Random, horizon: float) -> Array:
    green = bool(rng.integers(2))
    low, high = ((40, 62, 26), (104, 128, 58)) if green else ((62, 48, 32), (120, 98, 70))
    image = tx.to_image(tx.mix(low, high, tx.noise(rng, (8, 8), 6)))
    rows, colours = (-30, CANVAS + 30), _FERN + _GREEN if green else _LEAVES
    tx.pebbles(rng, image, rows, 170, (58.0, 58.0), colours, 1.0, 24)
    picture = tx.mix(
        tx.blur(tx.to_array(image), 5.0),
        tx.mix(low, high, tx.noise(rng, (9, 9), 6)),
        np.full((CANVAS, CANVAS), 0.45),
    )
    return picture * (0.8 + 0.4 * tx.noise(rng, (12, 12), 6))[..., None]


_WATER_LIGHT = (0.86, 1.0, 1.04)
SCENES = {
    "meadow": Scene(_meadow, (1.0, 1.0, 0.96), "stands", _GREEN),
    "savanna": Scene(_savanna, (1.04, 1.0, 0.92), "stands", _STRAW),
    "forest": Scene(_forest, (0.96, 0.98, 0.9), "stands", _FERN),
    "shore": Scene(_shore, (1.0, 1.0, 1.0)),
    "snow": Scene(_snow, (0.98, 1.0, 1.04)),
    "rock": Scene(_rock, (1.0, 1.0, 1.0)),
    "desert": Scene(_desert, (1.04, 1.0, 0.93)),
    "underwater": Scene(_underwater, _WATER_LIGHT, "floats", (), ((40, 122, 146), 0.16)),
    "sky": Scene(_air, (1.0, 1.0, 1.02), "floats"),
    "leaf": Scene(_leaf, (1.0, 1.0, 0.95), "flat"),
}
