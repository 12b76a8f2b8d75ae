"""The built book in a real browser: it stands alone, fits a phone, and needs no mouse."""

import gzip
import itertools
import os
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag, urlparse

import pytest

from camwall.data.sources import from_npm
from camwall.errors import DataUnavailable
from tests.helpers.repository import ROOT

HTML = Path(os.environ.get("CAMWALL_BOOK", ROOT / "_build" / "html"))
NAMES = sorted(page.stem for page in (ROOT / "book").glob("*.md"))

each_page = pytest.mark.parametrize("name", NAMES)


def address(name: str) -> str:
    path = HTML / "book" / f"{name}.html"
    if not path.is_file():
        pytest.skip(f"no built page {name}: make book")
    return path.as_uri()


@pytest.fixture
def page(browser: Any, request: pytest.FixtureRequest) -> Iterator[Any]:
    """An empty tab; a test may ask for its width and its theme."""
    width, scheme = getattr(request, "param", (1280, "light"))
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    yield context.new_page()
    context.close()


@pytest.fixture(scope="session")
def axe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """axe-core's script, from npm: the one thing that a test asks a network for."""
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name in ("http_proxy", "https_proxy", "all_proxy"):  # which lead nowhere
                patch.delenv(name, raising=False)
                patch.delenv(name.upper(), raising=False)
            return from_npm("axe-core@4", tmp_path_factory.mktemp("axe")) / "axe.min.js"
    except DataUnavailable as error:
        pytest.skip(f"axe-core: {error}")


class _Silent(SimpleHTTPRequestHandler):
    """As `make serve`, without a line for each request."""

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@pytest.fixture
def served() -> Iterator[str]:
    """Where the book is over HTTP."""
    handler = partial(_Silent, directory=HTML)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/book/"
        server.shutdown()


def opened(page: Any, name: str, where: str | None = None) -> Any:
    """The page with its mathematics typeset, its live parts drawn and all its pictures."""
    page.goto(address(name) if where is None else f"{where}{name}.html")
    page.evaluate(
        """() => Promise.all([...document.images].map((image) => {
            image.loading = 'eager';
            return image.decode().catch(() => 'it is broken, as a test will find');
        }))"""
    )
    page.wait_for_function(
        "!document.querySelector('.math') || window.MathJax?.startup?.promise !== undefined"
    )
    page.evaluate("window.MathJax?.startup?.promise")
    if page.locator("#live-wall").count():
        page.wait_for_selector("#live-wall[data-shown]")
    if page.locator("#own-photo .lw-start").count():
        page.locator("#own-photo .lw-start").click()
        page.wait_for_selector("#own-photo[data-shown]", timeout=120_000)
    return page


@each_page
def test_a_page_stands_alone(page: Any, name: str) -> None:
    """No error, no request that fails or leaves the machine, no broken picture, no raw text."""
    said: list[str] = []
    page.on("console", lambda note: note.type == "error" and said.append(note.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("requestfailed", lambda request: said.append(f"failed: {request.url[:200]}"))
    page.on(
        "request",
        lambda request: (
            urlparse(request.url).scheme not in ("file", "data", "blob")
            and said.append(f"outside: {request.url}")
        ),
    )
    opened(page, name)
    page.wait_for_load_state("networkidle")
    broken = page.eval_on_selector_all(
        "img", "all => all.filter(i => !(i.complete && i.naturalWidth)).map(i => i.outerHTML)"
    )
    text = page.locator(".bd-article").inner_text()
    raw = "Warning: ", "|—|"  # a warning, a Markdown table that is not rendered
    noise = [line for line in text.splitlines() if any(mark in line for mark in raw)]
    assert said + [each[:200] for each in broken] + noise == []


@pytest.mark.parametrize("name", ["intro", "photo"])
def test_a_served_page_works_as_one_opened_from_a_file(page: Any, served: str, name: str) -> None:
    """Nothing fails, and what stands behind the wall moves a map and no score."""
    address(name)  # is there a built book?
    said: list[str] = []
    page.on("console", lambda note: note.type == "error" and said.append(note.text))
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("response", lambda answer: answer.status >= 400 and said.append(answer.url))
    page.on("request", lambda asked: "127.0.0.1" in asked.url or said.append(asked.url[:99]))
    opened(page, name, served)
    left = page.locator(".lw-left")
    leak = left.get_attribute("data-leak")
    page.locator("input[name=lw-behind]").nth(1).check(force=True)
    page.wait_for_function(
        "leak => document.querySelector('.lw-left').dataset.leak !== leak", arg=leak
    )
    assert "0 of 1000 scores changed" in page.locator(".lw-said").inner_text()
    assert [one for one in said if not one.startswith(("data:", "blob:"))] == []


@each_page
def test_the_first_load_is_light(page: Any, name: str) -> None:
    """At most 1.5 MB, texts compressed as a server does; the photograph's network is not loaded."""
    files = set()
    page.on("request", lambda request: files.add(urlparse(request.url)))
    page.goto(address(name))
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(1000)  # the index for searching comes later
    paths = {Path(unquote(file.path)) for file in files if file.scheme == "file"}
    packed = {".webp", ".png", ".woff", ".woff2"}
    sizes = [
        len(content if path.suffix in packed else gzip.compress(content, 6))
        for path in paths
        if (content := path.read_bytes())
    ]
    assert len(sizes) > 5
    assert sum(sizes) <= 1.5e6


@pytest.mark.parametrize("page", [(390, "light"), (1280, "light")], indirect=True)
@pytest.mark.parametrize("name", ["intro", "table"])
def test_nothing_jumps_while_a_page_loads(page: Any, name: str) -> None:
    """The live wall and later pictures have their places kept: layout shift below 0.1."""
    page.add_init_script(
        "window.jumps = []; new PerformanceObserver((list) => jumps.push(...list.getEntries()"
        ".map((one) => one.value))).observe({type: 'layout-shift', buffered: true})"
    )
    page.goto(address(name))
    page.wait_for_load_state("networkidle")
    if name == "intro":
        page.wait_for_selector("#live-wall[data-shown]")
    for place in range(0, page.evaluate("document.body.scrollHeight"), 800):
        page.evaluate("place => window.scrollTo(0, place)", place)
        page.wait_for_timeout(50)
    assert page.evaluate("jumps.reduce((sum, one) => sum + one, 0)") < 0.1


@each_page
@pytest.mark.parametrize("page", [(718, "light")], indirect=True)
def test_a_printed_page_has_whole_figures(page: Any, name: str) -> None:
    """On A4 with margins of 1 cm: figures and tables fit a sheet, and no figure is broken."""
    opened(page, name)
    page.emulate_media(media="print")
    over = page.eval_on_selector_all(
        ".bd-article :is(td, th)",
        "all => all.filter(c => c.getBoundingClientRect().right > 719).map(c => c.outerHTML)",
    )
    assert over == []
    boxes = page.eval_on_selector_all(
        ".bd-article :is(figure:has(img), .live-wall .lw-main, .lw-all section, .tp-frame)",
        "all => all.map(n => [n.getBoundingClientRect().right, n.getBoundingClientRect().height, "
        "getComputedStyle(n).breakInside, n.className || n.id])",
    )
    for right, height, breaks, what in boxes:
        assert right <= 719, what
        assert height <= 1046, what
        assert breaks == "avoid", what


@each_page
def test_mathematics_is_typeset(page: Any, name: str) -> None:
    """Every formula became MathJax's, and none is an error."""
    opened(page, name)
    formulas = page.locator(".bd-article .math").count()
    page.wait_for_function(
        "n => document.querySelectorAll('.bd-article .math mjx-container').length >= n",
        arg=formulas,
    )
    assert page.locator("mjx-merror, [data-mjx-error]").count() == 0
    assert formulas or not page.locator("script[src*=mathjax]").count()  # it is heavy


@each_page
def test_links_lead_somewhere(page: Any, name: str) -> None:
    """Each link within the book names a file, and a place in it that is there."""
    opened(page, name)
    links = page.eval_on_selector_all("a[href]", "all => all.map(a => a.href)")
    assert links
    lost = set()
    for link in set(links):
        where, part = urldefrag(link)
        if not where.startswith("file:"):
            continue
        path = Path(unquote(urlparse(where).path))
        if not path.exists():
            lost.add(link)
        elif part and path.suffix == ".html":
            text = path.read_text(encoding="utf-8")
            names = {unquote(part), part}
            if not any(f'{kind}="{n}"' in text for n in names for kind in ("id", "name")):
                lost.add(link)
    assert lost == set()


@each_page
def test_no_page_scrolls_sideways(page: Any, name: str) -> None:
    """Whatever is wider than a small screen scrolls inside itself: with a cue, named, by keyboard.

    A table of text is none of it on a phone: its rows are cards.
    """
    opened(page, name)
    for width in (360, 390, 768):
        page.set_viewport_size({"width": width, "height": 900})
        over = page.eval_on_selector_all(
            ".bd-article *",
            """(all, inner) => all.filter(node => {
                if (node.getBoundingClientRect().right <= inner + 1) return false;
                const own = ['auto', 'scroll', 'hidden', 'clip'];
                for (let up = node; up; up = up.parentElement)
                    if (own.includes(getComputedStyle(up).overflowX)) return false;
                return true;
            }).map(node => node.outerHTML.slice(0, 160))""",
            width,
        )
        assert over == [], width
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.wait_for_timeout(100)
        unsaid = page.eval_on_selector_all(
            ".bd-article :not(.live-wall *)",
            """all => all.filter(node => {
                if (!['auto', 'scroll'].includes(getComputedStyle(node).overflowX)) return false;
                if (node.scrollWidth <= node.clientWidth + 1) return false;
                if (!node.checkVisibility()) return false;
                const said = '.more-right[role=region][tabindex="0"][aria-label]';
                const card = innerWidth < 600 && node.matches('.of-text *, :has(.of-text)');
                return card || !node.matches(said);
            }).map(node => node.outerHTML.slice(0, 160))""",
        )
        assert unsaid == [], width


@pytest.mark.parametrize("page", [(390, "light")], indirect=True)
def test_a_rows_name_stays_while_its_numbers_scroll(page: Any) -> None:
    """In the table of prices, whose cue is gone where there is no more."""
    opened(page, "which")
    box = page.locator(".text_html.larger:has(table):has-text('ms a map')")
    name = box.locator("tbody th", has_text="HiResCAM")
    assert "more-right" in box.get_attribute("class")
    assert box.locator("td:not(.of-numbers)").count() == 0  # numbers stand under one another
    before = name.bounding_box()["x"]
    box.focus()
    page.keyboard.press("ArrowRight")
    page.wait_for_function("document.activeElement.scrollLeft > 0")
    box.evaluate("box => { box.scrollLeft = box.scrollWidth; }")
    page.wait_for_function("!document.activeElement.matches('.more-right')")
    assert name.bounding_box()["x"] == pytest.approx(before, abs=1)


@pytest.mark.parametrize("page", [(390, "light")], indirect=True)
def test_the_audits_formulas_fit_a_phone(page: Any) -> None:
    """None of them is cut."""
    opened(page, "audit")
    page.wait_for_timeout(200)
    assert page.locator("div.math mjx-container").count() > 1
    assert page.locator("div.math mjx-container.larger").count() == 0


@pytest.mark.parametrize("page", [(390, "light")], indirect=True)
def test_the_first_screen_of_a_phone_has_the_live_wall(page: Any) -> None:
    """After title and two sentences: what is swapped, the photograph, two maps, the first score."""
    opened(page, "intro")
    above = page.locator(".bd-article section > p").first.inner_text()
    assert 1 <= above.count(". ") + above.endswith(".") <= 2
    for part in (".lw-behind", ".lw-photo .lw-plate", ".lw-left canvas", ".lw-right canvas"):
        box = page.locator(f"#live-wall {part}").bounding_box()
        assert 0 <= box["y"] < box["y"] + box["height"] <= 664, part  # between a phone's bars
        assert box["width"] > 100, part
    assert page.locator(".lw-scores tbody tr").first.bounding_box()["y"] < 800


@each_page
def test_axe_finds_nothing_serious(page: Any, name: str, axe: Path) -> None:
    """Of axe-core's rules none is broken seriously, at three widths, light and dark."""
    opened(page, name)
    page.add_script_tag(path=str(axe))
    serious = []
    for width, scheme in itertools.product((360, 768, 1280), ("light", "dark")):
        page.set_viewport_size({"width": width, "height": 900})
        page.emulate_media(color_scheme=scheme)
        page.wait_for_function(f"document.documentElement.dataset.theme === '{scheme}'")
        page.wait_for_timeout(500)  # the theme looks anew at what scrolls a while after a resize
        found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
        serious += [
            f"{width}, {scheme}: {rule['id']} ({rule['impact']}), {len(rule['nodes'])} times: "
            f"{rule['nodes'][0]['target']} {rule['nodes'][0]['html'][:200]}"
            for rule in found
            if rule["impact"] in ("serious", "critical") or rule["id"] == "heading-order"
        ]
    assert serious == []


@each_page
def test_figures_are_wide_and_can_be_enlarged(page: Any, name: str) -> None:
    """As wide as the column, twice as fine as the screen; by keyboard large, and back."""
    opened(page, name)
    column = page.locator(".bd-article > section").first.bounding_box()["width"]
    figures = page.locator(".bd-article figure button.enlarge")
    for i in range(figures.count()):
        shown = (
            figures.nth(i)
            .locator("img")
            .evaluate("i => [i.getBoundingClientRect().width, i.naturalWidth, i.alt]")
        )
        assert shown[0] >= 0.9 * column, shown
        assert shown[1] >= 1.2 * shown[0], shown
        assert len(shown[2].split()) >= 5, shown
    if figures.count():
        figures.first.focus()
        page.keyboard.press("Enter")
        dialog = page.locator("dialog.enlarged")
        assert dialog.locator("img").bounding_box()["width"] > 1000
        page.keyboard.press("Escape")
        assert not dialog.is_visible()
        assert figures.first.evaluate("button => button === document.activeElement")


@each_page
@pytest.mark.parametrize("page", [(390, "light")], indirect=True)
def test_a_phone_gets_figures_of_its_own(page: Any, name: str) -> None:
    """The narrow picture, of about the screen's width: its letters are as large as meant."""
    opened(page, name)
    shown = page.eval_on_selector_all(
        "picture.for-screens img",
        "all => all.map(i => [i.currentSrc !== i.src, i.getBoundingClientRect().width])",
    )
    for narrow, width in shown:
        assert narrow
        assert 280 < width <= 390


@each_page
def test_a_page_says_what_it_is(page: Any, name: str) -> None:
    """A description of its own for those who find it, and the site's picture."""
    opened(page, name)
    about = page.locator("meta[name=description]").get_attribute("content")
    assert 40 <= len(about) <= 300
    assert not set("[]\\$") & set(about)  # no mark of a citation or of mathematics
    assert not about.endswith("...")
    assert page.locator("meta[property='og:title']").get_attribute("content")
    assert page.locator("meta[property='og:image']").get_attribute("content").endswith(".png")


@pytest.mark.parametrize("page", [(1280, "light"), (1280, "dark")], indirect=True)
def test_colours_of_maps_are_the_same_in_the_dark(page: Any) -> None:
    """No filter lies on a picture or a canvas."""
    opened(page, "intro")
    filters = page.eval_on_selector_all(
        ".bd-article :is(img, canvas)", "all => all.map(node => getComputedStyle(node).filter)"
    )
    assert filters
    assert set(filters) == {"none"}


def test_without_javascript_the_static_figure_stands(browser: Any) -> None:
    """The live wall stays hidden, a sentence says why, and the figure below is there."""
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address("intro"))
    assert not page.locator("#live-wall").is_visible()
    assert "JavaScript, which is off" in page.locator("noscript p").inner_text()
    assert page.locator("#fig-intro img").is_visible()
    context.close()
