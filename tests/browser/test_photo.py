"""«Your own photograph»: what the browser computes of a picture is what the library does."""

import base64
import io
import shutil
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import camwall
from camwall.errors import DataUnavailable
from camwall.methods import METHODS, explain_each
from camwall.metrics import change
from camwall.models import build_wall, efficientnet_lite0, fill
from camwall.wall import Wall
from tests.helpers.blots import blots, made
from tests.helpers.pages import opened

IMAGES = 10
#: As the page offers them: which part is hidden, from or up to where.
WALLS = {
    0: Wall.rows(224, 224, 160),
    1: Wall.columns(224, 224, 101),
    2: Wall.rows(224, 224, 0, 70),
    3: Wall.columns(224, 224, 0, 96),
}


@pytest.fixture(scope="module")
def page(browser: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A page with nothing but this section, opened from a file, its network loaded."""
    pytest.importorskip("onnxscript")
    from camwall.plots import photo

    folder = tmp_path_factory.mktemp("photo")
    try:
        shutil.copytree(photo.browser_files(), folder / "_static" / "photo")
    except DataUnavailable as error:
        pytest.skip(str(error))
    html = photo.own_photograph(made(folder / "stacks", WALLS[0], 0), [0, 1]).data
    with opened(browser, folder, html, "photo.js") as page:
        assert not page.locator("canvas").count()  # nothing is loaded before it is asked for
        drop(page)
        assert "Load the network first" in page.locator(".lw-said").inner_text()
        page.locator(".lw-start").click()
        page.wait_for_selector("#own-photo[data-shown]", timeout=120_000)
        yield page


def drop(page: Any) -> None:
    """Drop what is no file."""
    page.evaluate(
        "document.getElementById('own-photo').dispatchEvent(new DragEvent('drop', "
        "{dataTransfer: new DataTransfer(), bubbles: true, cancelable: true}))"
    )


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    return efficientnet_lite0()


def act(page: Any, script: str, *arguments: Any) -> None:
    """Do something, and wait until what follows from it is drawn."""
    before = page.evaluate("document.getElementById('own-photo').dataset.shown")
    page.evaluate(script, list(arguments))
    page.wait_for_function(
        "before => document.getElementById('own-photo').dataset.shown !== before", arg=before
    )


def choose(page: Any, which: int) -> None:
    """Paint over what is hidden."""
    act(page, "([i]) => document.getElementsByName('lw-behind')[i].click()", which)


def picture(folder: Path, seed: int) -> Path:
    path = folder / "picture.png"
    Image.fromarray(blots(np.random.default_rng(seed))).save(path)
    return path


@pytest.mark.parametrize("number", range(IMAGES))
def test_numbers_are_the_librarys(
    page: Any, network: torch.nn.Module, tmp_path: Path, number: int
) -> None:
    """Scores, maps, leaks, and responses to repaints, on ten pictures and four walls."""
    side = number % len(WALLS)
    model = build_wall(network, WALLS[side])
    path = picture(tmp_path, number)
    images = model.preprocessing.load([path])
    source = f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"
    assert model.wall.cut is not None
    act(
        page,
        "async ([source, where]) => camwall.own.take(await (await fetch(source)).blob(), where)",
        source,
        {"side": side, "at": model.wall.cut[1]},
    )
    for paint in ("as photographed", "grey", "mirror")[: 3 if number < 2 else 1]:
        if paint != "as photographed":
            choose(page, {"grey": 1, "mirror": 3}[paint])
        behind = (
            images
            if paint == "as photographed"
            else fill(paint, images, model.wall, model.preprocessing)
        )
        shown = page.eval_on_selector_all(
            ".lw-card",
            "all => Object.fromEntries(all.map(one => [one.dataset.method, one.dataset]))",
        )
        with torch.no_grad():
            scores = model(behind)[0]
            maps = explain_each(model, behind, list(shown))
            raw = explain_each(model, torch.cat([images, behind]), list(shown), normalize=False)
        found = page.evaluate("camwall.own.scores()")
        assert np.allclose(found, scores.numpy(), atol=1e-3)
        assert page.locator("#own-photo").get_attribute("data-moved") == "0"
        assert int(np.argmax(found)) == int(scores.argmax())
        own = page.evaluate(
            "Object.fromEntries(Object.entries(camwall.own.maps).map(([k, v]) => [k, Array.from(v)"
            ".filter((_, i) => i % 37 === 0)]))"
        )
        for name, values in own.items():
            wanted = maps[name][0].flatten()[::37]
            far = float((torch.tensor(values) - wanted).abs().max())
            assert far < 1e-3, name
            leak = float(camwall.leak(maps[name], model.wall))
            assert float(shown[name]["leak"]) == pytest.approx(leak, abs=1e-3), name
            if paint != "as photographed":
                moved = float(change(raw[name][:1], raw[name][1:]))
                assert float(shown[name]["response"]) == pytest.approx(moved, rel=1e-3, abs=1e-3)
                assert METHODS[name].sees_through or float(shown[name]["response"]) == 0


def test_a_file_is_chosen_and_each_control_acts(page: Any, tmp_path: Path) -> None:
    """A file, the hidden side, the wall by keyboard and by its grip, paint, class and method."""

    def leaks() -> dict[str, str]:
        return page.eval_on_selector_all(
            ".lw-card",
            "all => Object.fromEntries(all.map(o => [o.dataset.method, o.dataset.leak]))",
        )

    def until(what: str) -> None:
        page.wait_for_function(f"() => {what}")

    before = leaks()
    page.locator("input[type=file]").first.set_input_files(str(picture(tmp_path, 77)))
    until("document.querySelector('.lw-said').innerText.includes('It took')")
    page.locator(".lw-photo select").select_option(label="Hide the right part")
    until("document.querySelector('.lw-upright')")
    page.locator("#lw-wall").focus()
    page.keyboard.press("Home")
    until("document.getElementById('own-photo').dataset.at === '32'")
    assert "columns 32 to 223" in page.locator("output[for=lw-wall]").inner_text()
    grip, photo = (
        page.locator(f".lw-photo .lw-{name}").bounding_box() for name in ("grip", "plate")
    )
    page.mouse.move(grip["x"] + grip["width"] / 2, grip["y"] + grip["height"] / 2)
    page.mouse.down()
    page.mouse.move(photo["x"] + photo["width"] / 2, photo["y"] + photo["height"] / 2, steps=4)
    page.mouse.up()
    until("document.getElementById('own-photo').dataset.at === '112'")
    after = leaks()
    assert all(before[name] != after[name] for name in after)
    scores = page.evaluate("camwall.own.scores()")
    choose(page, 2)  # noise
    assert page.evaluate("camwall.own.scores()") == scores
    assert "0 of 1000 scores changed" in page.locator(".lw-said").inner_text()
    same = {name for name, leak in leaks().items() if leak == after[name]}
    assert same == {"LayerCAM", "HiResCAM"}
    moved = page.locator(".lw-left").get_attribute("data-response")
    assert float(moved) > 0
    # What is painted, and the class asked for, stay while the wall moves.
    page.locator(".lw-scores select").select_option(index=1)
    until(f"document.querySelector('.lw-left').dataset.response !== '{moved}'")
    explained = page.locator("#own-photo").get_attribute("data-explains")
    assert int(explained) != int(np.argmax(scores))
    page.locator("#lw-wall").focus()
    page.keyboard.press("End")
    until("document.getElementById('own-photo').dataset.at === '223'")
    assert "column 223 of 224 is hidden" in page.locator("output[for=lw-wall]").inner_text()
    assert (
        "It ran with noise behind the wall too: 0 of 1000" in page.locator(".lw-said").inner_text()
    )
    assert page.locator("#own-photo").get_attribute("data-explains") == explained
    assert page.evaluate("camwall.own.scores()") != scores
    page.locator(".lw-photo select").select_option(label="Hide the left part")
    until("document.getElementById('own-photo').dataset.at === '1'")
    outside = page.evaluate(
        """() => {
            const box = document.querySelector('.lw-photo .lw-plate').getBoundingClientRect();
            return [...document.querySelectorAll('.lw-photo .lw-tag')].map((tag) => {
                const own = tag.getBoundingClientRect();
                return [box.left - own.left, box.top - own.top, own.right - box.right,
                    own.bottom - box.bottom].map(Math.round);
            });
        }"""
    )
    assert max(map(max, outside)) <= 0
    page.locator(".lw-card[data-method=XGradCAM]").click()
    until("document.querySelector('.lw-right select').value === 'XGradCAM'")


def test_what_is_dropped_and_is_no_file_is_refused(page: Any) -> None:
    """A word or a link, as one drags it from another page."""
    drop(page)
    assert "What was dropped is no file" in page.locator(".lw-said").inner_text()


def saved(picture: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


PICTURES = "plain.png", "turned.jpg", "glass.png", "deep.png", "palette.gif", "huge.jpg", "tiny.png"
OTHERS = "letter.txt", "empty.png", "cut.png", "drawing.svg", "phone.heic"


@cache
def kinds() -> dict[str, bytes]:
    """Files of many kinds, that show the same blots where they are pictures of the right size."""
    plain = Image.fromarray(blots(np.random.default_rng(5)))
    turned = Image.Exif()
    turned[0x0112] = 6  # to be turned right
    glass = plain.convert("RGBA")
    glass.paste((0, 0, 0, 0), (0, 0, 224, 90))
    deep = np.asarray(plain.convert("L")).astype(np.uint16) * 257
    return {
        "plain.png": saved(plain, "PNG"),
        "turned.jpg": saved(plain.rotate(90), "JPEG", exif=turned, quality=100, subsampling=0),
        "glass.png": saved(glass, "PNG"),
        "deep.png": saved(Image.fromarray(deep), "PNG"),
        "palette.gif": saved(plain.quantize(200), "GIF"),
        "huge.jpg": saved(plain.resize((8000, 6000), Image.Resampling.BILINEAR), "JPEG"),
        "tiny.png": saved(plain.resize((2, 1)), "PNG"),
        "letter.txt": b"no picture",
        "empty.png": b"",
        "cut.png": saved(plain, "PNG")[:2000],
        "drawing.svg": b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"></svg>',
        "phone.heic": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(99),
    }


@pytest.mark.parametrize("name", PICTURES + OTHERS)
def test_any_file_is_taken_or_refused_in_a_sentence(
    page: Any, network: torch.nn.Module, tmp_path: Path, name: str
) -> None:
    """What the library reads the browser reads so too; of the rest it says that it cannot."""
    path = tmp_path / name
    path.write_bytes(kinds()[name])
    page.locator("input[type=file]").first.set_input_files(str(path))
    told = page.locator(".lw-said")
    page.wait_for_function(
        "() => /It took|no picture that/.test(document.querySelector('.lw-said').innerText)"
    )
    if name in OTHERS:
        assert f"«{name}» is no picture that this browser can open" in told.inner_text()
        return
    at = int(page.locator("#own-photo").get_attribute("data-at"))
    side = int(page.locator(".lw-photo select").input_value())
    wall = (Wall.rows, Wall.columns)[side % 2](224, 224, *((at,), (0, at))[side // 2])
    model = build_wall(network, wall)
    with torch.no_grad():
        wanted = model(model.preprocessing.load([path]))[0].numpy()
    found = np.array(page.evaluate("camwall.own.scores()"))
    # Other decoders round otherwise; resizing differs more.
    limit = 1e-3 if path.suffix == ".png" else 0.2 if name != "huge.jpg" else 1.0
    if name != "tiny.png":
        assert np.abs(found - wanted).max() < limit
