"""The book's pages, as an extension of Sphinx: what its theme and tools leave to be mended."""

import base64
import hashlib
import html
import re
import shutil
import sys
from functools import partial
from pathlib import Path
from typing import Any

from fontTools.subset import Options, Subsetter
from fontTools.ttLib import TTFont

from camwall.errors import DataUnavailable
from camwall.plots.screens import MARK

#: In every page: (what stands there, what is to stand there instead).
_MENDED = (
    # A name that says something else than the text it stands for misleads who hears it.
    ('<summary aria-label="Toggle hidden content">', "<summary>"),
    ('title="Search" aria-label="Search"', 'title="Search" aria-label="Search Ctrl+K"'),
    # Roles whose children are not what they promise.
    ('<div role="list" class="citation-list">', '<div class="citation-list">'),
    (' role="doc-biblioentry"', ""),
)
#: A picture within the page, which a screen of any size would load.
_INLINE = re.compile(r'\b(src|srcset)="data:image/(\w+);base64,([\w+/=]{4096,})"')
#: What a page is said to be about, which is how it begins.
_ABOUT = re.compile(r'(<meta (?:name="|property="og:)description" content=")([^"]*)"')
#: A rule of Font Awesome: names of an icon, and the letter of its font that draws it.
_ICON = re.compile(r'((?:\.fa-[\w-]+:before,?)+)\{content:"\\?([^"]+?)\s?"\}')
#: A letter that another rule draws, as it is or by its number.
_LETTER = re.compile(r"([\ue000-\uf8ff])|\\([ef][0-9a-f]{3})")
#: Where a style sheet has a font from.
_FONT = re.compile(r'url\(([^)]+)\.woff2\) format\("woff2"\),url\([^)]+\) format\("truetype"\)')


def setup(app: Any) -> dict[str, bool]:
    """Be an extension of Sphinx."""
    app.connect("doctree-resolved", _describe)
    app.connect("html-page-context", _lighten, priority=900)  # after the extensions that add
    app.connect("html-page-context", _tell_in_sentences, priority=900)
    app.connect("build-finished", _mend)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _describe(app: Any, page: Any, name: str) -> None:
    """Give each figure of `camwall.plots.screens` the text of its cell."""
    for cell in page.findall(lambda node: "cell_metadata" in getattr(node, "attributes", {})):
        text = cell["cell_metadata"].get("mystnb", {}).get("image", {}).get("alt", "")
        for raw in cell.findall(lambda node: node.tagname == "raw"):
            if MARK in raw.astext():
                described = raw.astext().replace('alt=""', f'alt="{html.escape(text)}"')
                raw.children = [type(raw.children[0])(described)]


def _lighten(app: Any, name: str, template: str, context: dict[str, Any], page: Any) -> None:
    """No MathJax on a page without mathematics; Sphinx asks the pages below it too."""
    if page is None or not any(page.findall(lambda node: node.tagname.startswith("math"))):
        scripts = context.get("script_files", [])
        context["script_files"] = [file for file in scripts if "mathjax" not in str(file)]


def _tell_in_sentences(
    app: Any, name: str, template: str, context: dict[str, Any], page: Any
) -> None:
    """End what a page is said to be about after a sentence, without marks of citations."""

    def mended(found: re.Match[str]) -> str:
        start, text = found.groups()
        plain = re.sub(r"\s*\[ ?[^]]*\]?", "", text).replace("\\times", "×")
        whole = re.match(r".*(?<! al)[.?!](?=\s)", plain) if text.endswith("...") else None
        return f'{start}{whole.group() if whole else plain}"'

    context["metatags"] = _ABOUT.sub(mended, context.get("metatags", ""))


def _mend(app: Any, exception: Exception | None) -> None:
    """Change what no setting changes, in the files that were written."""
    if exception is not None or app.builder.format != "html":
        return
    folder = Path(app.outdir)
    # The icons come twice, as a font and drawn by this script, which is a third of a page's bytes.
    twice = folder / "_static" / "scripts" / "fontawesome.js"
    if twice.is_file():
        twice.write_text("/* The icons come from the font. */\n", encoding="utf-8")
    if "book/photo" in app.env.found_docs:
        _bring_network(folder / "_static" / "photo")
    theme = Path(app.registry.html_themes["pydata_sphinx_theme"]) / "static"
    _cut_icons(theme, folder / "_static")
    for path in folder.rglob("*.html"):
        text = mended = path.read_text(encoding="utf-8")
        for old, new in _MENDED:
            mended = mended.replace(old, new)
        mended = _INLINE.sub(partial(_as_file, folder, path), mended)
        if mended != text:
            path.write_text(mended, encoding="utf-8")


def _cut_icons(theme: Path, static: Path) -> None:
    """Leave in Font Awesome's fonts and rules, most of a page's bytes, what some page shows.

    They are cut from the theme's own files, so that a second build does the same.
    """
    pages = [*static.parent.rglob("*.html"), *static.glob("*.js"), *static.glob("scripts/*.js")]
    shown = {name for page in pages for name in re.findall(r"\bfa-[\w-]+", page.read_text("utf-8"))}
    letters: set[str] = set()

    def kept(rule: re.Match[str]) -> str:
        names, letter = rule.groups()
        if shown.isdisjoint(re.findall(r"fa-[\w-]+", names)):
            return ""
        letters.add(letter if len(letter) == 1 else chr(int(letter, 16)))
        return rule.group()

    sheet = Path("styles", "pydata-sphinx-theme.css")
    rules = _ICON.sub(kept, (theme / sheet).read_text("utf-8"))
    (static / sheet).write_text(_FONT.sub(r'url(\1.woff) format("woff")', rules), "utf-8")
    for path in static.rglob("*.css"):
        for letter, number in _LETTER.findall(path.read_text("utf-8")):
            letters.add(letter or chr(int(number, 16)))
    for path in theme.glob("vendor/fontawesome/webfonts/*.ttf"):
        font = TTFont(path, recalcTimestamp=False)
        # Its licence, SIL OFL 1.1, reserves the name for the whole font.
        cutter = Subsetter(Options(name_IDs=[0], notdef_outline=True))
        cutter.populate(text="".join(letters))
        cutter.subset(font)
        font.flavor = "woff"
        target = static / path.relative_to(theme)
        font.save(target.with_suffix(".woff"))
        for whole in (".ttf", ".woff2"):
            target.with_suffix(whole).unlink(missing_ok=True)


def _as_file(folder: Path, page: Path, found: re.Match[str]) -> str:
    """Put a picture beside the pages: of two for two screens only one is loaded then."""
    attribute, kind, text = found.groups()
    content = base64.b64decode(text)
    name = f"{hashlib.sha256(content).hexdigest()[:16]}.{kind}"
    (folder / "_images").mkdir(exist_ok=True)
    (folder / "_images" / name).write_bytes(content)
    above = "../" * len(page.relative_to(folder).parts[:-1])
    return f'{attribute}="{above}_images/{name}"'


def _bring_network(folder: Path) -> None:
    """Put what «Your own photograph» loads beside the pages, where it can be had."""
    from camwall.plots import photo  # here, since it is slow

    shutil.rmtree(folder, ignore_errors=True)
    try:
        shutil.copytree(photo.browser_files(), folder)
    except DataUnavailable as error:
        print(f"camwall: {error}", file=sys.stderr)
