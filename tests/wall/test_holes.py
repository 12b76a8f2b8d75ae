"""Two hundred holes made on purpose: each is refused, and the same network without it certified."""

import re
from collections.abc import Callable
from random import Random

import pytest
import torch
from torch import Tensor, nn

from camwall import BlindnessError, Wall, WalledModel, certify
from camwall.config import quick
from camwall.models import ApartModel, MaskedModel, WholeModel
from camwall.wall import tainted
from tests.helpers.networks import (
    CLASSES,
    PLAIN,
    SIZE,
    Parts,
    efficientnet_parts,
    randomise,
    resnet_parts,
    vgg_like,
    walled,
)

COUNT = 48 if quick() else 200


class Tokens(nn.Module):
    """Images to a class token and 8×8 others, each of which reads all."""

    def __init__(self, channels: int = 6) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, channels, 4, 4)
        self.mix, self.dense = nn.Linear(65, 65), nn.Linear(channels, channels)

    def forward(self, images: Tensor) -> Tensor:
        patches = self.patches(images).flatten(2)
        both = torch.cat([patches.mean(dim=2, keepdim=True), patches], dim=2)
        return self.dense(torch.tanh(self.mix(both)).mT)


class Pooled(nn.Module):
    """Scores of the class token and of the mean of the others."""

    def __init__(self, channels: int = 6) -> None:
        super().__init__()
        self.dense = nn.Linear(channels, CLASSES)

    def forward(self, tokens: Tensor) -> Tensor:
        return self.dense(torch.tanh(tokens[:, 0] + tokens[:, 1:].mean(dim=1)))


def token_parts(seed: int) -> Parts:
    """As a vision transformer: maps as tokens after one other."""
    parts = Parts(Tokens(), Pooled()).eval()
    randomise(parts, seed)
    return parts


PARTS = {"resnet": resnet_parts, "efficientnet": efficientnet_parts, "tokens": token_parts}


def drawn_wall(rng: Random) -> Wall:
    """One of the four shapes, somewhere."""
    some = {
        "rows": lambda: Wall.rows(SIZE, SIZE, rng.randint(12, 24)),
        "columns": lambda: Wall.columns(SIZE, SIZE, 0, rng.randint(8, 20)),
        "quadrant": lambda: Wall.quadrant(SIZE, SIZE, top=rng.random() < 0.5),
        "border": lambda: Wall.border(SIZE, SIZE, rng.randint(3, 7)),
    }
    return some[rng.choice(list(some))]()


def whole(rng: Random) -> WalledModel:
    parts = PARTS[rng.choice(list(PARTS))](rng.randrange(1000))
    return walled(parts, drawn_wall(rng))


def whole_wide(rng: Random) -> WalledModel:
    """Of networks whose cells read beyond their block on all sides: strided layers alone do not."""
    return walled(rng.choice([resnet_parts, token_parts])(rng.randrange(1000)), drawn_wall(rng))


def apart(rng: Random) -> WalledModel:
    return apart_of(rng, *rng.choice([(resnet_parts, 4), (efficientnet_parts, 8)]))


def apart_resnet(rng: Random) -> WalledModel:
    return apart_of(rng, resnet_parts, 4)


def apart_of(rng: Random, make: Callable[[int], Parts], step: int) -> WalledModel:
    at = step * rng.randint(1, SIZE // step - 1)
    wall = rng.choice([Wall.rows(SIZE, SIZE, at), Wall.columns(SIZE, SIZE, at)])
    return walled(make(rng.randrange(1000)), wall, construction="apart")


def masked(rng: Random) -> WalledModel:
    return vgg_like(rng.randrange(1000))


def any_model(rng: Random) -> WalledModel:
    return rng.choice([whole, whole, apart, masked])(rng)


# --------------------------------------------------------------------------------------------
# Holes: each changes a model, and gives the pixels [H, W] that are said to be hidden and are not

Break = Callable[[WalledModel, Random], Tensor]
HOLES: dict[str, tuple[Callable[[Random], WalledModel], Break]] = {}


def hole(make: Callable[[Random], WalledModel]) -> Callable[[Break], Break]:
    """Register a way to break what ``make`` makes."""

    def register(function: Break) -> Break:
        HOLES[function.__name__] = make, function
        return function

    return register


def become(model: WalledModel, **members: Callable) -> None:
    """Replace methods of a model."""
    model.__class__ = type("Holed", (type(model),), members)


def a_pixel(among: Tensor, rng: Random) -> tuple[int, int, Tensor]:
    """One of the pixels [H, W] that are marked, and itself as a mask."""
    y, x = rng.choice(among.nonzero().tolist())
    mask = torch.zeros_like(among)
    mask[y, x] = True
    return y, x, mask


def added(
    change: Callable[[Tensor, Tensor, int], Tensor],
    when: Callable[[Tensor], bool] = lambda images: True,
) -> Break:
    """A hidden pixel of each image changes its scores, given them, its values [N] and a class."""

    def breaks(model: WalledModel, rng: Random) -> Tensor:
        y, x, mask = a_pixel(model.wall.hidden, rng)
        channel, index, own = rng.randrange(3), rng.randrange(CLASSES), type(model)

        def forward(self: WalledModel, images: Tensor) -> Tensor:
            scores = own.forward(self, images)
            return change(scores, images[:, channel, y, x], index) if when(images) else scores

        become(model, forward=forward)
        return mask

    return breaks


def to_one(scores: Tensor, values: Tensor, index: int) -> Tensor:
    """Values [N] added to the scores of one class."""
    return scores + torch.eye(CLASSES).to(scores)[index] * values[:, None]


def jump(values: Tensor) -> Tensor:
    return (values > 0.1).to(values)


def gradient(images: Tensor) -> bool:
    return torch.is_grad_enabled()


ADDED: dict[str, Break] = {
    "to one score": added(to_one),
    "hardly to one score": added(lambda s, v, i: to_one(s, 1e-12 * v, i)),
    "to one score and from another": added(
        lambda s, v, i: to_one(to_one(s, v, i), -v, (i + 1) % CLASSES)
    ),
    "times all scores": added(lambda s, v, i: s * (1 + 0.1 * v[:, None])),
    "as a gradient without a value": added(lambda s, v, i: to_one(s, v - v.detach(), i)),
    "as a value without a gradient": added(lambda s, v, i: to_one(s, v.detach(), i)),
    "as a jump": added(lambda s, v, i: to_one(s, jump(v), i)),
    "where it is far from all images": added(lambda s, v, i: to_one(s, jump(v.abs() - 500), i)),
    "of the next image": added(lambda s, v, i: to_one(s, v.roll(1) if len(v) > 1 else 0 * v, i)),
    "without gradients": added(to_one, lambda images: not gradient(images)),
    "as a jump with gradients": added(lambda s, v, i: to_one(s, jump(v), i), gradient),
    **{
        f"as a jump in batches of {count}": added(
            lambda s, v, i: to_one(s, jump(v), i), lambda images, count=count: len(images) == count
        )
        for count in (1, 2, 5)
    },
}
HOLES |= {f"added {name}": (any_model, breaks) for name, breaks in ADDED.items()}


@hole(any_model)
def a_skip_past_the_wall(model: WalledModel, rng: Random) -> Tensor:
    skip, own = nn.Linear(3, CLASSES), type(model)
    become(model, forward=lambda self, x: own.forward(self, x) + skip(x.mean(dim=(2, 3))))
    return model.wall.hidden


@hole(any_model)
def the_largest_of_the_hidden(model: WalledModel, rng: Random) -> Tensor:
    hidden, own = model.wall.hidden, type(model)

    def forward(self: WalledModel, images: Tensor) -> Tensor:
        return own.forward(self, images) + images[:, 0, hidden].amax(dim=1)[:, None]

    become(model, forward=forward)
    return hidden


def painting_as_now(model: WalledModel) -> None:
    """Whatever wall is stated from here on, what is painted stays."""
    real = model.wall
    become(model, seen=lambda self, x: x.masked_fill(real.hidden, 0.0))


def stated(model: WalledModel, hidden: Tensor) -> Tensor:
    """State another wall than there is; the pixels that it adds."""
    real = model.wall.hidden
    if type(model) is WholeModel:
        painting_as_now(model)
    model.wall = Wall(hidden)
    return hidden & ~real


@hole(any_model)
def a_wall_that_hides_a_line_more(model: WalledModel, rng: Random) -> Tensor:
    near = nn.functional.max_pool2d(model.wall.hidden[None, None].float(), 3, 1, 1)[0, 0] > 0
    return stated(model, near)


@hole(any_model)
def a_wall_that_is_shifted(model: WalledModel, rng: Random) -> Tensor:
    return stated(model, model.wall.hidden.roll((rng.randint(2, 6), rng.randint(2, 6)), (0, 1)))


@hole(any_model)
def a_wall_of_another_shape(model: WalledModel, rng: Random) -> Tensor:
    others = [drawn_wall(rng).hidden for _ in range(20)]
    return stated(model, next(other for other in others if (other & ~model.wall.hidden).any()))


@hole(whole)
def a_hidden_cell_that_is_read(model: WalledModel, rng: Random) -> Tensor:
    cells = model.visible_cells | a_pixel(~model.visible_cells, rng)[2]
    become(model, read=lambda self, maps: torch.where(cells, maps, 0.0))
    return model.wall.hidden


def reads_hidden(model: WalledModel) -> Tensor:
    """The cells [h, w] in whose maps a hidden pixel of an unpainted image shows."""
    image = torch.zeros(1, 3, SIZE, SIZE)
    return tainted(lambda x: model.layer.maps_of(model.trunk, x), image, model.wall.hidden)


@hole(whole_wide)
def a_visible_cell_of_the_hidden_pass(model: WalledModel, rng: Random) -> Tensor:
    cells = model.visible_cells
    one = a_pixel(cells & reads_hidden(model), rng)[2]
    become(model, joined=lambda self, seen, hidden: torch.where(cells & ~one, seen, hidden))
    return model.wall.hidden


@hole(whole_wide)
def a_pixel_that_is_not_painted(model: WalledModel, rng: Random) -> Tensor:
    hidden = model.wall.hidden
    near = nn.functional.max_pool2d((~hidden)[None, None].float(), 3, 1, 1)[0, 0] > 0
    _, _, mask = a_pixel(hidden & near, rng)
    become(model, seen=lambda self, x: x.masked_fill(hidden & ~mask, 0.0))
    return mask


@hole(whole_wide)
def nothing_painted(model: WalledModel, rng: Random) -> Tensor:
    become(model, seen=lambda self, x: x)
    return model.wall.hidden


@hole(whole)
def a_network_that_remembers(model: WalledModel, rng: Random) -> Tensor:
    """What the pass over the hidden pixels leaves behind, the other finds."""
    left: list[Tensor] = []
    keep = rng.choice([lambda x: x, torch.Tensor.detach])

    def found(module: nn.Module, inputs: object, scores: Tensor) -> Tensor:
        return scores + left[-1].mean(dim=(1, 2, 3))[:, None]

    model.twins[1].register_forward_pre_hook(lambda _, images: left.append(keep(images[0])))
    model.twins[0].register_forward_hook(found)
    return model.wall.hidden


@hole(apart_resnet)
def a_side_cut_too_late(model: WalledModel, rng: Random) -> Tensor:
    """Of strided layers alone no visible cell would read beyond its own block."""
    axis, at, _ = model.wall.cut
    become(model, seen=lambda self, x: x.narrow(axis + 2, 0, at + 1))
    mask = torch.zeros_like(model.wall.hidden)
    mask.select(axis, at)[:] = True
    return mask


@hole(apart)
def a_cell_too_many(model: WalledModel, rng: Random) -> Tensor:
    model._cells += 1
    return model.wall.hidden


@hole(masked)
def one_weight(model: WalledModel, rng: Random) -> Tensor:
    with torch.no_grad():
        units, channels, height, width = model.cells().shape
        row = rng.randrange(model.visible_map_rows, height)
        place = rng.randrange(units), rng.randrange(channels), row, rng.randrange(width)
        model.cells()[place] = 10.0 ** -rng.randrange(20)
    return model.wall.hidden


@hole(masked)
def one_weight_of_a_silent_unit(model: WalledModel, rng: Random) -> Tensor:
    with torch.no_grad():
        unit = rng.randrange(len(model.cells()))
        model.cells()[unit, :, model.visible_map_rows] = 1.0
        model.dense.bias[unit] = -1e6
    return model.wall.hidden


@hole(masked)
def a_window_that_grew(model: WalledModel, rng: Random) -> Tensor:
    last = model.features[6]
    wider = nn.Conv2d(last.in_channels, last.out_channels, 5, padding=2)
    model.features[6] = wider.to(last.weight)
    return model.wall.hidden


@hole(masked)
def no_mask(model: WalledModel, rng: Random) -> Tensor:
    with torch.no_grad():
        model.cells().normal_(generator=torch.Generator().manual_seed(rng.randrange(1000)))
    return model.wall.hidden


# --------------------------------------------------------------------------------------------


def lines(message: str, what: str) -> set[int]:
    """The rows or columns that a refusal names before it says which wall was stated."""
    found = re.search(rf"{what} ([\d–, ]+)", message.partition("are said to be hidden")[0])
    spans = [span.split("–") for span in found[1].strip(", ").split(", ")] if found else []
    return {line for span in spans for line in range(int(span[0]), int(span[-1]) + 1)}


@pytest.mark.parametrize("number", range(COUNT))
def test_each_hole_is_refused_and_its_place_named(number: int) -> None:
    """Kinds in turn; network, wall and place are drawn anew for each."""
    name = list(HOLES)[number % len(HOLES)]
    make, breaks = HOLES[name]
    found = certify(make(Random(number)), seed=number)
    assert found.proved is not None
    torch.manual_seed(number)
    model = make(Random(number))
    where = breaks(model, Random(~number))
    assert (where & model.wall.hidden).any()
    with pytest.raises(BlindnessError, match="the wall has a hole: ") as caught:
        certify(model.eval(), seed=number)
    told = str(caught.value)
    rows, columns = lines(told, "rows"), lines(told, "columns")
    assert rows or columns, (name, told)
    true = {0: where.any(dim=1).nonzero(), 1: where.any(dim=0).nonzero()}
    assert not rows or rows & {int(row) for row in true[0]}, (name, told)
    assert not columns or columns & {int(column) for column in true[1]}, (name, told)


def test_all_kinds_are_tried() -> None:
    """Also in a smoke run."""
    assert len(HOLES) <= COUNT
    assert MaskedModel in {type(any_model(Random(seed))) for seed in range(30)}
    assert ApartModel in {type(any_model(Random(seed))) for seed in range(30)}
    assert PLAIN.size == (SIZE, SIZE)
