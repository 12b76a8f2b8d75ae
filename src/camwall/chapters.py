"""What a chapter does when its data cannot be had: it says so, and the book still builds."""

import re
from collections.abc import Sequence

from IPython.core.getipython import get_ipython
from IPython.display import Markdown, display

from camwall import data

#: ``glue("name", …)`` in a cell: the text of the page refers to these names.
_GLUED = re.compile(r"\bglue\(\s*[\"']([^\"']+)[\"']")


def _skipped(lines: Sequence[str]) -> list[str]:
    """A cell that does nothing but leave a dash wherever the page would have had a number."""
    names = _GLUED.findall("".join(lines))
    return [
        "from myst_nb import glue as _glue\n",
        "from IPython.display import Markdown as _Markdown\n",
        *(f"_glue({name!r}, _Markdown('–'), display=False)\n" for name in names),
    ]


def needs(*names: str) -> None:
    """Let the cells after this one run only if these data sets (`camwall.data.SOURCES`) can be had.

    Without them the page says which is missing and how to get it, the numbers in its text become
    dashes, and its figures stay away; nothing fails.
    """
    missing = [name for name, folder in data.fetch(names).items() if folder is None]
    if not missing:
        return
    titles = ", ".join(data.SOURCES[name].title for name in missing)
    display(
        Markdown(
            f"**This page was built without its data.** {titles} could not be downloaded: the "
            "figures and numbers below are left out. `camwall fetch` says how to get what is "
            "missing; `make book` then fills them in."
        )
    )
    shell = get_ipython()
    if shell is not None:
        shell.input_transformers_cleanup.append(_skipped)
