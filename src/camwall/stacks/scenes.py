"""The places an animal can stand in: painted backgrounds, each from a random generator alone.

Everything is drawn on a canvas of 448 pixels and shrunk to half at the end. To give the same pixels
on every machine it uses integers drawn from PCG64, Pillow's fixed-point resizing and blurring, and
floating-point sums, products, quotients and square roots, which IEEE 754 rounds in one way;
no exponentials, powers or trigonometric functions, whose last digit differs between libraries.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

CANVAS = 448
Colour = Sequence[float]
Palette = Sequence[Colour]
Array = NDArray[np.float64]
Random = np.random.Generator
Span = tuple[float, float]


def noise(rng: Random, cells: tuple[int, int], octaves: int = 5, size: int = CANVAS) -> Array:
    """Fractal value noise [size, size] in [0, 1], mean about 1/2.

    ``cells`` are the rows and columns of the coarsest grid: few rows and many columns give vertical
    streaks. Each octave has twice the cells of the one before and 0.6 of its amplitude.
    """
    total, weight, amplitude = np.zeros((size, size)), 0.0, 1.0
    for octave in range(octaves):
        rows, columns = (min(size, max(2, c << octave)) for c in cells)
        grid = rng.integers(0, 256, (rows, columns), dtype=np.uint8)
        layer = Image.fromarray(grid).resize((size, size), Image.Resampling.BICUBIC)
        total += amplitude * np.asarray(layer, dtype=np.float64)
        weight += amplitude
        amplitude *= 0.6
    return np.clip((total / (255.0 * weight) - 0.5) * 1.8 + 0.5, 0.0, 1.0)


def smooth(values: Array, low: float, high: float) -> Array:
    """Hermite step: 0 below ``low``, 1 above ``high``, 3t² − 2t³ between."""
    t = np.clip((values - low) / (high - low), 0.0, 1.0)
    return t * t * (3.0 - 2.0 * t)


def mix(first: Array | Colour, second: Array | Colour, weight: Array) -> Array:
    """(1 − weight)·first + weight·second for colours or pictures [S, S, 3] and weights [S, S]."""
    w = weight[..., None]
    return (1.0 - w) * np.asarray(first, dtype=np.float64) + w * np.asarray(second)


def rows_between(top: float, bottom: float, size: int = CANVAS) -> Array:
    """[S, S] that runs from 0 at row ``top`` to 1 at row ``bottom``, clipped."""
    line = np.clip((np.arange(size, dtype=np.float64) - top) / (bottom - top), 0.0, 1.0)
    return np.repeat(line[:, None], size, axis=1)


def to_image(picture: Array) -> Image.Image:
    """Round a picture in 0..255 to an RGB (or grey) image."""
    return Image.fromarray(np.clip(np.rint(picture), 0, 255).astype(np.uint8))


def to_array(image: Image.Image) -> Array:
    """The float64 values of an image."""
    return np.asarray(image, dtype=np.float64)


def blur(picture: Array, radius: float) -> Array:
    """Gaussian blur of a picture in 0..255."""
    return to_array(to_image(picture).filter(ImageFilter.GaussianBlur(radius)))


def sky(rng: Random, top: Colour, bottom: Colour, cloud: Colour, cover: float) -> Array:
    """A graded sky with soft clouds over about the share ``cover`` of it."""
    picture = mix(top, bottom, rows_between(0, CANVAS * 0.7))
    clouds = smooth(noise(rng, (3, 2), 6), 0.75 - 0.5 * cover, 1.05 - 0.3 * cover)
    return mix(picture, cloud, 0.8 * clouds)


def ridge(rng: Random, picture: Array, base: float, height: float, colour: Colour) -> Array:
    """Put a line of hills or trees whose crest lies between rows ``base − height`` and ``base``."""
    crest = base - height * noise(rng, (2, 4), 6)[CANVAS // 2]
    below = np.arange(CANVAS, dtype=np.float64)[:, None] - crest[None, :]
    texture = 0.8 + 0.4 * noise(rng, (20, 20), 3)
    return mix(picture, np.asarray(colour) * texture[..., None], smooth(below, -1.5, 1.5))


def ground(
    rng: Random, horizon: float, dark: Colour, light: Colour, stretch: float = 3.0
) -> tuple[Array, Array]:
    """A textured plane seen at a slant: (picture [S, S, 3], weight [S, S] of the rows it covers).

    The texture is sampled at depth 1 / (rows below the horizon), so that its grain grows towards
    the viewer; ``stretch`` is how much wider than high the grain looks.
    """
    size = 1024
    plane = noise(rng, (24, 24), 6, size)
    rows = np.arange(CANVAS, dtype=np.float64)
    depth = np.maximum(rows - horizon, 1.0) / (CANVAS - horizon)
    v = (320.0 * stretch / (depth + 0.35)).astype(np.int64) % size
    columns = np.arange(CANVAS, dtype=np.float64) - CANVAS / 2
    u = (columns[None, :] / (0.45 + depth[:, None]) + size / 2).astype(np.int64) % size
    grain = plane[v[:, None], u]
    # Far away the grain averages out.
    grain = 0.5 + (grain - 0.5) * (0.35 + 0.65 * depth[:, None])
    weight = np.repeat(smooth(rows, horizon - 2, horizon + 2)[:, None], CANVAS, axis=1)
    return mix(dark, light, grain), weight


def direction(rng: Random) -> tuple[float, float]:
    """A point of the unit circle, by the rational parametrisation (no sine needed)."""
    t = float(rng.integers(-1000, 1001)) / 1000.0
    sign = 1.0 if rng.integers(2) else -1.0
    scale = 1.0 + t * t
    return sign * (1.0 - t * t) / scale, 2.0 * t / scale


def shade(rng: Random, colours: Palette, spread: int = 18) -> tuple[int, int, int]:
    """One of ``colours``, made lighter or darker by up to ``spread``."""
    base, change = colours[int(rng.integers(len(colours)))], int(rng.integers(-spread, spread + 1))
    red, green, blue = (int(min(255, max(0, c + change))) for c in base)
    return red, green, blue


def blades(
    rng: Random,
    image: Image.Image,
    rows: Span,
    columns: Span,
    number: int,
    length: Span,
    colours: Palette,
) -> None:
    """Draw ``number`` blades of grass rooted in a rectangle, the farthest first, longer below."""
    draw = ImageDraw.Draw(image)
    low, high = rows
    for root in np.sort(rng.uniform(low, high, number)):
        near = (root - low) / max(high - low, 1.0)
        reach = (length[0] + (length[1] - length[0]) * near) * rng.uniform(0.5, 1.3)
        x, lean = rng.uniform(*columns), rng.uniform(-0.45, 0.45)
        middle = (x + 0.35 * lean * reach, root - 0.6 * reach)
        points = [(x, root), middle, (x + lean * reach, root - reach)]
        draw.line(points, fill=shade(rng, colours), width=1 + int(near > 0.55))


def pebbles(
    rng: Random,
    picture: Array,
    rows: Span,
    number: int,
    radius: Span,
    colours: Palette,
    flat: float = 0.55,
    sides: int = 8,
) -> Array:
    """Draw ``number`` shaded lumps (stones, leaves) in a band of rows, larger further down."""
    image = to_image(picture)
    draw = ImageDraw.Draw(image)
    low, high = rows
    for y in np.sort(rng.uniform(low, high, number)):
        near = (y - low) / max(high - low, 1.0)
        size = (radius[0] + (radius[1] - radius[0]) * near) * rng.uniform(0.4, 1.2)
        x, colour = rng.uniform(0, CANVAS), shade(rng, colours, 26)
        long, (c, s) = rng.uniform(1.0, 1.9), direction(rng)
        corners = sorted_corners(rng, sides)
        for shift, scale, gain in ((0.16, 1.06, 0.45), (0.0, 1.0, 0.85), (-0.14, 0.72, 1.08)):
            outline = []
            for a, b in corners:
                px, py = size * scale * long * a, size * scale * b
                outline.append((x + c * px - s * py, y + flat * (s * px + c * py) + shift * size))
            draw.polygon(outline, fill=tuple(min(255, int(v * gain)) for v in colour))
    return to_array(image)


def sorted_corners(rng: Random, sides: int) -> list[tuple[float, float]]:
    """Corners of a random, roughly round polygon of about unit radius, in order around it.

    A quarter of the ``sides``, rounded down, lies in each quarter of it.
    """
    corners = []
    for quarter in range(4):
        for t in np.sort(rng.uniform(0, 1, max(1, sides // 4))):
            a, b = (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)
            for _ in range(quarter):
                a, b = -b, a
            reach = rng.uniform(0.75, 1.1)
            corners.append((a * reach, b * reach))
    return corners


@dataclass(frozen=True)
class Scene:
    """A kind of place: (rng, horizon row on the canvas) -> picture [448, 448, 3] in 0..255.

    An animal ``stands`` on ground seen at a slant, lies ``flat`` on ground seen from above, or
    ``floats``.
    """

    paint: Callable[[Random, float], Array]
    light: Colour = (1.0, 1.0, 1.0)  # that falls on an animal
    contact: str = "stands"
    blades: Palette = ()  # of the grass in front of its feet
    haze: tuple[Colour, float] = ((0.0, 0.0, 0.0), 0.0)  # in front of everything: colour, weight


_TALL = (2.0, 26.0)  # grass at the horizon and near by
_GREEN = ((74, 104, 42), (96, 126, 52), (58, 86, 36), (120, 140, 66), (134, 146, 84))
_STRAW = ((176, 150, 92), (150, 124, 70), (196, 172, 112), (128, 110, 62), (112, 108, 60))
_FERN = ((52, 78, 38), (70, 96, 44), (40, 60, 30), (88, 104, 52))
_LEAVES = ((112, 76, 44), (136, 94, 54), (92, 62, 38), (152, 112, 66), (104, 84, 54), (82, 84, 48))
_STONE = ((136, 130, 122), (116, 112, 106), (150, 142, 130), (98, 96, 94), (142, 128, 108))
_SEDGE = ((150, 146, 120), (128, 122, 96), (170, 164, 140))


def _focus(picture: Array, horizon: float, far: float, near: float) -> Array:
    """Blur what lies far behind the animals, as a lens focused on them does."""
    soft = mix(blur(picture, far), blur(picture, near), rows_between(horizon, 230))
    return mix(soft, picture, rows_between(200, 300))


def _lawn(
    rng: Random, picture: Array, horizon: float, colours: Palette, number: int, length: Span = _TALL
) -> Array:
    image = to_image(picture)
    blades(rng, image, (horizon, CANVAS + 20), (-10, CANVAS + 10), number, length, colours)
    return to_array(image)


def _meadow(rng: Random, horizon: float) -> Array:
    picture = sky(rng, (142, 176, 214), (214, 226, 234), (246, 247, 248), rng.uniform(0.2, 0.8))
    picture = ridge(rng, picture, horizon - 6, rng.uniform(30, 70), (122, 142, 128))
    picture = ridge(rng, picture, horizon + 8, rng.uniform(20, 80), (70, 94, 58))
    plane, cover = ground(rng, horizon, (62, 88, 34), (132, 150, 74))
    picture = mix(picture, plane, cover)
    return _focus(_lawn(rng, picture, horizon, _GREEN, 9000), horizon, 9.0, 5.0)


def _savanna(rng: Random, horizon: float) -> Array:
    picture = sky(rng, (168, 190, 208), (228, 220, 200), (240, 234, 222), rng.uniform(0.1, 0.5))
    picture = ridge(rng, picture, horizon - 2, rng.uniform(16, 44), (158, 150, 132))
    picture = ridge(rng, picture, horizon + 6, rng.uniform(10, 60), (112, 106, 66))
    plane, cover = ground(rng, horizon, (132, 104, 60), (206, 178, 122))
    picture = mix(picture, plane, cover)
    return _focus(_lawn(rng, picture, horizon, _STRAW, 6500), horizon, 8.0, 4.5)


def _forest(rng: Random, horizon: float) -> Array:
    shades = noise(rng, (4, 5), 5)
    picture = mix((38, 50, 30), (128, 144, 86), shades)
    picture = mix(picture, (206, 216, 176), 0.7 * smooth(noise(rng, (5, 6), 3), 0.68, 0.9))
    for _ in range(int(rng.integers(5, 10))):
        centre, half = rng.uniform(0, CANVAS), rng.uniform(5, 20)
        bend = 10.0 * (noise(rng, (3, 2), 2)[:, 0] - 0.5)
        across = np.abs(np.arange(CANVAS)[None, :] - centre - bend[:, None]) / half
        bark = np.asarray((66, 56, 44)) * (0.6 + 0.7 * noise(rng, (4, 40), 3))[..., None]
        picture = mix(picture, bark, 0.95 * (1.0 - smooth(across, 0.8, 1.1)))
    # Either a bed of fallen leaves or an undergrowth of moss and fern.
    leaves, ferns = (1500, 1300) if rng.integers(2) else (250, 5500)
    dark, light = (
        ((58, 48, 30), (122, 104, 64)) if leaves > ferns else ((42, 56, 28), (98, 108, 56))
    )
    plane, cover = ground(rng, horizon, dark, light)
    picture, rows = mix(picture, plane, cover), (horizon, CANVAS + 10)
    picture = pebbles(rng, picture, rows, leaves, (2.0, 13.0), _LEAVES, 0.45)
    return _focus(_lawn(rng, picture, horizon, _FERN, ferns, (3, 24)), horizon, 8.0, 4.5)


def _shore(rng: Random, horizon: float) -> Array:
    picture = sky(rng, (150, 182, 212), (218, 226, 230), (244, 245, 246), rng.uniform(0.2, 0.8))
    waves = noise(rng, (90, 4), 4)
    sea = mix((74, 112, 130), (150, 180, 190), waves)
    beach = horizon + rng.uniform(40, 80)
    picture = mix(picture, sea, rows_between(horizon - 1.5, horizon + 1.5))
    plane, _ = ground(rng, horizon, (168, 150, 122), (214, 200, 172))
    edge = beach + 22.0 * (noise(rng, (2, 3), 4)[0] - 0.5)
    below = np.arange(CANVAS, dtype=np.float64)[:, None] - edge[None, :]
    wet = mix(plane, (120, 112, 98), 0.55 * (1.0 - smooth(below, 0, 60)))
    picture = mix(picture, (236, 240, 240), smooth(below, -9, -2) * 0.9)
    picture = mix(picture, wet, smooth(below, -2, 5))
    picture = pebbles(rng, picture, (beach + 25, CANVAS + 10), 160, (0.8, 4.0), _STONE, 0.5)
    return _focus(picture, horizon, 6.0, 3.0)


def _snow(rng: Random, horizon: float) -> Array:
    picture = sky(rng, (166, 184, 206), (220, 226, 232), (238, 240, 243), rng.uniform(0.3, 0.9))
    picture = ridge(rng, picture, horizon - 2, rng.uniform(30, 90), (176, 188, 204))
    picture = ridge(rng, picture, horizon + 6, rng.uniform(10, 50), (112, 124, 132))
    plane, cover = ground(rng, horizon, (186, 198, 218), (244, 246, 250), 1.6)
    drift = mix(plane, (246, 248, 251), 0.6 * noise(rng, (7, 3), 3))
    picture = _lawn(rng, mix(picture, drift, cover), horizon + 40, _SEDGE, 110)
    return _focus(picture, horizon, 7.0, 4.0)


def _rock(rng: Random, horizon: float) -> Array:
    picture = sky(rng, (136, 170, 210), (206, 218, 230), (240, 242, 244), rng.uniform(0.1, 0.6))
    picture = ridge(rng, picture, horizon + 4, rng.uniform(70, 130), (136, 144, 154))
    picture = ridge(rng, picture, horizon + 8, rng.uniform(30, 70), (112, 114, 104))
    plane, cover = ground(rng, horizon, (92, 90, 80), (150, 144, 128))
    picture, rows = mix(picture, plane, cover), (horizon + 4, CANVAS + 16)
    picture = pebbles(rng, picture, rows, 900, (2.0, 22.0), _STONE, 0.55)
    return _focus(_lawn(rng, picture, horizon, _GREEN, 900, (2, 15)), horizon, 7.0, 4.0)


def _desert(rng: Random, horizon: float) -> Array:
    picture = sky(rng, (130, 172, 214), (222, 222, 212), (240, 238, 232), rng.uniform(0.0, 0.25))
    picture = ridge(rng, picture, horizon - 2, rng.uniform(20, 60), (206, 170, 122))
    picture = ridge(rng, picture, horizon + 6, rng.uniform(10, 40), (190, 150, 102))
    plane, cover = ground(rng, horizon, (182, 142, 94), (226, 192, 142), 6.0)
    ripples = noise(rng, (60, 5), 3)
    picture = mix(picture, mix(plane, (166, 126, 82), 0.4 * ripples), cover)
    picture = pebbles(rng, picture, (horizon + 30, CANVAS + 10), 70, (0.8, 4.0), _LEAVES, 0.5)
    return _focus(picture, horizon, 5.0, 2.5)


def _underwater(rng: Random, horizon: float) -> Array:
    picture = mix((84, 176, 196), (10, 62, 104), rows_between(-40, CANVAS))
    slant = np.arange(CANVAS)[None, :] - 0.5 * np.arange(CANVAS)[:, None]
    beams = noise(rng, (2, 14), 3)[0][slant.astype(np.int64) % CANVAS]
    fade = 1.0 - rows_between(0, 330)
    picture = mix(picture, (190, 232, 236), 0.35 * fade * smooth(beams, 0.5, 0.9))
    picture = mix(picture, (40, 120, 140), 0.4 * noise(rng, (4, 4), 4))
    floor = rng.uniform(310, 380)
    plane, _ = ground(rng, floor - 40, (40, 92, 106), (122, 156, 146))
    bank = rows_between(floor - 20, floor + 70) + 0.3 * (noise(rng, (3, 5), 4) - 0.5)
    picture = mix(blur(picture, 4.0), plane, 0.75 * smooth(bank, 0.0, 1.0))
    motes = pebbles(rng, picture, (0, CANVAS), 90, (0.5, 1.4), ((150, 200, 205),), 1.0)
    return blur(motes, 0.8)


def _air(rng: Random, horizon: float) -> Array:
    picture = sky(rng, (84, 136, 194), (190, 212, 230), (246, 247, 249), rng.uniform(0.3, 0.8))
    return blur(picture, 1.5)


def _leaf(rng: Random, horizon: float) -> Array:
    green = bool(rng.integers(2))
    low, high = ((40, 62, 26), (104, 128, 58)) if green else ((62, 48, 32), (120, 98, 70))
    picture = mix(low, high, noise(rng, (8, 8), 6))
    rows, colours = (-30, CANVAS + 30), _FERN + _GREEN if green else _LEAVES
    picture = blur(pebbles(rng, picture, rows, 170, (58.0, 58.0), colours, 1.0, 24), 5.0)
    picture = mix(picture, mix(low, high, noise(rng, (9, 9), 6)), np.full((1, 1), 0.45))
    return picture * (0.8 + 0.4 * noise(rng, (12, 12), 6))[..., None]


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
