"""Put cut-out animals into a scene, one on each side of the wall, so that they look at home."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter, ImageOps

from camwall.stacks import scenes
from camwall.stacks.design import SIDE, Box
from camwall.stacks.scenes import Array, Random, Scene, mix, to_array, to_image

_LARGEST_ZOOM = 1.6  # stamps are about 200 pixels wide; a larger one would look soft
_WIDEST = 0.88  # of the room's width


@dataclass(frozen=True)
class Placed:
    """An animal at its place."""

    picture: Array  # colours [224, 224, 3] in 0..255
    alpha: Array  # opacity [224, 224] in [0, 1]
    box: Box  # the pixels it takes

    @property
    def outline(self) -> NDArray[np.bool_]:
        """Where it is opaque rather than not: [224, 224]."""
        return self.alpha > 0.5


def cut_out(stamp: Image.Image) -> Image.Image:
    """The stamp as RGBA, its faint fringe made transparent, cropped to the rest."""
    image = stamp.convert("RGBA")
    levels = [max(0, min(255, (a - 48) * 255 // 190)) for a in range(256)]
    alpha = image.getchannel("A").point(levels)
    image.putalpha(alpha)
    return image.crop(alpha.getbbox())


def place(
    stamp: Image.Image, rng: Random, room: Box, mirror: bool, size: float, stands: bool
) -> Placed:
    """Scale a cut-out to a share ``size`` of the largest that fits a room, and put it there.

    One that ``stands`` ends at the room's last row; a mirrored one faces the other way.
    """
    columns, rows = room.right - room.left, room.bottom - room.top
    widest = _WIDEST * columns / stamp.width
    scale = size * min(rows / stamp.height, widest, _LARGEST_ZOOM / size)
    width, height = max(1, round(stamp.width * scale)), max(1, round(stamp.height * scale))
    left = room.left + round((0.5 + rng.uniform(-0.42, 0.42)) * (columns - width))
    free = rows - height
    top = room.top + (free if stands else round(rng.uniform(0, 1) * free))
    return fill(stamp, mirror, Box(left, top, left + width, top + height))


def fill(stamp: Image.Image, mirror: bool, box: Box) -> Placed:
    """Scale a cut-out to a box."""
    left, top, right, bottom = box
    image = ImageOps.mirror(stamp) if mirror else stamp
    # RGBa is premultiplied: the colour of transparent pixels does not bleed in.
    image = image.convert("RGBa").resize((right - left, bottom - top), Image.Resampling.LANCZOS)
    canvas = Image.new("RGBA", (SIDE, SIDE))
    canvas.paste(image.convert("RGBA"), (left, top))
    values = to_array(canvas)
    return Placed(values[..., :3], values[..., 3] / 255.0, box)


def paint(ground: Array, animal: Placed, scene: Scene, rng: Random, side: Box) -> Array:
    """The picture ``ground`` with an animal: in the scene's light, with a shadow and grass.

    No pixel changes but on the animal's side of the wall.
    """
    dark = _shadow(animal, scene.contact)[..., None]
    picture = mix(ground * (1.0 - dark), _lit(ground, animal, scene), _opacity(animal, scene))
    if scene.blades and scene.contact == "stands":
        picture = _behind_grass(picture, animal, scene, rng)
    result = ground.copy()
    left, top, right, bottom = side
    result[top:bottom, left:right] = picture[top:bottom, left:right]
    return result


def _opacity(animal: Placed, scene: Scene) -> Array:
    """The alpha, softened where feet sink into the ground."""
    if scene.contact != "stands":
        return animal.alpha
    bottom = animal.box.bottom
    depth, share = (3.5, 0.7) if scene.blades else (2.0, 0.4)
    return animal.alpha * (1.0 - share * scenes.rows_between(bottom - depth, bottom, SIDE))


def _lit(ground: Array, animal: Placed, scene: Scene) -> Array:
    """The animal's colours under the scene's light, a little nearer to the scene's brightness."""
    # Sums of whole numbers are exact, whatever their order.
    weight = np.rint(255.0 * animal.alpha)
    total = 3.0 * weight.sum() + 1.0
    own = (animal.picture.sum(axis=2) * weight).sum() / total
    around = (np.rint(ground).sum(axis=2) * weight).sum() / total
    gain = 1.0 + 0.12 * np.clip((around - own) / (own + 1.0), -1.0, 1.0)
    colours = animal.picture * gain * np.asarray(scene.light)
    veil, share = scene.haze
    return (1.0 - share) * colours + share * np.asarray(veil, dtype=np.float64)


def _shadow(animal: Placed, contact: str) -> Array:
    """The share of light [224, 224] that the animal keeps from the ground."""
    left, top, right, bottom = animal.box
    mask = to_image(255.0 * animal.alpha)
    if contact == "floats":
        return np.zeros((SIDE, SIDE))
    if contact == "flat":  # seen from above: a shadow beside the animal
        beside = Image.new("L", mask.size)
        beside.paste(mask, (2, 3))
        return 0.55 * to_array(beside.filter(ImageFilter.GaussianBlur(2.2))) / 255.0
    # Standing: the silhouette laid on the ground at its feet, and a darker patch under each foot.
    feet = _feet(animal)
    height = max(4, min(12, (bottom - top) // 9))
    level = sorted(row for _, row in feet)[len(feet) // 2]
    laid = Image.new("L", mask.size)
    flat = mask.crop(animal.box).resize((right - left, height))
    laid.paste(flat, (left, level - (2 * height) // 3))
    touch = np.zeros((SIDE, SIDE))
    for column, row in feet:
        touch[row : row + 2, column] = 255.0
    soft = to_array(laid.filter(ImageFilter.GaussianBlur(2.5))) / 255.0
    return 1.0 - (1.0 - 0.4 * soft) * (1.0 - 0.9 * scenes.blur(touch, 1.4) / 255.0)


def _feet(animal: Placed) -> list[tuple[int, int]]:
    """(column, row) of the lowest opaque pixels, where they are in the animal's lowest quarter."""
    left, top, right, bottom = animal.box
    found = []
    for column in range(max(left, 0), min(right, SIDE)):
        opaque = np.flatnonzero(animal.outline[:, column])
        if len(opaque) and opaque[-1] >= bottom - max(3, (bottom - top) // 4):
            found.append((column, int(opaque[-1])))
    return found


def _behind_grass(picture: Array, animal: Placed, scene: Scene, rng: Random) -> Array:
    """Blades of grass in front of the animal's feet."""
    overlay = Image.new("RGBA", (2 * SIDE, 2 * SIDE))
    reach = min(20.0, 0.2 * (animal.box.bottom - animal.box.top) + 4.0)
    for column, row in _feet(animal):
        rows, columns = (2.0 * row, 2.0 * row + 7.0), (2.0 * column - 5.0, 2.0 * column + 7.0)
        scenes.blades(rng, overlay, rows, columns, 2, (0.5 * reach, reach), scene.blades)
    # Averaged as premultiplied colours, so that thin blades keep theirs.
    small = overlay.convert("RGBa").resize((SIDE, SIDE), Image.Resampling.BOX).convert("RGBA")
    values = to_array(small)
    return mix(picture, values[..., :3], values[..., 3] / 255.0)


def grain(picture: Array, rng: Random) -> Image.Image:
    """Add a camera's noise, the same over animal and scene, and round to 8 bits."""
    # A sum of uniform integers is close to Gaussian and the same on every machine.
    speckle = rng.integers(-4, 5, (3, SIDE, SIDE, 1)).sum(axis=0)
    colour = rng.integers(-2, 3, (SIDE, SIDE, 3))
    return to_image(picture + 0.6 * (speckle + colour))
