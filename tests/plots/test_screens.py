"""Figures for every screen: the same function draws both widths, and the page shows the one."""

import base64
import io
import re
from pathlib import Path
from types import SimpleNamespace

import matplotlib.pyplot as plt
import pydata_sphinx_theme
import pytest
import torch
from fontTools.ttLib import TTFont
from matplotlib.figure import Figure
from PIL import Image

from camwall import Wall, pages
from camwall.plots import heatmap_grid, screens


@pytest.fixture(autouse=True)
def closed() -> None:
    plt.close("all")


@screens.for_screens
def three_panels() -> Figure:
    figure, axes = screens.panels(3, 2.0)
    for ax in axes:
        ax.plot([0, 1])
    return figure


def sizes(text: str) -> list[tuple[int, int]]:
    """Pixels of each picture of the HTML."""
    found = re.findall(r"data:image/webp;base64,([^\"]+)", text)
    return [Image.open(io.BytesIO(base64.b64decode(data))).size for data in found]


def test_panels_stand_beside_one_another_or_under() -> None:
    """A column of the page takes three panels, a phone one; each picture is twice as fine."""
    figure = three_panels()
    text = screens.as_html(figure)
    assert text is not None
    (narrow, high), (wide, low) = sizes(text)
    assert wide == pytest.approx(200 * screens.COLUMN, rel=0.05)
    assert narrow == pytest.approx(200 * screens.PHONE, rel=0.05)
    assert high > 2.5 * low
    assert f'width="{wide // 2}" height="{low // 2}"' in text
    assert plt.get_fignums() == [figure.number]  # the phone's is not left open


def test_a_grid_of_maps_wraps() -> None:
    """Nine pictures in a line on a page, three on a phone, each with its method's name there."""
    pixels, wall = torch.rand(2, 3, 28, 28), Wall.rows(28, 28, 20)
    maps = {f"method {i}": torch.rand(2, 28, 28) for i in range(8)}
    figure = heatmap_grid(pixels, maps, wall, captions=["one", "other"])

    def lines(drawn: Figure) -> int:
        return len({round(ax.get_position().y0, 4) for ax in drawn.axes if ax.axison})

    def titles(drawn: Figure) -> int:
        return sum(ax.get_title() == "method 7" for ax in drawn.axes)

    assert (lines(figure), titles(figure)) == (2, 1)
    again = getattr(figure, screens._AGAIN)()
    assert (lines(again), titles(again)) == (6, 2)


def test_titles_can_be_read_on_a_phone() -> None:
    """Words of any length in letters of 9 points or more, none over its neighbour."""
    pixels, wall = torch.rand(1, 3, 28, 28), Wall.rows(28, 28, 20)
    names = ["Guided backpropagation", "Integrated gradients", "RISE", "GradCAM (5×5 windows)"]
    names += [f"method {i}" for i in range(6)]
    figure = heatmap_grid(pixels, {name: torch.rand(1, 28, 28) for name in names}, wall)
    for drawn in (figure, getattr(figure, screens._AGAIN)()):
        drawn.canvas.draw()
        renderer = drawn.canvas.get_renderer()
        titled = [ax.title for ax in drawn.axes if ax.get_title()]
        assert min(title.get_fontsize() for title in titled) >= 9
        boxes = [title.get_window_extent(renderer).padded(-2) for title in titled]
        pictures = [ax.get_window_extent(renderer) for ax in drawn.axes]
        for i, box in enumerate(boxes):
            assert not any(box.overlaps(other) for other in boxes[:i])
            assert not any(box.overlaps(other) for other in pictures)


def test_a_figure_of_one_width_is_let_be() -> None:
    """What no function of ours drew is shown as it always was."""
    figure = plt.figure()
    assert screens.as_html(figure) is None


def test_a_page_gets_the_text_of_its_cell() -> None:
    """In the book the picture has the cell's text, with what HTML would misread escaped."""

    class Text(str):
        pass

    raw = SimpleNamespace(tagname="raw", children=[Text(screens.as_html(three_panels()))])
    raw.astext = lambda: "".join(raw.children)

    class Cell(dict):
        attributes = ("cell_metadata",)

        def findall(self, which):
            return filter(which, [raw])

    cell = Cell(cell_metadata={"mystnb": {"image": {"alt": "Lines < all"}}})
    page = SimpleNamespace(findall=lambda which: filter(which, [cell]))
    pages._describe(None, page, "page")
    assert 'alt="Lines &lt; all"' in raw.astext()


def test_pages_carry_the_icons_that_they_show(tmp_path: Path) -> None:
    """Fonts and rules hold those and no others; who builds twice gets the same bytes."""
    theme = Path(pydata_sphinx_theme.__file__).parent / "theme/pydata_sphinx_theme/static"
    static = tmp_path / "_static"
    fonts = static / "vendor/fontawesome/webfonts"
    for folder in (fonts, static / "styles"):
        folder.mkdir(parents=True)
    (tmp_path / "page.html").write_text('<i class="fa-solid fa-rocket"></i>', "utf-8")
    (static / "own.css").write_text(r'p::after { content: "\f107"; }', "utf-8")
    twice = []
    for _ in range(2):
        pages._cut_icons(theme, static)
        twice.append({path: path.read_bytes() for path in static.rglob("*") if path.is_file()})
    assert twice[0] == twice[1]
    sheet = (static / "styles/pydata-sphinx-theme.css").read_text("utf-8")
    assert ".fa-rocket" in sheet
    assert ".fa-otter" not in sheet
    assert {path.name for path in fonts.iterdir()} == set(re.findall(r"fa-\w+-\d+\.woff\b", sheet))
    solid = TTFont(fonts / "fa-solid-900.woff").getBestCmap()
    assert {0xF135, 0xF107, 0xF0EB} <= set(solid)  # rocket, our own, and the theme's light bulb
    assert len(solid) < 40
