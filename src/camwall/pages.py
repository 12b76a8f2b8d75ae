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


def setup(app: Any) -> dict[str, bool]:
    """Be an extension of Sphinx."""
    app.connect("doctree-resolved", _describe)
    app.connect("html-page-context", _lighten, priority=900)  # after the extensions that add
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
    for path in folder.rglob("*.html"):
        text = mended = path.read_text(encoding="utf-8")
        for old, new in _MENDED:
            mended = mended.replace(old, new)
        mended = _INLINE.sub(partial(_as_file, folder, path), mended)
        if mended != text:
            path.write_text(mended, encoding="utf-8")


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
