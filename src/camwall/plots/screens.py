"""A figure for every screen: drawn for a page's column, and anew for a phone's.

A notebook shows the one that fits the screen. In the book it gets the text that its cell has for
those who cannot see it (`camwall.pages`).
"""

import base64
import io
import sys
from collections.abc import Callable
from contextvars import ContextVar
from functools import wraps
from typing import Any, ParamSpec

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from camwall.plots.style import use_style

P = ParamSpec("P")

#: Widths in inches, each about a hundred pixels of the screen.
COLUMN, PHONE = 7.6, 3.7
_DENSITY = 2  # pixels of the picture for each of the screen's
_AGAIN = "_camwall_draw_again"
#: What tells the pictures of `as_html` from others.
MARK = 'class="for-screens"'

_inches: ContextVar[float | None] = ContextVar("inches", default=None)


def width() -> float:
    """The width in inches of the figure that is being drawn."""
    return _inches.get() or COLUMN


def beside(inches: float) -> int:
    """How many things of that width stand beside one another in the figure, at least one."""
    return max(1, int(width() / inches))


def panels(count: int, height: float, **options: Any) -> tuple[Figure, list[Axes]]:
    """A row of panels, or a column of them where there is no room, each ``height`` inches high.

    Parameters
    ----------
    **options
        For `matplotlib.pyplot.subplots`.
    """
    columns = count if count <= beside(2.3) else 1
    lines = count // columns
    if columns == 1:
        options.pop("width_ratios", None)
    size = (width(), height * lines)
    figure, axes = plt.subplots(lines, columns, figsize=size, squeeze=False, **options)
    return figure, list(axes.flat)


def for_screens(draw: Callable[P, Figure]) -> Callable[P, Figure]:
    """Make of a function that draws a figure of `width` one whose figure fits every screen."""

    @wraps(draw)
    def drawn(*args: P.args, **kwargs: P.kwargs) -> Figure:
        if _inches.get() is not None:  # by another such function, for its width
            return draw(*args, **kwargs)

        def at(inches: float) -> Figure:
            use_style()
            token = _inches.set(inches)
            try:
                return draw(*args, **kwargs)
            finally:
                _inches.reset(token)

        figure = at(COLUMN)
        setattr(figure, _AGAIN, lambda: at(PHONE))
        _show_in_notebooks()
        return figure

    return drawn


def _show_in_notebooks() -> None:
    """Let IPython, where it runs, show figures as `as_html`."""
    if "IPython" in sys.modules:
        from IPython.core.getipython import get_ipython

        shell = get_ipython()
        if shell is not None and shell.display_formatter is not None:
            shell.display_formatter.formatters["text/html"].for_type(Figure, as_html)


def as_html(figure: Figure) -> str | None:
    """The figure's pictures for both widths, as HTML; None for one that was drawn for one only."""
    again = getattr(figure, _AGAIN, None)
    if again is None:
        return None
    narrow = again()
    # With its size a picture has its place before it is there, and is loaded when it comes near.
    (small, small_size), (large, large_size) = _picture(narrow), _picture(figure)
    plt.close(narrow)
    return (
        f'<picture {MARK}><source media="(max-width: 600px)" srcset="{small}" {small_size}>'
        f'<img src="{large}" alt="" {large_size} loading="lazy"></picture>'
    )


def _picture(figure: Figure) -> tuple[str, str]:
    """A picture as the address of its own data, and its size on the screen as attributes."""
    # Lines and letters stay as they are; photographs would be large so.
    photographs = any(ax.get_images() for ax in figure.axes)
    how = {"quality": 88} if photographs else {"lossless": True}
    file = io.BytesIO()
    figure.savefig(file, format="webp", dpi=100 * _DENSITY, pil_kwargs=how)
    with Image.open(file) as image:
        width, height = (pixels // _DENSITY for pixels in image.size)
    data = base64.b64encode(file.getvalue()).decode()
    return f"data:image/webp;base64,{data}", f'width="{width}" height="{height}"'
