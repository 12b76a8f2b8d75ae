"""The recorded run of the theorem notebook holds what the chapter says of it."""

import json

import pandas as pd
import pytest

from camwall import runs, theory
from camwall.errors import CamwallError


def test_the_recorded_run_agrees_with_the_closed_forms_of_today():
    """Its exact columns are recomputed, its estimates lie within four standard errors of them."""
    table = pd.read_csv(runs.recorded("theorem/montecarlo.csv"))
    parameters = json.loads(runs.recorded("theorem/manifest.json").read_text())["parameters"]
    assert set(table["filters"]) == {1, 2, 4, 32, 256}
    assert table["visible_rows"].nunique() == 3
    assert table["seed"].nunique() >= 3
    assert table["networks"].min() >= 100_000
    for row in table.itertuples():
        exact = theory.gradcam_mean(
            filters=row.filters,
            visible=row.visible,
            positions=(parameters["image_size"] - parameters["kernel"] + 1) ** 2,
            patch_norm=row.patch_norm,
            tau=parameters["tau"],
        )
        assert abs(row.mean - exact) < 4 * row.mean_se
    assert 0.94 < table["holding"].sum() / table["intervals"].sum() < 0.96


def test_a_run_that_is_not_recorded_is_refused():
    """The message names the file below results/."""
    with pytest.raises(CamwallError, match=r"no recorded run results/theorem/none\.csv"):
        runs.recorded("theorem/none.csv")
