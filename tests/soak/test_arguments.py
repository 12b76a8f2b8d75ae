"""Whatever is given at the public face is taken for what it is, or refused in one line."""

import math

import numpy as np
import pytest
import torch

import camwall
from camwall import stacks, testing, train
from camwall.check import check
from camwall.errors import CamwallError
from camwall.train.recipe import Recipe
from camwall.train.shrink import shrink_folder
from tests.helpers.checks import image_files, small_model, some_images

MODEL, IMAGES = small_model(), some_images(2)
JUNK = [None, True, 1.5, math.nan, math.inf, -1, 2**70, "a", b"a", [], {}, [None], object()]
JUNK += [np.ones(3), torch.ones(2, dtype=torch.complex64), torch.tensor(1.5), range(0), {"a"}, ()]


def checked(images=IMAGES, methods=("GradCAM",), **options):
    return check(MODEL, images, methods, progress=False, **options)


REPORT = checked()


def of_model(given):
    return [
        lambda: check(given, IMAGES, progress=False),
        lambda: camwall.explain(given, IMAGES, "GradCAM"),
        lambda: camwall.response(given, IMAGES, "GradCAM"),
        lambda: camwall.certify(given),
        lambda: camwall.build_wall(given, 8),
    ]


def of_images(given):
    calls = [
        lambda: checked(given),
        lambda: camwall.explain(MODEL, given, "GradCAM"),
        lambda: camwall.response(MODEL, given, "GradCAM"),
        lambda: MODEL(given),
    ]
    return calls + [lambda: camwall.certify(MODEL, given)] * (given is not None)


def of_number(given):
    calls = [
        lambda: checked(batch=given),
        lambda: camwall.certify(MODEL, probes=given),
        lambda: camwall.certify(MODEL, repaints=given),
        lambda: camwall.Wall.rows(given, 32, 8),
        lambda: camwall.Wall.patches(32, 32, size=given),
        lambda: stacks.open("never", n=given),
        lambda: shrink_folder(".", "never", size=given),
        lambda: shrink_folder(".", "never", quality=given),
    ]
    targets = [
        lambda: camwall.explain(MODEL, IMAGES, "GradCAM", given),
        lambda: checked(target=given),
    ]
    return calls + targets * (given is not None)


def of_seed(given):
    calls = [
        lambda: camwall.certify(MODEL, seed=given),
        lambda: camwall.Wall.patches(32, 32, 8, seed=given),
        lambda: stacks.open("never", n=2, seed=given),
        lambda: stacks.prompts(2, seed=given),
        lambda: shrink_folder(".", "never", workers=given),
        lambda: Recipe(seed=given),
    ]
    return calls


def of_labels(given):
    return [lambda: checked(labels=given)] * (given is not None)


def of_names(given):
    calls = [
        lambda: camwall.explain(MODEL, IMAGES, given),
        lambda: checked(metrics=given),
        lambda: checked(repaints=given),
        lambda: checked(engine=given),
    ]
    # A path may have any name, and without one nothing is kept.
    return calls + [lambda: checked(run=given)] * (not isinstance(given, str | None))


def of_maps(given):
    return [lambda: camwall.leak(given, MODEL.wall)]


def of_walls(given):
    calls = [lambda: camwall.leak(torch.ones(1, 16, 16), given)]
    return [*calls, lambda: camwall.build_wall(torch.nn.Conv2d(3, 3, 1), given)]


def of_kinds(given):
    """What is of a kind of its own; a folder and a study have a name, annotations are none."""
    calls = [
        lambda: stacks.outlines(given),
        lambda: stacks.generate("never", given, object()),
        lambda: train.fit(given, None),
        lambda: train.fit(testing.walled_model(), given),
        lambda: camwall.response(MODEL, IMAGES, "GradCAM", repaints=given),
        lambda: train.study(given),
    ]
    if not isinstance(given, dict | None):
        calls.append(lambda: checked(annotations=given))
    if not isinstance(given, str):
        calls += [
            lambda: shrink_folder(given, "never", progress=False),
            lambda: shrink_folder(".", given, progress=False),
            lambda: REPORT.save(given, {}),
            lambda: stacks.generate(given, None, None),
        ]
    return calls


FACES = (of_kinds, of_model, of_images, of_number, of_seed, of_labels, of_names, of_maps, of_walls)


@pytest.mark.parametrize("face", FACES, ids=lambda face: face.__name__)
def test_junk_is_refused_in_one_line(face, tmp_path, monkeypatch, record_property):
    """And nothing is written."""
    monkeypatch.chdir(image_files(tmp_path))
    before, bare, count = sorted(tmp_path.rglob("*")), [], 0
    for given in JUNK:
        for number, call in enumerate(face(given)):
            count += 1
            try:
                call()
            except CamwallError as error:
                bare += [(number, repr(given), str(error))] * ("\n" in str(error))
            except Exception as error:
                bare.append((number, repr(given), repr(error)[:90]))
            else:
                bare.append((number, repr(given), "is accepted"))
    assert not bare, "\n".join(map(str, bare))
    assert sorted(tmp_path.rglob("*")) == before
    record_property("junk arguments", count)


def ones_of(model, images, target):
    return torch.ones(len(images), 16, 16)


def test_numbers_of_any_size_have_a_leak_and_a_response():
    """Squares neither overflow nor vanish; powers of two change no bit."""
    ones, level = torch.ones(1, 16, 16), MODEL.wall.flat_level
    for size in (1e300, 1e-300, 5e-324):
        assert float(camwall.leak(ones.double() * size, MODEL.wall)) == pytest.approx(level)
    maps = torch.rand(2, 16, 16)
    leak = camwall.leak(maps, 8)
    for scale in (2.0**60, 2.0**-60):
        assert torch.equal(camwall.leak(maps * scale, 8), leak)

    def large(model, images, target):
        return 1e300 * images.double().mean(dim=1).abs()

    def small(model, images, target):
        return images.double().mean(dim=1).abs()

    def flat(model, images, target):  # which the experiments of a verdict are made on
        return 1e300 * ones_of(model, images, target).double()

    found = checked(methods=[large, small, flat]).table
    assert found["verdict"]["flat"] == checked(methods=[ones_of]).table["verdict"]["ones_of"]
    assert found["response"]["large"] == pytest.approx(found["response"]["small"], rel=1e-12)
    assert found["mean"]["large"] == pytest.approx(found["mean"]["small"], rel=1e-12)
