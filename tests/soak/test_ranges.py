"""Each argument of a public function is within the range that is documented, or is refused."""

import math
from collections.abc import Callable
from contextlib import suppress
from fractions import Fraction
from random import Random
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import camwall
from camwall import stacks, testing, theory
from camwall.config import quick
from camwall.errors import CamwallError
from camwall.train.recipe import Recipe
from tests.helpers.checks import image_files, small_model, some_images
from tests.helpers.corpus import fault, some_of

INFINITE = [math.nan, math.inf, -math.inf]
NO_NUMBER = [
    None,
    True,
    "a",
    b"3",
    {},
    object(),
    [None],
    ["a"],
    [[1], [1, 2]],
    1j,
    torch.tensor(1j),
]
NO_SCALAR = [*NO_NUMBER, [], (1, 2), torch.ones(2), np.ones(2)]
NO_COUNT = [*NO_SCALAR, *INFINITE, 1.5, 0, -1, 2**70, Fraction(1, 2), "3"]
NO_SIZE = [*NO_COUNT, 10**6]
NO_SEED = [*NO_SCALAR, *INFINITE, 1.5, -1, 2**63, 2**70, "3"]
NO_RADIUS = NO_SEED
NOT_BELOW_0 = [*NO_NUMBER, *INFINITE, -1e-9, -1, [1, -1], [math.nan, 1], np.array([2.0, -2.0])]
ABOVE_0 = [*NOT_BELOW_0, 0, 0.0, [1, 0]]
NO_TEXT = [None, 3, True, 1.5, [], ["same"], {}, b"same", "", "x", object(), np.array("x")]
NO_TENSOR = [None, 3, "a", [], [[1.0]], np.ones((9, 9)), {}, torch.tensor(1.0), torch.ones(0)]
NO_IMAGE = [*NO_TENSOR, torch.ones(9), torch.ones(8, 9), torch.full((9, 9), math.nan)]
NO_IMAGE += [torch.full((9, 9), math.inf), torch.ones(9, 9, dtype=torch.complex64)]
NO_PATH = [None, 3, 1.5, [], {}, object(), "a" * 5000, "a\0b", "nowhere/" * 9, b"\xff"]
NO_OUT = [None, 3, 1.5, [], {}, object(), "/proc/nothing", "a" * 5000, "a\0b", "file"]
NO_WALL = [None, True, 1.5, 0, -1, 224, 2**70, "x", "", [], {}, torch.ones(2, 2), "rows:999"]
NO_WALL += [torch.ones(224, 224, dtype=torch.bool), torch.zeros(9, 9, dtype=torch.bool), object()]

SETTING = theory.Setting(9, 9, 2)
IMAGE = torch.rand(9, 9, generator=torch.Generator().manual_seed(0))
MAPS = torch.rand(2, 4, 7, 7, generator=torch.Generator().manual_seed(1))
CELLS = torch.rand(2, 4, 6, generator=torch.Generator().manual_seed(2))
NO_MAPS = [*NO_TENSOR, torch.ones(7, 7), MAPS[:, :3], MAPS * math.nan, MAPS / 0, MAPS.long()]
NO_CELLS = [*NO_TENSOR, torch.ones(6), CELLS[:, :3], CELLS * math.nan, CELLS / 0, CELLS.bool()]
NO_PLACES = [None, 3, [], [(7, 0)], [(0, -1)], [(0,)], [(0, 0, 0)], [(0.5, 0)], ["ab"], [None]]
LAW = {"filters": 8, "positions": 12, "patch_norm": 1.5, "tau": 0.3}
NO_LAW = {
    "filters": [*NO_NUMBER, *INFINITE, 1.5, 0, -1, 2**70, [8, 0]],
    "positions": [*ABOVE_0, 1],
    "patch_norm": [*NOT_BELOW_0, 1e300, [1, 2, 1e300]],
    "tau": [*ABOVE_0, 1e200],
}
WIDTHS = [
    None,
    5,
    "ab",
    (0,),
    (1.5,),
    (-3,),
    (None,),
    (math.nan,),
    (True,),
    (2**70,),
    [[2], [3, 4]],
]
DRAWN = {"setting": SETTING, "image": IMAGE, "filters": 5, "tau": 0.3, "networks": 7, "seed": 1}
NO_DRAWN = {
    "image": NO_IMAGE,
    "filters": NO_COUNT,
    "tau": [*ABOVE_0, [0.3, 0.3]],
    "networks": NO_COUNT,
    "seed": NO_SEED,
}
MIXTURE = theory.HalfNormalMixture(np.array([1.0, 2.0]), np.array([0.5, 0.4]))
MODEL, IMAGES = small_model(), some_images(2)


def drawn(**given: Any) -> Any:
    return theory.Networks.join(theory.draw_networks(**given)).scores


#: What is called, arguments that are right, and of each such as are not.
FACES: dict[str, tuple[Callable, dict[str, Any], dict[str, list[Any]]]] = {
    "gradcam_mean": (
        theory.gradcam_mean,
        {**LAW, "visible": 3, "head_widths": (4,)},
        {
            **NO_LAW,
            "visible": [*NOT_BELOW_0, 13, 2**70, [3, 13], [1, 2, 3, 4, 99]],
            "head_widths": WIDTHS,
        },
    ),
    "broadcast": (
        theory.gradcam_mean,
        {**LAW, "visible": [1, 2, 3]},
        {name: [[1, 12], np.full((2, 2), 12), np.full((3, 2), 12)] for name in LAW},
    ),
    "gradcam_bound": (
        theory.gradcam_bound,
        {**LAW, "cells": 6},
        {**NO_LAW, "cells": [*NOT_BELOW_0, 25, 2**70]},
    ),
    "gradcam_mean_expansion": (
        theory.gradcam_mean_expansion,
        {"filters": 3},
        {"filters": NO_COUNT},
    ),
    "wide_distance": (theory.wide_distance, {"filters": 3}, {"filters": NO_COUNT}),
    "gradcampp_positive": (
        theory.gradcampp_positive,
        {"filters": 3, "visible": 4},
        {"filters": NO_COUNT, "visible": NO_COUNT},
    ),
    "Setting": (
        theory.Setting,
        {"image_rows": 9, "image_columns": 9, "visible_rows": 2, "kernel": 3, "pool": 2},
        dict.fromkeys(("image_rows", "image_columns"), NO_COUNT)
        | dict.fromkeys(("visible_rows", "kernel", "pool"), NO_SIZE),
    ),
    "patch_norms": (SETTING.patch_norms, {"image": IMAGE}, {"image": NO_IMAGE}),
    "dial_energy": (
        theory.dial_energy,
        {"setting": SETTING, "image": IMAGE, "radius": 1},
        {"image": NO_IMAGE, "radius": NO_RADIUS},
    ),
    "windowed_gradcam": (
        theory.windowed_gradcam,
        {"maps": MAPS, "gradients": MAPS - 0.5, "radius": 1},
        {
            "maps": [*NO_TENSOR, MAPS[0], MAPS.long()],
            "gradients": [*NO_TENSOR, MAPS[:1], MAPS[:, :1], MAPS[..., :1]],
            "radius": NO_RADIUS,
        },
    ),
    "gradcam_spread": (
        theory.gradcam_spread,
        {"maps": MAPS, "cells": CELLS, "tau": 0.3},
        {"maps": NO_MAPS, "cells": NO_CELLS, "tau": [*ABOVE_0, [1, 1]]},
    ),
    "xgradcam_spread": (
        theory.xgradcam_spread,
        {"maps": MAPS, "cells": CELLS, "tau": 0.3},
        {"maps": NO_MAPS, "cells": NO_CELLS, "tau": [*ABOVE_0, [1, 1]]},
    ),
    "ablationcam_cauchy": (
        lambda **given: theory.ablationcam_cauchy(**given)[0],
        {"maps": MAPS, "cells": CELLS},
        {"maps": NO_MAPS, "cells": NO_CELLS},
    ),
    "gaussian_std": (
        theory.gaussian_std,
        {"spread": CELLS[..., 0], "maps": MAPS},
        {"spread": [*NO_TENSOR, CELLS, CELLS[:, :3, 0], CELLS[..., 0] / 0], "maps": NO_MAPS},
    ),
    "cauchy_positive": (
        theory.cauchy_positive,
        {"location": MAPS, "scale": MAPS},
        {
            "location": [None, 3, "a", [], MAPS.long()],
            "scale": [None, 3, "a", -MAPS, MAPS[:, :2]],
        },
    ),
    "predicted_maps": (
        theory.predicted_maps,
        {
            "method": "XGradCAM",
            "maps": MAPS[0],
            "cells": CELLS[0],
            "tau": 0.3,
            "draws": 5,
            "seed": 1,
        },
        {
            "method": [*NO_TEXT, "EigenCAM"],
            "maps": [*NO_MAPS, MAPS],
            "cells": [*NO_CELLS, CELLS],
            "tau": [*ABOVE_0, [1, 1]],
            "draws": NO_COUNT,
            "seed": NO_SEED,
        },
    ),
    "FilterLaw": (
        lambda **given: theory.FilterLaw(**given).mean,
        {"filters": 5, "q": np.array([0.0, 1.0]), "dimension": 9, "tau": 0.3},
        {
            "filters": NO_COUNT,
            "q": [*NOT_BELOW_0, 3, [], np.ones((2, 2))],
            "dimension": NO_COUNT,
            "tau": [*ABOVE_0, [1, 1]],
        },
    ),
    "filter_law": (
        lambda **given: theory.filter_law(theory.xgradcam_spread, **given).mean,
        {
            "setting": SETTING,
            "image": IMAGE,
            "place": (1, 1),
            "filters": 5,
            "tau": 0.3,
            "directions": 8,
        },
        {
            "image": NO_IMAGE,
            "place": [None, 3, (7, 0), (0, -1), (0,), (0, 0, 0), (0.5, 0), "ab"],
            "filters": NO_COUNT,
            "tau": [*ABOVE_0, [1, 1]],
            "directions": [*NO_COUNT, 3, 2**40],
        },
    ),
    "HalfNormalMixture": (
        lambda **given: theory.HalfNormalMixture(**given).mean,
        {"scales": np.array([1.0, 2.0]), "weights": np.array([0.5, 0.5])},
        {
            "scales": [*ABOVE_0, 1.0, [1], [1, 2, 3]],
            "weights": [*NOT_BELOW_0, 1.0, [1], [0.6, 0.6]],
        },
    ),
    "quantile": (MIXTURE.quantile, {"level": 0.7}, {"level": [*NOT_BELOW_0, 1, 1.5]}),
    "sf": (MIXTURE.sf, {"x": 0.7}, {"x": [*NO_NUMBER, math.nan]}),
    "pdf": (MIXTURE.pdf, {"x": 0.7}, {"x": [*NO_NUMBER, math.nan]}),
    "sample": (
        lambda count: MIXTURE.sample(count, np.random.default_rng(0)),
        {"count": 3},
        {"count": [each for each in NO_COUNT if each is not NO_COUNT[-5]]},
    ),
    "draw_networks": (
        drawn,
        {**DRAWN, "head_widths": (3,), "weights": "normal"},
        {**NO_DRAWN, "head_widths": WIDTHS, "weights": NO_TEXT},
    ),
    "simulate_gradcam": (
        theory.simulate_gradcam,
        {**DRAWN, "places": [(0, 0), (3, 4)], "walls": [1, 3]},
        {
            **NO_DRAWN,
            "places": NO_PLACES,
            "walls": [None, 3, [], [0], [4], [1.5], ["a"], [None], [True]],
        },
    ),
    "coverage": (
        theory.coverage,
        {"values": torch.rand(40), "exact": 0.5, "batches": 10},
        {
            "values": [*NO_TENSOR, torch.ones(3), torch.ones(40, 2), torch.full((40,), math.nan)],
            "exact": [*NO_SCALAR, *INFINITE],
            "batches": [*NO_COUNT, 30],
        },
    ),
    "Estimate": (
        lambda draws: theory.Estimate.of(draws).value,
        {"draws": torch.rand(9)},
        {"draws": [*NO_TENSOR, torch.ones(1), torch.ones(2, 2), torch.full((4,), math.nan)]},
    ),
    "prompts": (
        lambda **given: len(stacks.prompts(**given)),
        {"n": 3, "seed": 1, "hidden": "other"},
        {"n": NO_COUNT, "seed": NO_SEED, "hidden": [*NO_TEXT, "none"]},
    ),
    "open": (
        stacks.open,
        {"out": "never", "n": 2, "seed": 1, "hidden": "same", "wall": 112, "stamps": "empty"},
        {
            "out": NO_OUT,
            "n": NO_COUNT,
            "seed": NO_SEED,
            "hidden": NO_TEXT,
            "wall": [*NO_WALL, 20, 200, "border:9", torch.ones(9, 9, dtype=torch.bool)],
            "stamps": [each for each in NO_PATH if each is not None],
        },
    ),
    "mix": (
        stacks.mix,
        {"source": "empty", "out": "never", "n": 2, "seed": 1, "hidden": "same", "wall": 112},
        {"source": NO_PATH, "out": NO_OUT, "n": NO_COUNT, "seed": NO_SEED, "wall": NO_WALL},
    ),
    "gen": (stacks.gen, {"source": "empty", "out": "never"}, {"source": NO_PATH, "out": NO_OUT}),
    "load": (lambda folder: len(stacks.load(folder)), {"folder": "images"}, {"folder": NO_PATH}),
    "load_checkpoint": (camwall.load_checkpoint, {"path": "empty"}, {"path": NO_PATH}),
    "Report.load": (camwall.Report.load, {"folder": "empty"}, {"folder": NO_PATH}),
    "walled_model": (
        lambda seed: testing.walled_model(seed).wall.share,
        {"seed": 1},
        {"seed": NO_SEED},
    ),
    "some_images": (
        lambda **given: testing.some_images(**given),
        {"model": MODEL, "count": 2, "seed": 1},
        {"model": [None, 3, "a", torch.nn.ReLU()], "count": NO_COUNT, "seed": NO_SEED},
    ),
    "assert_blind": (
        testing.assert_blind,
        {"method": "HiResCAM", "model": MODEL},
        {"method": [None, 3, "", "x", [], {}, 1.5], "model": [3, "a", torch.nn.ReLU(), [], {}]},
    ),
    "rows": (
        lambda **given: camwall.Wall.rows(**given).share,
        {"height": 32, "width": 32, "first": 8, "end": 20},
        {
            "height": [*NO_COUNT, 19],
            "width": NO_COUNT,
            "first": [*NO_SEED, 20, 99],
            "end": [each for each in [*NO_COUNT, 8, 33] if each is not None],
        },
    ),
    "quadrant": (
        lambda **given: camwall.Wall.quadrant(**given).share,
        {"height": 32, "width": 32},
        {"height": [*NO_COUNT, 1], "width": [*NO_COUNT, 1]},
    ),
    "border": (
        lambda **given: camwall.Wall.border(**given).share,
        {"height": 32, "width": 32, "thickness": 4},
        {"height": [*NO_COUNT, 8], "width": [*NO_COUNT, 8], "thickness": [*NO_COUNT, 16, 99]},
    ),
    "patches": (
        lambda **given: camwall.Wall.patches(**given).share,
        {"height": 32, "width": 32, "size": 8, "share": 0.5, "seed": 1},
        {
            "height": NO_COUNT,
            "width": NO_COUNT,
            "size": [*NO_COUNT, 32, 99],
            "share": [*NO_SCALAR, *INFINITE, 0, 1, -0.5, 1.5, 1e-9],
            "seed": NO_SEED,
        },
    ),
    "boxes": (
        lambda **given: camwall.Wall.boxes(**given).share,
        {"height": 32, "width": 32, "boxes": [(0, 0, 4, 4)]},
        {
            "boxes": [
                None,
                3,
                [],
                [()],
                [(0, 0, 4)],
                [(0, 0, 4, 4, 4)],
                [(0, 0, 4, 33)],
                ["abcd"],
                [(4, 0, 0, 4)],
                [(0.5, 0, 4, 4)],
                [(0, 0, 32, 32)],
                [(-1, 0, 4, 4)],
                [None],
                "abcd",
            ],
        },
    ),
    "from_json": (
        lambda given: camwall.Wall.from_json(given).share,
        {"given": {"shape": [9, 9], "hidden": [[0, 0, 3, 3]]}},
        {
            "given": [
                None,
                3,
                [],
                {},
                "x",
                {"shape": [9, 9]},
                {"hidden": []},
                {"shape": 9},
                {"shape": [9, 9, 9], "hidden": [[0, 0, 3, 3]]},
                {"shape": [9, 9], "hidden": [True]},
                {"shape": [9, 9], "hidden": [[True, 0, 3, 3]]},
                {"shape": ["9", 9], "hidden": []},
            ],
        },
    ),
    "leak": (
        lambda **given: camwall.leak(**given),
        {"maps": torch.rand(2, 16, 16), "wall": 8},
        {
            "maps": [
                *NO_TENSOR,
                torch.ones(16, 16),
                torch.ones(1, 16, 16, dtype=torch.complex64),
                torch.full((1, 16, 16), math.nan),
                torch.ones(1, 16, 16).to_sparse(),
                torch.ones(1, 16, 16, device="meta"),
                torch.ones(2, 1, 16, 16),
            ],
            "wall": [*NO_WALL, 16],
        },
    ),
    "explain": (
        lambda **given: camwall.explain(MODEL, **given),
        {"images": IMAGES, "method": "GradCAM", "target": 1, "engine": "camwall"},
        {
            "images": [
                *NO_TENSOR,
                IMAGES[0],
                IMAGES[:, :1],
                IMAGES[..., :9],
                IMAGES * math.nan,
                IMAGES.to(torch.complex64),
                IMAGES.bool(),
                IMAGES.to("meta"),
                IMAGES.to_sparse(),
                IMAGES.long(),
                IMAGES / 0,
                IMAGES.half(),
                IMAGES.double(),
                IMAGES[None],
                IMAGES[:0],
            ],
            "method": [None, 3, 1.5, "", "x", [], {}, {"GradCAM"}],
            "target": [4, -1, 1.5, "1", True, [1], [1, 4], torch.ones(2), {}, [None, None], 2**70],
            "engine": NO_TEXT,
        },
    ),
    "build_wall": (
        lambda **given: camwall.build_wall(torch.nn.Sequential(torch.nn.Conv2d(3, 3, 1)), **given),
        {"wall": 8},
        {
            "wall": NO_WALL,
            "layer": [3, "x", "", torch.nn.ReLU(), [], {}, 1.5],
            "construction": NO_TEXT,
            "paint": NO_TEXT,
            "preprocessing": [3, "x", [], {}, object(), {"mean": 3}],
            "visible_cells": [3, "x", [], {}, torch.ones(2, 2), torch.ones(3)],
        },
    ),
    "Preprocessing": (
        lambda **given: camwall.Preprocessing(**given).normalize(torch.ones(3, 16, 16)),
        {"mean": (0.5,) * 3, "std": (0.5,) * 3, "resize": 20, "crop": 16},
        {
            "mean": [None, 3, "abc", (0.5,), [None] * 3, (math.nan,) * 3, ()],
            "std": [None, 3, "abc", (0.5,), [None] * 3, (math.nan,) * 3, (0.0,) * 3, (-1,) * 3],
            "resize": [each for each in NO_COUNT if each is not None],
            "crop": [
                *NO_NUMBER,
                *INFINITE,
                1.5,
                0,
                -1,
                2**70,
                "3",
                (16,),
                (0, 16),
                (16, 16, 16),
                ("a", "b"),
            ],
        },
    ),
    "simple_cnn": (
        lambda **given: camwall.simple_cnn(**given)(torch.rand(1, 1, 12, 12)),
        {"filters": 3, "kernel": 3, "image_size": 12, "visible_rows": 2, "tau": 0.3, "seed": 1}
        | {"pool": 2, "classes": 2},
        dict.fromkeys(("filters", "image_size", "pool", "classes"), NO_COUNT)
        | {"kernel": NO_SIZE, "visible_rows": NO_SIZE, "tau": [*ABOVE_0, [1, 1]], "seed": NO_SEED},
    ),
    "Recipe": (
        lambda **given: Recipe(**given).lr,
        {"epochs": 2, "lr": 0.1, "momentum": 0.5, "crop_area": (0.5, 1.0), "seed": 3},
        {
            "epochs": [each for each in NO_COUNT if type(each) is not int or each < 1],
            "lr": [*NO_SCALAR, *INFINITE, 0, -1],
            "momentum": [*NO_SCALAR, *INFINITE, -1, 1],
            "crop_area": [
                *NO_NUMBER,
                1,
                (0, 1),
                (0.5,),
                (1, 0.5),
                (0.5, 2),
                (math.nan, 1),
                ("a", "b"),
            ],
            "seed": NO_SEED,
        },
    ),
}
#: What needs photographs that are not here has no call that succeeds.
REFUSED_ANYHOW = {"open", "mix", "gen", "load_checkpoint", "Report.load", "build_wall"}


@pytest.fixture
def here(tmp_path, monkeypatch):
    image_files(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "file").write_text("x")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("face", FACES)
def test_what_is_out_of_range_is_refused(face, here, record_property):
    """One argument at a time, the others as they should be; nothing is written."""
    call, right, wrong = FACES[face]
    if face not in REFUSED_ANYHOW:
        found = call(**right)
        values = found if isinstance(found, torch.Tensor | float) else torch.zeros(1)
        assert torch.isfinite(torch.as_tensor(values)).all()
    before = sorted(here.rglob("*"))
    cases = [(name, value) for name, values in wrong.items() for value in values]
    bad = []
    for name, value in (tried := some_of(cases, 25)):
        if said := fault(lambda name=name, value=value: call(**{**right, name: value})):
            bad.append(f"{name}={value!r:.60}: {said}")
    assert not bad, f"{len(bad)} of {len(tried)}:\n" + "\n".join(bad)
    assert sorted(here.rglob("*")) == before
    record_property("arguments out of range", len(tried))


WIDTH = st.integers(1, 10**6) | st.sampled_from([1, 2, 19, 20, 21, 10**9])
SIZE = st.floats(1e-60, 1e60)


@settings(max_examples=50 if quick() else 1000, deadline=None, derandomize=quick())
@given(
    filters=WIDTH,
    positions=st.integers(1, 10**6),
    share=st.floats(0, 1),
    patch_norm=SIZE | st.just(0.0),
    tau=SIZE,
    widths=st.lists(st.integers(1, 10**4), max_size=3),
)
def test_the_law_within_its_ranges_is_a_law(filters, positions, share, patch_norm, tau, widths):
    """Mean, bounds, second moment and probability keep to one another, whatever the sizes."""
    sizes = {"filters": filters, "positions": positions, "patch_norm": patch_norm, "tau": tau}
    sizes |= {"visible": int(share * positions), "head_widths": tuple(widths)}
    logs = (2 + len(widths)) * math.log10(tau) + math.log10(patch_norm or 1)
    if abs(logs) > 130:
        with suppress(CamwallError):
            assert math.isfinite(theory.GradCAMLaw(**sizes).second_moment)
        return
    law = theory.GradCAMLaw(**sizes)
    low, high = law.mean_bounds
    mean, second = law.mean, law.second_moment
    assert all(map(math.isfinite, (mean, second, law.bound)))
    assert 0 <= law.positive <= 0.5
    assert low * (1 - 1e-9) <= mean <= high * (1 + 1e-9)
    assert law.bound <= mean * (1 + 1e-9)
    if second > 1e-290:
        assert mean**2 <= second * law.positive * (1 + 1e-6)  # Cauchy and Schwarz
    dark = int(share * positions) == 0 or patch_norm == 0
    assert (law.positive == 0) == dark
    if dark:
        with pytest.raises(CamwallError, match="above 0"):
            law.distribution()


KINDS = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.uint8, torch.int64]
KINDS += [torch.bool, torch.complex64]


@settings(max_examples=60 if quick() else 1000, deadline=None, derandomize=quick())
@given(data=st.data())
def test_images_of_any_kind_are_explained_as_they_are_or_refused(data):
    """Of any shape, type, layout and values; strides change nothing."""
    rng = Random(data.draw(st.integers(0, 2**32)))
    shape = (2, 3, 16, 16) if data.draw(st.booleans()) else rng.choices([0, 1, 2, 3, 16], k=4)
    shape = list(shape)[: data.draw(st.sampled_from([4, 4, 4, 3, 2]))]
    kind = data.draw(st.sampled_from(KINDS))
    generator = torch.Generator().manual_seed(rng.randrange(2**32))
    images = (4 * torch.rand(shape, generator=generator)).to(kind)
    odd = data.draw(st.sampled_from([None, None, math.nan, math.inf, -math.inf, 1e30]))
    if odd is not None and images.numel() and images.is_floating_point():
        images.view(-1)[rng.randrange(images.numel())] = odd
    if data.draw(st.booleans()) and images.ndim == 4:
        images = images.contiguous(memory_format=torch.channels_last)
    if data.draw(st.booleans()) and images.ndim > 1:
        images = images.transpose(-1, -2)
    try:
        maps = camwall.explain(MODEL, images, data.draw(st.sampled_from(["GradCAM", "HiResCAM"])))
    except CamwallError as error:
        said = str(error)
        right = list(images.shape) == [2, 3, 16, 16] and kind == torch.float32
        assert (said.count("\n"), right and odd is None) == (0, False)
    else:
        assert list(images.shape[1:]) == [3, 16, 16]
        assert images.dtype == torch.float32
        assert torch.isfinite(maps).all()
        assert 0 <= maps.min() <= maps.max() <= 1
