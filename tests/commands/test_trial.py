"""The trial of the register: each cell agrees or says why there is none; the record does."""

from pathlib import Path

import pandas as pd
import pytest
import torch
import torchvision.transforms.functional as edit

from camwall import METHODS, runs
from camwall.commands import trial as command
from camwall.methods import Mechanism
from tests.helpers.networks import PLAIN, efficientnet_like, vgg_like


def test_a_cell_agrees_or_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A method that sees, one that does not, one of a claim that hangs on the wall, one refused."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    for seed in range(2):
        noise = torch.rand(3, *PLAIN.size, generator=torch.Generator().manual_seed(seed))
        edit.to_pil_image(noise).save(folder / f"{seed}.png")
    made = {"aligned": efficientnet_like, "across": vgg_like}
    monkeypatch.setattr(command, "NETWORKS", dict.fromkeys(made))
    monkeypatch.setattr(command, "walled", lambda name, paths: made[name]())
    names = ["GradCAM", "Gradient", "Guided GradCAM", "LeGrad"]
    monkeypatch.setattr(command, "asked", lambda: names)
    monkeypatch.setattr(command, "DEAR_METHODS", ("Gradient",))
    counts = command.trial(tmp_path / "out", images=folder, limit=2, progress=False)
    assert counts.loc["aligned"].tolist() == counts.loc["across"].tolist() == [3, 3, 1]
    table = pd.read_csv(tmp_path / "out" / "table.csv", keep_default_na=False)
    table = table.set_index(["network", "method"])
    assert table["images"].tolist() == ["2.0", "1.0", "2.0", ""] * 2
    assert (table["response"].xs("Gradient", level=1) == "0.0").all()
    assert table.loc[("aligned", "Guided GradCAM"), "response"] == "0.0"
    assert float(table.loc[("across", "Guided GradCAM"), "response"]) > 0
    assert table["why"].xs("LeGrad", level=1).str.contains("no attention").all()


def test_the_record_is_of_this_register() -> None:
    """Every method on three networks; what was measured agrees, each mechanism somewhere."""
    table = pd.read_csv(runs.recorded("methods/table.csv"))
    assert table.groupby("network")["method"].agg(list).map(set).eq(set(command.asked())).all()
    assert set(table["network"]) == set(command.NETWORKS)
    done = table[table["why"].isna()]
    assert done["agrees"].all()
    assert done["method"].nunique() >= 35
    assert set(done["mechanism"]) == set(Mechanism) - {Mechanism.OWN}
    for name, mechanism in zip(table["method"], table["mechanism"], strict=True):
        assert METHODS[name].mechanism == mechanism, name
