"""The processes of one run, as `accelerate launch` starts them, or this one alone."""

import os
from contextlib import nullcontext
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import torch

from camwall.errors import extra

#: How the variables begin by which a launcher tells its processes of one another.
_LAUNCHER = ("WORLD_SIZE", "ACCELERATE_", "PMI_SIZE", "OMPI_COMM_WORLD_SIZE", "MV2_COMM_WORLD_SIZE")
#: accelerate's `PartialState`, or, for a process alone, what is used of it.
Processes = Any


def processes() -> Processes:
    """This process among those of a launcher, and its device.

    accelerate joins several processes without an accelerator only where it is told to use the CPU.
    Those that are done wait for the others for up to a week, not for torch's half an hour.

    Raises
    ------
    CamwallError
        Several processes without the package accelerate.
    """
    if not any(name.startswith(_LAUNCHER) for name in os.environ):
        found = torch.accelerator.is_available() and torch.accelerator.current_accelerator()
        return SimpleNamespace(
            device=found or torch.device("cpu"),
            process_index=0,
            num_processes=1,
            is_main_process=True,
            main_process_first=nullcontext,
            wait_for_everyone=lambda: None,
        )
    with extra("train"):
        from accelerate import PartialState
        from accelerate.utils import parse_flag_from_env
    return PartialState(
        cpu=not torch.accelerator.is_available() or parse_flag_from_env("ACCELERATE_USE_CPU"),
        timeout=timedelta(weeks=1),
    )


def gathered(values: list[Any]) -> list[Any]:
    """The values of all processes, one process's after the other's; for all to call."""
    if processes().num_processes == 1:
        return values
    from accelerate.utils import gather_object

    return gather_object(values)
