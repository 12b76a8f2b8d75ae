"""``camwall train`` and ``camwall shrink``, and the run they share with ``notebooks/train.ipynb``.

This is the top of the house: it may call what lies above the training loop.
"""

import dataclasses
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import torch
import typer

from camwall.commands.follow import follow_leaks
from camwall.config import quick
from camwall.errors import CamwallError
from camwall.models import MaskedModel
from camwall.processes import processes
from camwall.runs import manifest, write_json, writing
from camwall.train.loop import Run, fit
from camwall.train.probes import pair_stacks
from camwall.train.recipe import Recipe
from camwall.train.saving import MODEL
from camwall.train.studies import STUDIES, TrainingData, study

MANIFEST = "manifest.json"


@dataclasses.dataclass(frozen=True)
class StudyRun:
    """A run of a study: the trained network, what it was trained on, by which recipe."""

    run: Run
    data: TrainingData
    recipe: Recipe

    @property
    def model(self) -> MaskedModel:
        return self.run.model


def train_study(
    name: str = "digits",
    *,
    masked: bool = True,
    out: str | Path | None = None,
    data: str | None = None,
    small: bool = False,
    stacks: int = 100,
    workers: int = 0,
    save_every: int = 1000,
    progress: bool = True,
    tensorboard: bool = False,
    command: str | None = None,
    **changes: Any,
) -> StudyRun:
    """Train a study's network by its recipe, following the leak, and record how.

    Parameters
    ----------
    name : str
        A key of `camwall.train.STUDIES`.
    masked : bool
        ``False`` trains the baseline.
    out : path, optional
        Folder of checkpoint, ``metrics.csv``, ``model.pt`` and ``manifest.json``; an interrupted
        run goes on there.
    data : str, optional
        See `camwall.train.Study.load`.
    small : bool
        The small VGG for images of any size.
    stacks : int
        Stacks of two test images on which each epoch's leak is measured; 0 measures none.
    workers, save_every, progress, tensorboard
        As in `camwall.train.fit`.
    command : str, optional
        What the manifest records as the command; by default this process's.
    **changes
        Fields of `Recipe` to set; None leaves the study's value. With ``epochs`` alone the steps
        of the learning rate move in proportion.

    Raises
    ------
    CamwallError
        An unknown study or field, and all that `fit` refuses.
    """
    chosen = study(name)
    fields = {field.name for field in dataclasses.fields(Recipe)}
    if unknown := sorted(changes.keys() - fields):
        raise CamwallError(f"a recipe has no {unknown[0]!r}: it has {', '.join(sorted(fields))}")
    if stacks < 0:
        raise CamwallError(f"stacks cannot be negative, it is {stacks}")
    recipe = dataclasses.replace(
        chosen.recipe, **{key: value for key, value in changes.items() if value is not None}
    )
    if changes.get("lr_step") is None:  # the schedule keeps its proportions
        share = chosen.recipe.lr_step / chosen.recipe.epochs
        recipe = dataclasses.replace(recipe, lr_step=max(1, round(recipe.epochs * share)))
    loaded = chosen.load(data, small=small)
    if quick():
        recipe, stacks = recipe.quick(), min(stacks, 10)
    torch.manual_seed(recipe.seed)  # the first weights
    model = loaded.network(masked=masked)
    measure = None
    if stacks:
        measure = follow_leaks(pair_stacks(loaded.test, model, stacks)[0])
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
            {"study": name, "masked": masked, "data": data, "stacks": stacks, "small": small}
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
    return StudyRun(run, loaded, recipe)


def train(
    out: Annotated[Path, typer.Argument(help="Folder of the run; a killed run goes on there.")],
    study: Annotated[str, typer.Option(help=f"One of {', '.join(STUDIES)}.")] = "digits",
    data: Annotated[
        str | None,
        typer.Option(help="Folder with train/ and val/, or of class folders, or hf:NAME."),
    ] = None,
    masked: Annotated[
        bool, typer.Option("--masked/--baseline", help="The masked network or its baseline.")
    ] = True,
    small: Annotated[bool, typer.Option(help="The small VGG on any images, at 28×28.")] = False,
    epochs: Annotated[int | None, typer.Option(help="Default: the study's.")] = None,
    batch: Annotated[int | None, typer.Option(help="Images a step, over all processes.")] = None,
    micro_batch: Annotated[
        int | None, typer.Option(help="Images a process takes at once; gradients accumulate.")
    ] = None,
    lr: Annotated[float | None, typer.Option(help="Learning rate.")] = None,
    lr_step: Annotated[
        int | None, typer.Option(help="Epochs between its decays; by default a third.")
    ] = None,
    momentum: Annotated[float | None, typer.Option()] = None,
    weight_decay: Annotated[float | None, typer.Option()] = None,
    dropout: Annotated[float | None, typer.Option()] = None,
    seed: Annotated[int, typer.Option(help="Of weights, order, crops and dropout.")] = 0,
    precision: Annotated[str | None, typer.Option(help="auto, no, fp16 or bf16.")] = None,
    visible_only: Annotated[
        bool, typer.Option(help="Train the visible part alone; --no-visible-only masks instead.")
    ] = True,
    channels_last: Annotated[bool, typer.Option(help="Memory format of convolutions.")] = False,
    compile: Annotated[bool, typer.Option(help="torch.compile the network.")] = False,
    workers: Annotated[int, typer.Option(help="Processes that decode images.")] = 0,
    save_every: Annotated[int, typer.Option(help="Steps between checkpoints.")] = 1000,
    stacks: Annotated[int, typer.Option(help="Stacks to follow the leak on; 0: none.")] = 100,
    tensorboard: Annotated[bool, typer.Option(help="Write OUT/tensorboard too.")] = False,
) -> None:
    """Train the masked network of a study, or its baseline, by the paper's recipe.

    Under ``accelerate launch --multi_gpu -m camwall train …`` on several GPUs or hosts. The same
    command takes up a run that was killed.
    """
    result = train_study(
        study,
        masked=masked,
        out=out,
        data=data,
        small=small,
        stacks=stacks,
        workers=workers,
        save_every=save_every,
        tensorboard=tensorboard,
        command=shlex.join(["camwall", *sys.argv[1:]]),
        epochs=epochs,
        batch=batch,
        micro_batch=micro_batch,
        lr=lr,
        lr_step=lr_step,
        momentum=momentum,
        weight_decay=weight_decay,
        dropout=dropout,
        seed=seed,
        precision=precision,
        visible_only=visible_only,
        channels_last=channels_last,
        compile=compile,
    )
    state = processes()
    if state.is_main_process:
        last = result.run.history.iloc[-1]
        for certificate in result.run.certificates[-1:]:
            print(certificate)
        print(f"top-1 {last['test_top1']:.1%} after epoch {last['epoch']:.0f}; {out / MODEL}")
    state.destroy_process_group()


def collect(
    runs: Annotated[Path, typer.Argument(help="Folder of finished runs of one study.")],
    out: Annotated[Path, typer.Argument(help="Folder of the tables.")],
) -> None:
    """Join the runs of a folder into tables, and measure their networks on stacks.

    Each network is checked with the paper's methods on the stacks it was followed on.
    """
    from camwall.commands.collect import collect_runs

    print(collect_runs(runs, out, command=shlex.join(["camwall", *sys.argv[1:]])).to_string())


def shrink(
    source: Annotated[Path, typer.Argument(help="Folder of images, nested at will.")],
    target: Annotated[Path, typer.Argument(help="Folder for the smaller copies.")],
    size: Annotated[int, typer.Option(help="Length of the shorter side in pixels.")] = 256,
    quality: Annotated[int, typer.Option(help="JPEG quality.")] = 90,
    workers: Annotated[int, typer.Option(help="Processes; 0: this one.")] = 0,
) -> None:
    """Shrink the images of a folder once, so that each epoch decodes less."""
    from camwall.train.shrink import shrink_folder

    done, kept = shrink_folder(source, target, size=size, quality=quality, workers=workers)
    print(f"{done} images written to {target}, {kept} were there already")
