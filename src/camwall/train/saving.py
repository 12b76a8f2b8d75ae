"""Training checkpoints: all that a killed run needs to go on as if nothing had happened."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from camwall.errors import CamwallError
from camwall.models.checkpoint import read_weights, save_atomic
from camwall.runs import refuse_other, remove_unfinished, writing
from camwall.train.recipe import Recipe

LAST, MODEL, METRICS = "last.pt", "model.pt", "metrics.csv"


def random_states(accelerator: Accelerator) -> list[dict[str, Any]]:
    """The states of torch's random generators in each process, in the order of the processes."""
    state = {"cpu": torch.get_rng_state()}
    if accelerator.device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(accelerator.device)
    return gather_object([state])


def restore_random_state(states: list[dict[str, Any]], accelerator: Accelerator) -> None:
    """Put back what `random_states` recorded for this process."""
    if len(states) != accelerator.num_processes:
        raise CamwallError(
            f"the run was started on {len(states)} processes and goes on with as many, not with "
            f"{accelerator.num_processes}"
        )
    state = states[accelerator.process_index]
    torch.set_rng_state(state["cpu"])
    if "cuda" in state and accelerator.device.type == "cuda":
        torch.cuda.set_rng_state(state["cuda"], accelerator.device)


def plain(recipe: Recipe) -> dict[str, Any]:
    """The recipe as what a weights-only file can hold."""
    return {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(recipe).items()}


def save_training(out: Path, content: dict[str, Any]) -> None:
    """Write the training checkpoint of a run, atomically."""
    save_atomic(content, out / LAST)


def load_training(
    out: Path, identity: dict[str, Any], accelerator: Accelerator
) -> dict[str, Any] | None:
    """Read the training checkpoint of a run, None if there is none yet.

    Raises
    ------
    CamwallError
        The folder holds a run of another recipe, network or data; hosts that do not share it.
    """
    with writing(out):
        out.mkdir(parents=True, exist_ok=True)
    remove_unfinished(out)
    found = gather_object([(out / LAST).exists()])
    if any(found) and not all(found):
        raise CamwallError(
            f"{accelerator.num_processes - sum(found)} of {accelerator.num_processes} processes do "
            f"not find the checkpoint in {out}: give a folder that all hosts share"
        )
    if not any(found):
        return None
    content = read_weights(out / LAST)
    known = content.get("identity") if isinstance(content, dict) else None
    if not isinstance(known, dict) or not known.keys() >= identity.keys():
        raise CamwallError(f"{out / LAST} is not of camwall's training: give another folder")
    refuse_other(out, json.loads(json.dumps(known)), identity)  # a tuple equals its list
    return content
