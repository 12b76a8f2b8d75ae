"""A section of a page, alone in Chromium."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.helpers.repository import ROOT


@contextmanager
def opened(browser: Any, folder: Path, html: str, script: str) -> Iterator[Any]:
    """A page with nothing but this section, opened from a file in ``folder``.

    No error is raised on it, and nothing is asked of a network.
    """
    for name in ("book", "_static"):
        (folder / name).mkdir(exist_ok=True)
    for file in ("wall.js", "live-wall.css", script):
        shutil.copy(ROOT / "book" / "_static" / file, folder / "_static")
    (folder / "book" / "page.html").write_text(
        '<!doctype html><html lang="en"><meta charset="utf-8"><title>A section</title>'
        f'<link rel="stylesheet" href="../_static/live-wall.css">{html}',
        encoding="utf-8",
    )
    page = browser.new_page()
    said: list[str] = []
    page.on("pageerror", lambda error: said.append(str(error)))
    page.on("console", lambda note: note.type == "error" and said.append(note.text))
    page.on("request", lambda request: request.url.startswith("http") and said.append(request.url))
    page.goto((folder / "book" / "page.html").as_uri())
    yield page
    assert said == []
    page.close()
