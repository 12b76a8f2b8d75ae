"""The theorem to play with: closed forms and random networks in the reader's browser."""

from IPython.display import HTML
from torch import Tensor

from camwall.errors import CamwallError
from camwall.plots.live import as_script, palette
from camwall.theory import Setting


def theorem_playground(setting: Setting, image: Tensor, tau: float) -> HTML:
    """The page's section, in which filters, wall and patch are on sliders.

    Parameters
    ----------
    setting : Setting
        Of a square image; its wall is where the reader puts it.
    image : tensor [H, W] in [0, 1]
        On which single networks are looked at.
    tau : float
        Standard deviation of every parameter.
    """
    rows, columns = setting.map_shape
    if rows != columns or setting.pool != 2:
        raise CamwallError("the playground takes square images, pooled by two")
    given = {
        "side": rows,
        "pooled": setting.pooled_shape[0],
        "kernel": setting.kernel,
        "tau": tau,
        "digit": [[round(float(pixel), 4) for pixel in row] for row in image],
        "colours": palette(),
    }
    return HTML(
        '<section id="playground" class="live-wall lw-play" aria-label="The theorem to play '
        f'with" hidden>{as_script(given)}</section>'
        '<script defer src="../_static/wall.js"></script>'
        '<script defer src="../_static/theorem.js"></script>'
        "<noscript><p>The sliders here need JavaScript, which is off.</p></noscript>"
    )
