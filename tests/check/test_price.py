"""The recorded study of prices, as the chapter reads it."""

import numpy as np

from camwall.commands.sweep import DEAR, load_sweep, priced
from camwall.runs import recorded


def test_the_table_joins_what_was_measured_apart() -> None:
    """Each method once, with every metric; the dear ones over one stack of each visible half."""
    reports = load_sweep(recorded("price/manifest.json").parent)
    table = priced(reports)
    assert len(table) >= 20
    assert table.index.is_unique
    for name in ("response", "leak", "on_animal", "pointing", *DEAR, "seconds"):
        assert table[name].notna().all(), name
    records = reports["last layer, perturbed"].records
    one = records[records["method"] == "GradCAM"]
    np.testing.assert_allclose(table.loc["GradCAM", "deletion"], one["deletion"].mean(), rtol=1e-4)
    assert one["group"].is_unique


def test_what_is_blind_is_so_at_every_layer_and_wall() -> None:
    """Response exactly 0 for weights at the position, and not for one weight a channel."""
    for name, report in load_sweep(recorded("price/manifest.json").parent).items():
        if "response" not in report.records or report.records["response"].isna().all():
            continue
        moved = report.records.groupby("method")["response"].max()
        for method in ("HiResCAM", "LayerCAM", "GradCAMElementWise", "EigenGradCAM"):
            assert moved.get(method, 0) == 0, (name, method)
        for method in ("GradCAM", "GradCAM++", "XGradCAM", "AblationCAM", "EigenCAM"):
            assert moved.get(method, 1) > 0, (name, method)
