"""The leak as a metric of the package Quantus, for `quantus.evaluate` beside its own."""

from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np
import torch

from camwall.errors import extra
from camwall.metrics.leak import is_empty, leak
from camwall.models import require_walled

with extra("quantus"):
    from quantus.helpers.enums import DataType, EvaluationCategory, ModelType, ScoreDirection
    from quantus.metrics.base import Metric


class WallLeak(Metric[list[float]]):
    """How much of an attribution lies behind a wall: `camwall.leak`, lower is better.

    The model that is given to Quantus is a walled one, `camwall.build_wall`. It cannot see what is
    hidden, so that an attribution there, of either sign, is none of its own. 0 is the best, NaN an
    attribution that is 0 everywhere.

    Parameters
    ----------
    clear : bool
        Leave out the hidden pixels that bilinear upsampling fills in part from visible cells.
    return_aggregate, aggregate_func, disable_warnings, display_progressbar
        As all of Quantus' metrics take them.

    Raises
    ------
    CamwallError
        A model without a wall; attributions that are not [N, H, W] or [N, 1, H, W].
    """

    name = "Wall-Leak"
    data_applicability: ClassVar = {DataType.IMAGE}
    model_applicability: ClassVar = {ModelType.TORCH}
    score_direction = ScoreDirection.LOWER
    evaluation_category = EvaluationCategory.LOCALISATION

    def __init__(
        self,
        clear: bool = False,
        return_aggregate: bool = False,
        aggregate_func: Callable[..., Any] = np.nanmean,
        disable_warnings: bool = False,
        display_progressbar: bool = False,
    ) -> None:
        super().__init__(
            abs=False,  # the l2 norm is of either sign
            normalise=False,  # the leak is a share
            normalise_func=None,
            normalise_func_kwargs=None,
            return_aggregate=return_aggregate,
            aggregate_func=aggregate_func,
            default_plot_func=None,
            disable_warnings=disable_warnings,
            display_progressbar=display_progressbar,
        )
        self.clear = clear

    def __call__(self, model, x_batch, y_batch, a_batch=None, **given):  # type: ignore[no-untyped-def]
        """Leaks of the images of a batch, as Quantus calls its metrics."""
        known = dict.fromkeys(("s_batch", "channel_first", "explain_func", "explain_func_kwargs"))
        known |= {"model_predict_kwargs": None, "softmax": False}
        return super().__call__(model, x_batch, y_batch, a_batch, **known | given)

    def evaluate_batch(self, model, a_batch, **_):  # type: ignore[no-untyped-def, override]
        """Leaks of attributions [n, 1, H, W] of a walled model."""
        walled = model.get_model()
        require_walled(walled)
        maps = torch.as_tensor(np.asarray(a_batch))
        maps = maps[:, 0] if maps.ndim == 4 and maps.shape[1] == 1 else maps
        clear_of = walled.visible_cells if self.clear else None
        found = leak(maps, walled.wall, clear_of=clear_of)
        return torch.where(is_empty(maps), torch.nan, found).tolist()
