"""The theorem to play with: closed forms and random networks in the reader's browser."""

from IPython.display import HTML
from torch import Tensor

from camwall.errors import CamwallError
from camwall.plots.live import palette, section
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
    without = "The sliders here need JavaScript, which is off."
    return section("playground", "The theorem to play with", given, "theorem", without)
