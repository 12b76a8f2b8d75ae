"""All registered methods on random simple CNNs: what the register promises is what is measured."""

import pandas as pd
import pytest
import torch

import camwall
from camwall.audit.mechanisms import prediction_rows, summary
from camwall.methods import STUDIED, Mechanism
from camwall.models import simple_cnn

IMAGES = torch.rand(3, 1, 12, 12, generator=torch.Generator().manual_seed(3))


def test_the_register_tells_who_sees_through():
    """On random networks a repaint moves a map exactly when `METHODS` says so; all are asked.

    Those that see through leak, those with weights at each position do not; EigenGradCAM leaks and
    does not respond: it points there without looking.
    """
    networks = [simple_cnn(8, 3, 12, 2, 0.3, seed) for seed in range(2)]
    asked = {"methods": list(STUDIED), "progress": False}
    found = summary([camwall.check(network, IMAGES, **asked) for network in networks])
    methods = {name: camwall.METHODS[name] for name in STUDIED}
    assert found.index.to_list() == sorted((m.mechanism, m.name) for m in methods.values())
    worst = found.droplevel("mechanism")
    for name, method in methods.items():
        assert (worst["largest response, %"][name] > 0) == method.sees_through, name
        veil = method.mechanism is Mechanism.CENTRED
        assert (worst["largest leak, %"][name] > 0) == (method.sees_through or veil), name


def test_predictions_are_what_heads_show():
    """From maps and the weights' law alone: within five standard errors of 300 heads' mean."""
    methods = ["GradCAM", "XGradCAM", "GradCAM++", "HiResCAM", "EigenCAM (corrected)"]
    networks = [simple_cnn(8, 3, 12, 2, 0.3, seed, classes=300) for seed in range(2)]
    rows = pd.DataFrame(prediction_rows(networks, IMAGES[:2], methods, tau=0.3))
    assert len(rows) == 10
    assert rows["predicted"].max() > 0.3
    # The prediction has a spread of its own, from as many draws.
    assert ((rows["predicted"] - rows["measured"]).abs() <= 5 * 1.4 * rows["se"] + 1e-4).all()


@pytest.mark.parametrize("method", ["ShapleyCAM", "EigenCAM", "FEM", "EigenGradCAM"])
def test_a_method_without_a_law_has_no_prediction(method):
    """Its weights have no law here, or its sign is arbitrary: refused by name."""
    with pytest.raises(camwall.CamwallError, match=f"no law of weights is known for '{method}'"):
        next(prediction_rows([simple_cnn(4, 3, 12, 2)], IMAGES[:1], [method], tau=0.1))
