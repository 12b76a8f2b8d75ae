"""The audit: oracles by hand, our engine on every case, the table, and what reproducers print."""

from copy import deepcopy
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from camwall import METHODS, CamwallError
from camwall.audit import oracles
from camwall.audit.cases import Chain, cases
from camwall.audit.compare import rows, summary
from camwall.audit.implementations import Implementation, implementations, ours
from camwall.audit.record import reproduce, reproducers
from camwall.runs import recorded
from tests.methods.test_hand import EXPECTED, IMAGE, WEIGHTS, network

CASES = {case.name: case for case in cases()}


@pytest.mark.parametrize("method", EXPECTED)
def test_equations_by_hand(method: str) -> None:
    """The oracles give the maps worked out on paper, as the engine does."""
    found = oracles.ORACLES[method](network(), IMAGE[None].double(), 0)
    np.testing.assert_allclose(np.maximum(found, 0), EXPECTED[method], atol=1e-7)


def chain() -> Chain:
    """The network of the hand-computed maps, as a chain of layers: B₁ = ReLU(x), B₂ = ReLU(−x)."""
    copies, dense = nn.Conv2d(1, 2, 1, bias=False), nn.Linear(8, 2)
    with torch.no_grad():
        copies.weight.copy_(torch.tensor([1.0, -1.0]).view(2, 1, 1, 1))
        dense.weight.copy_(torch.stack([WEIGHTS.flatten(), torch.zeros(8)]))
        dense.bias.copy_(torch.tensor([8.0, 0.0]))
    return Chain(copies, nn.ReLU(), nn.Sequential(nn.Flatten(), dense)).double()


#: Pixels 1 and −2 in the row that is read: 2·1 by B₁, −3·2 by B₂, whose weight is negative.
PIXELS = {
    "guided backpropagation": [[2.0, 0.0], [0.0, 0.0]],
    "LRP-ε": [[2.0, -6.0], [0.0, 0.0]],
    "integrated gradients": [[2.0, -6.0], [0.0, 0.0]],
}


@pytest.mark.parametrize("method", PIXELS)
def test_equations_of_pixels_by_hand(method: str) -> None:
    """What each pixel gets of a score that is a sum of two ReLUs."""
    found = oracles.EQUATIONS[method](chain(), IMAGE[None].double(), 0)
    np.testing.assert_allclose(found[0], PIXELS[method], atol=1e-7)


#: Opti-CAM asks a network how its images are made: its oracle is tested on networks that say so.
OURS = [name for name, m in METHODS.items() if m.raw is not None and name != "Opti-CAM"]


@pytest.mark.parametrize("method", OURS)
def test_our_engine_equals_the_oracles_on_every_case(method: str) -> None:
    """In double precision, to 10⁻⁸ of the map's scale; one cell has no wall, and no map of ours."""
    engine = Implementation(method, "camwall", method, partial(ours, method))
    for name, case in CASES.items():
        double, image = deepcopy(case.network).double(), case.image.double()
        if case.other is None:
            with pytest.raises(CamwallError, match="the wall row"):
                engine(double, image)
            continue
        expected = np.maximum(oracles.ORACLES[method](double, image, 0), 0)
        raw = engine(double, image).numpy()
        np.testing.assert_allclose(raw, expected, rtol=0, atol=1e-8 * expected.max(), err_msg=name)


def test_what_is_wrong_is_seen() -> None:
    """GradCAM read through the wrong gradient is another map, that of a blind method moves."""

    def wrong(network: Chain, images: Tensor) -> Tensor:
        return network.features(images)[0].sum(dim=0)

    asked = [
        Implementation("HiResCAM", "camwall", "wrong", wrong),
        Implementation("HiResCAM", "camwall", "HiResCAM", partial(ours, "HiResCAM")),
        Implementation("HiResCAM", "no-such-package", "HiResCAM", wrong),
    ]
    table = pd.DataFrame(rows(asked, [CASES["generic"]]))
    assert table["note"].tolist()[2] == "not installed: pip install no-such-package"
    found = summary(table).droplevel(["method", "package"])
    assert found["sees"].to_dict() == {"wrong": True, "HiResCAM": False}
    assert not found["equation sees"].any()
    assert found["difference"]["wrong"] > 0.1
    assert found["difference"]["HiResCAM"] < 1e-6


def test_the_record_is_what_the_packages_give() -> None:
    """Of those installed, on two cases: what is recorded, to 10⁻³."""
    keys = ["method", "package", "version", "name", "case"]
    asked = [each for each in implementations() if each.version]
    table = pd.DataFrame(rows(asked, [CASES[name] for name in ("generic", "network 0")]))
    both = table.merge(pd.read_csv(recorded("audit/table.csv")), on=keys, suffixes=("", " then"))
    assert len(both) == len(table)
    for column in ("difference", "response"):
        apart = (both[column] - both[f"{column} then"]).abs().fillna(0)
        assert (apart <= 1e-3).all(), both[apart > 1e-3]


@pytest.mark.parametrize("name", reproducers())
def test_a_reproducer_prints_what_the_chapter_shows(name: str) -> None:
    """Each figure of the chapter comes from a script that needs one package alone."""
    record = pd.read_csv(recorded("audit/reproducers.csv"), index_col="name")["printed"]
    try:
        assert reproduce(name) == record[name]
    except CamwallError as missing:
        pytest.skip(str(missing))
