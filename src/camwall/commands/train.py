"""The run that ``camwall train`` and ``notebooks/train.ipynb`` share."""

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Any

from camwall.errors import CamwallError
from camwall.train.recipe import Recipe

if TYPE_CHECKING:
    from camwall.train import Run

MANIFEST = "manifest.json"


def train_study(
    study: str = "digits",
    *,
    masked: bool = True,
    out: Path | None = None,
    data: str | None = None,
    small: bool = False,
    stacks: int = 100,
    workers: int = 0,
    save_every: int = 1000,
    progress: bool = True,
    tensorboard: bool = False,
    command: str | None = None,
    **changes: Any,
) -> "Run":
    """Train the masked network of a study, or its baseline, by its recipe, and follow the leak.

    Fields of the recipe that are not given are the study's; with ``epochs`` alone the steps of the
    learning rate move in proportion. Under ``accelerate launch --multi_gpu -m camwall train …`` on
    several GPUs or hosts. The same command takes up a run that was killed.

    Parameters
    ----------
    study : str
        One of digits, fashion, cifar10, imagenet, folder (`camwall.train.STUDIES`).
    masked : bool
        The masked network or its baseline.
    out : path, optional
        Folder of checkpoint, ``metrics.csv``, ``model.pt`` and ``manifest.json``.
    data : str, optional
        Folder with ``train/`` and ``val/``, or of class folders, or ``hf:NAME``.
    small : bool
        The small VGG on any images, at 28×28.
    stacks : int
        Stacks of two test images on which each epoch's leak is measured; 0 measures none.
    workers : int
        Processes that decode images; 0 decodes in this one.
    save_every : int
        Steps between two checkpoints.
    progress : bool
        Show loss, top-1, images per second and the time left on stderr.
    tensorboard : bool
        Write each epoch's numbers to ``out/tensorboard`` too.
    command : str, optional
        What the manifest records as the command; by default this process's.
    **changes
        Fields of `Recipe`; None leaves the study's value.

    Raises
    ------
    CamwallError
        An unknown study or field, and all that `fit` refuses.
    """
    import torch

    from camwall.metrics.leak import follow_leaks
    from camwall.processes import processes
    from camwall.runs import manifest, write_json, writing
    from camwall.train import fit, pair_stacks, studies

    chosen = studies.study(study)
    fields = {field.name for field in dataclasses.fields(Recipe)}
    if unknown := sorted(changes.keys() - fields):
        raise CamwallError(f"a recipe has no {unknown[0]!r}: it has {', '.join(sorted(fields))}")
    if stacks < 0:
        raise CamwallError(f"stacks cannot be negative, it is {stacks}")
    given = {name: value for name, value in changes.items() if value is not None}
    recipe = dataclasses.replace(chosen.recipe, **given)
    if "lr_step" not in given:  # the schedule keeps its proportions
        share = chosen.recipe.lr_step / chosen.recipe.epochs
        recipe = dataclasses.replace(recipe, lr_step=max(1, round(recipe.epochs * share)))
    loaded = chosen.load(data, small=small)
    torch.manual_seed(recipe.seed)  # the first weights
    model = loaded.network(masked=masked)
    measure = follow_leaks(pair_stacks(loaded.test, model, stacks)[0]) if stacks else None
    run = fit(
        model,
        loaded,
        recipe,
        out,
        measure=measure,
        workers=workers,
        save_every=save_every,
        progress=progress,
        tensorboard=tensorboard,
    )
    state = processes()
    if out is not None and state.is_main_process:
        record = manifest(
            {"study": study, "masked": masked, "data": data, "stacks": stacks, "small": small}
            | dataclasses.asdict(recipe),
            seed=recipe.seed,
            command=command,
            certificates=run.certificates,
            images={"train": len(loaded.train), "test": len(loaded.test)},
            processes=state.num_processes,
            threads=torch.get_num_threads(),
            device=str(state.device),
        )
        with writing(Path(out) / MANIFEST):
            write_json(Path(out) / MANIFEST, record)
    return run
