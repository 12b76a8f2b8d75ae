"""The processes of one run, as `accelerate launch` starts them, or this one alone."""

import warnings
from datetime import timedelta

import torch

with warnings.catch_warnings():
    # accelerate imports tqdm.auto, which prints into every notebook that ipywidgets is missing.
    warnings.filterwarnings("ignore", message="IProgress not found")
    from accelerate import PartialState
    from accelerate.utils import parse_flag_from_env

__all__ = ["PartialState", "processes"]


def processes() -> PartialState:
    """This process among those of a launcher, and its device.

    accelerate joins several processes without an accelerator only where it is told to use the CPU.
    Those that are done wait for the others for up to a week, not for torch's half an hour.
    """
    return PartialState(
        cpu=not torch.accelerator.is_available() or parse_flag_from_env("ACCELERATE_USE_CPU"),
        timeout=timedelta(weeks=1),
    )
