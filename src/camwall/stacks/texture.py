"""Procedural painting: noise, ground planes, strokes and pebbles, on a canvas of 448 pixels.

Everything is drawn at twice the size and shrunk at the end. To give the same pixels on every
machine it uses integers drawn from PCG64, Pillow's fixed-point resizing and blurring, and
floating-point sums, products, quotients and square roots, which IEEE 754 rounds in one way;
no exponentials, powers or trigonometric functions, whose last digit differs between libraries.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

CANVAS = 448
Colour = Sequence[float]
Array = NDArray[np.float64]
Random = np.random.Generator


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


def shade(rng: Random, colours: Sequence[Colour], spread: int = 18) -> tuple[int, int, int]:
    """One of ``colours``, made lighter or darker by up to ``spread``."""
    base, change = colours[int(rng.integers(len(colours)))], int(rng.integers(-spread, spread + 1))
    red, green, blue = (int(min(255, max(0, c + change))) for c in base)
    return red, green, blue


def blades(
    rng: Random,
    image: Image.Image,
    rows: tuple[float, float],
    columns: tuple[float, float],
    number: int,
    length: tuple[float, float],
    colours: Sequence[Colour],
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
    image: Image.Image,
    rows: tuple[float, float],
    number: int,
    radius: tuple[float, float],
    colours: Sequence[Colour],
    flat: float = 0.55,
    sides: int = 9,
) -> None:
    """Draw ``number`` shaded lumps (stones, leaves) in a band of rows, larger further down."""
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


def sorted_corners(rng: Random, sides: int) -> list[tuple[float, float]]:
    """Corners of a random, roughly round polygon of about unit radius, in order around it."""
    corners = []
    for quarter in range(4):
        for t in np.sort(rng.uniform(0, 1, max(1, sides // 4))):
            a, b = (1 - t * t) / (1 + t * t), 2 * t / (1 + t * t)
            for _ in range(quarter):
                a, b = -b, a
            reach = rng.uniform(0.75, 1.1)
            corners.append((a * reach, b * reach))
    return corners
