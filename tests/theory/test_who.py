"""What the chapter on the mechanisms rests on, beside the register: two methods, two summaries."""

from dataclasses import replace

import pandas as pd
import pytest
import torch
from torch import nn

import camwall
from camwall.audit.mechanisms import agreement, summary
from camwall.check import VERDICTS
from camwall.methods import render
from camwall.models import Preprocessing, simple_cnn
from tests.helpers.networks import Parts, walled

IMAGES = torch.rand(3, 1, 12, 12, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize(("name", "sees"), [("GradCAM", False), ("XGradCAM", True)])
def test_a_map_cut_at_the_wall_can_still_move_with_what_is_hidden(name, sees):
    """Leak 0, and a response where the weights divide by a sum over hidden positions."""
    model, method = simple_cnn(8, 3, 12, 2, 0.3), camwall.METHODS[name]
    cut = replace(method, raw=lambda shared: method.raw(shared) * shared.model.visible_cells)
    maps = camwall.explain(model, IMAGES, cut).detach()
    assert maps.any()
    assert not camwall.leak(maps, model.wall, clear_of=model.visible_cells).any()
    assert bool((camwall.response(model, IMAGES, cut) > 0).any()) == sees


def test_shapleycam_subtracts_half_the_second_derivative():
    """On a head that curves its weight is the mean of G − ½ (∂G/∂B)·B; with a plus it is not."""
    generator = torch.Generator().manual_seed(1)
    features = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.ReLU())
    head = nn.Sequential(nn.Flatten(), nn.Linear(4 * 12 * 12, 6), nn.Tanh(), nn.Linear(6, 2))
    for parameter in nn.ModuleList([features, head]).parameters():
        nn.init.normal_(parameter, std=0.2, generator=generator)
    model = walled(Parts(features, head, Preprocessing((0.0,), (1.0,), None, 12)), 6)
    found = camwall.explain(model, IMAGES, "ShapleyCAM", target=0, engine="grad-cam")
    maps = model.features(IMAGES).detach().requires_grad_()
    (g,) = torch.autograd.grad(model.head(maps)[:, 0].sum(), maps, create_graph=True)
    (curved,) = torch.autograd.grad((g * maps.detach()).sum(), maps)

    def shown(sign: int) -> torch.Tensor:
        weights = (g + sign / 2 * curved).mean((2, 3), keepdim=True)
        return render((weights * maps).sum(1).detach(), (12, 12))

    assert found.flatten(1).any(dim=1).all()
    torch.testing.assert_close(found, shown(-1), rtol=0, atol=1e-4)
    assert (found - shown(1)).abs().max() > 0.01


def test_summary_by_hand():
    """Verdicts from the largest leak and response; empty maps have no part in the mean leak.

    The records come in two reports, as of two networks.
    """
    names = ("AblationCAM", "AblationCAM (absolute)", "GradCAM", "XGradCAM")  # of one mechanism
    records = pd.DataFrame(
        [
            (0, 0.0, 0.0, False),
            (1, 0.2, 0.0, False),
            (1, 0.4, 0.0, False),
            (2, 0.5, 0.1, False),
            (2, 0.0, 0.3, True),
            (3, 0.0, 2.0, False),
        ],
        columns=["method", "leak_clear", "response", "empty"],
    ).assign(group="image", leak=lambda rows: rows["leak_clear"])
    records["method"] = [names[number] for number in records["method"]]
    wall = camwall.Wall.rows(4, 4, 2)
    reports = [camwall.Report(part, wall, names, 0.5, {}) for part in (records[:4], records[4:])]
    found = summary(reports).loc["one signed weight a channel"]
    words = ["blind", "points there without looking", "sees through", "changes elsewhere"]
    assert found["verdict"].tolist() == words
    assert set(words) <= set(VERDICTS)
    assert found["mean leak, %"].tolist() == pytest.approx([0, 30, 50, 0])
    assert found["largest leak, %"].tolist() == pytest.approx([0, 40, 50, 0])
    assert found["median response, %"].tolist() == pytest.approx([0, 0, 20, 200])
    assert found["largest response, %"].tolist() == pytest.approx([0, 0, 30, 200])
    assert found["empty maps"].tolist() == [0, 0, 1, 0]


def test_agreement_by_hand():
    """Two trunks of two methods: predicted right between the trunks, the wrong way within them."""
    rows = pd.DataFrame(
        {
            "trunk": [0, 0, 1, 1],
            "predicted": [0.1, 0.2, 0.5, 0.6],
            "measured": [0.2, 0.1, 0.6, 0.5],
            "own": [0.15, 0.15, 0.55, 0.55],
            "se": [0.05, 0.05, 0.02, 0.08],
        }
    )
    found = agreement(rows)
    assert found["correlation"] == pytest.approx((0.16 - 0.01) / (0.16 + 0.01))
    assert found["correlation within"] == pytest.approx(-1)
    assert found["correlation own"] == pytest.approx(0.4 / (0.16 + 0.01) ** 0.5)
    assert found["gap"] == pytest.approx(10)
    assert found["gap own"] == pytest.approx(5)
    assert found["largest gap"] == pytest.approx(10)
    assert found["error"] == pytest.approx(5)
    assert found["largest in errors"] == pytest.approx(5)
