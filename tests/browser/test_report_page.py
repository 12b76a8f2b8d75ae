"""The page of a report in a real browser: it asks for nothing, and fits a phone."""

from typing import Any

import pytest

from tests.helpers.checks import flat, quiet, small_model, some_images


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_the_page_of_a_report(browser: Any, tmp_path: Any, width: int, scheme: str) -> None:
    """No error, no request but for the page itself; fits the screen, pictures and all."""
    report = quiet(small_model(), some_images(), ["GradCAM++", "HiResCAM", flat])
    folder = report.save(tmp_path, {"command": "camwall check " + 40 * "word"})
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page, said, asked = context.new_page(), [], []
    page.on("console", lambda message: said.append(message.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("request", lambda request: asked.append(request.url))
    address = (folder / "report.html").as_uri()
    page.goto(address)
    decoded = "each.decode().then(() => each.naturalWidth)"  # or an error of this page
    drawn = page.evaluate(f"Promise.all([...document.images].map(each => {decoded}))")
    assert len(drawn) == 2
    assert all(drawn)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.locator("tbody tr").count() == 3
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor") != "rgb(255, 255, 255)"
    assert dark == (scheme == "dark")
    context.close()
    assert said == []
    assert [url for url in asked if not url.startswith("data:")] == [address]
