"""The theorem to play with: the browser's closed forms are the library's, and its draws agree."""

from typing import Any

import pytest
import torch

from camwall import theory
from camwall.plots.playground import theorem_playground
from tests.helpers.pages import opened

SETTING = theory.Setting(30, 30, visible_rows=7)
TAU = 0.7


@pytest.fixture(scope="module")
def page(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    image = torch.rand(30, 30, generator=torch.Generator().manual_seed(0))
    html = theorem_playground(SETTING, image, TAU).data
    with opened(browser, tmp_path_factory.mktemp("theorem"), html, "theorem.js") as page:
        yield page


@pytest.mark.parametrize(
    ("filters", "rows", "norm"),
    [
        (1, 7, 1.0),
        (1, 1, 0.1),
        (8, 2, 0.4),
        (32, 7, 2.5),
        (91, 13, 1.0),
        (256, 1, 0.1),
        (256, 13, 3.0),
    ],
)
def test_closed_forms_are_the_librarys(page: Any, filters: int, rows: int, norm: float) -> None:
    """Mean, bound, probability and second moment; the networks drawn lie within five errors."""
    place = sorted({round(2 ** (i / 4)) for i in range(33)}).index(filters)
    for key, value in (("filters", place), ("rows", rows), ("norm", norm)):
        page.evaluate(
            "([id, v]) => { const r = document.getElementById(id); r.value = v; "
            "r.dispatchEvent(new Event('input')); }",
            [f"tp-{key}", str(value)],
        )
    page.wait_for_function(
        "f => { const d = document.getElementById('playground').dataset; "
        "return d.filters === f && Number(d.count) >= 4000; }",
        arg=str(filters),
    )
    found = page.evaluate("({...document.getElementById('playground').dataset})")
    found = {name: float(value) for name, value in found.items()}
    visible = rows * SETTING.pooled_shape[1]
    asked: dict[str, Any] = {
        "filters": filters,
        "positions": 28 * 28,
        "patch_norm": norm,
        "tau": TAU,
    }
    law = theory.GradCAMLaw(visible=visible, **asked)
    assert found["mean"] == pytest.approx(theory.gradcam_mean(visible=visible, **asked), rel=1e-9)
    assert found["bound"] == pytest.approx(
        theory.gradcam_bound(cells=2 * visible, **asked), rel=1e-9
    )
    assert found["positive"] == pytest.approx(law.positive, rel=1e-12)
    assert found["second"] == pytest.approx(law.second_moment, rel=1e-12)
    assert abs(found["drawn"] - law.mean) < 5 * found["error"]
    assert f"V = {filters}" in page.locator("output[for=tp-filters]").inner_text()
    # On the picture, which lacks a row of border on top, the wall stands where the network's does.
    at = page.locator(".lw-plate").first.evaluate(
        "plate => Number(getComputedStyle(plate).getPropertyValue('--at'))"
    )
    seen = theory.Setting(30, 30, visible_rows=rows).visible_image_rows
    assert 28 * at + 1 == pytest.approx(seen)


def test_another_network_has_another_map(page: Any) -> None:
    """Each is drawn anew."""
    shown = set()
    for _ in range(3):
        page.locator("button").click()
        shown.add(page.locator("canvas").nth(1).evaluate("canvas => canvas.toDataURL()"))
    assert len(shown) == 3
