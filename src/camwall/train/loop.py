"""Training from the first step to the last: epochs, checkpoints, metrics, progress."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from tqdm import tqdm

from camwall.errors import BlindnessError, CamwallError, check_count, check_kind, check_path
from camwall.models.checkpoint import save_checkpoint
from camwall.models.masked import MaskedModel
from camwall.train.probes import probe_images
from camwall.train.recipe import Recipe
from camwall.train.studies import TrainingData
from camwall.train.trainer import MODEL, Trainer
from camwall.wall import certify

Measure = Callable[[MaskedModel], Mapping[str, float]]
CHECK_EVERY = 20  # steps between looks at the loss, each of which waits for the device


@dataclass(frozen=True)
class Run:
    """A finished training run.

    Attributes
    ----------
    model : MaskedModel
        Trained, in the full layout, in evaluation mode.
    data : TrainingData
    recipe : Recipe
    history : DataFrame
        One row an epoch: ``epoch``, ``lr``, ``train_loss``, ``train_top1``, ``test_loss``,
        ``test_top1`` (shares in [0, 1]), ``images_per_second``, and what ``measure`` gave.
    certificates : tuple of str
        The wall's certificates before and after training; empty for a baseline. A network that
        training has left dead on all images has ``not certified: …`` for the second.
    """

    model: MaskedModel
    data: TrainingData
    recipe: Recipe
    history: pd.DataFrame
    certificates: tuple[str, ...]

    def __str__(self) -> str:
        last = self.history.iloc[-1]
        top1 = f"top-1 {last['test_top1']:.1%} after epoch {last['epoch']:.0f}"
        return "\n".join([*self.certificates[-1:], top1])


def fit(
    model: MaskedModel,
    data: TrainingData,
    recipe: Recipe | None = None,
    out: str | Path | None = None,
    *,
    measure: Measure | None = None,
    workers: int = 0,
    save_every: int = 1000,
    progress: bool = True,
    tensorboard: bool = False,
) -> Run:
    """Train a masked network or its baseline; a killed run goes on where it was.

    Parameters
    ----------
    model : MaskedModel
        Trained in place.
    data : TrainingData
        See `camwall.train.study`.
    recipe : Recipe, optional
        The paper's by default.
    out : path, optional
        Folder for the checkpoint, the metrics and, at the end, ``model.pt``, which is there before
        the second certificate is asked for. Where it holds an
        interrupted run of the same recipe, network and data, that run goes on, to the same
        weights (bit for bit on a CPU with the same number of threads); a finished one is loaded.
    measure : callable, optional
        From the network, in the full layout, to named numbers that each epoch's row is to have.
    workers : int
        Processes that decode images; 0 decodes in this one.
    save_every : int
        Steps between two checkpoints; one is written at the end of each epoch besides.
    progress : bool
        Show loss, top-1, images per second and the time left on stderr.
    tensorboard : bool
        Write each epoch's numbers to ``out/tensorboard`` too.

    Returns
    -------
    Run

    Raises
    ------
    BlindnessError
        The wall of a masked network has a hole, before or after training.
    CamwallError
        Data that does not fit the network, an image that cannot be read, a loss that is not
        finite, a full disk, a folder with another run, or in which another process is at work.
        The last good checkpoint stays.
    """
    recipe, folder = recipe or Recipe(), None if out is None else check_path("out", out)
    for name, value, kind in (("model", model, MaskedModel), ("data", data, TrainingData)):
        check_kind(name, value, kind)
    check_count("save_every", save_every)
    check_count("workers", workers, 0)
    if tensorboard and folder is None:
        raise CamwallError("tensorboard needs a folder: give out")
    _check_fit(model, data)
    certificates = [_certificate(model, data)] if model.masked else []
    trainer = Trainer(model, data, recipe, workers, folder, tensorboard)
    with trainer.alone():
        _train(trainer, measure, save_every, progress)
    if model.masked:
        try:
            certificates.append(_certificate(model, data))
        except BlindnessError:
            raise
        except CamwallError as error:  # dead: the run is over all the same, and its record says so
            certificates.append(f"not certified: {error}")
    trainer.accelerator.wait_for_everyone()
    return Run(model, data, recipe, pd.DataFrame(trainer.history), tuple(certificates))


def _certificate(model: MaskedModel, data: TrainingData) -> str:
    """The wall's certificate, where the weights lie already: seconds for VGG16.

    Training can leave a network dead on noise that looks at images: it is probed on these too.
    """
    return str(certify(model, probe_images(model, data.test), probes=1))


def _check_fit(model: MaskedModel, data: TrainingData) -> None:
    classes = getattr(model.head[-1], "out_features", None)
    if classes is None:
        raise CamwallError(
            f"the network's head ends in {type(model.head[-1]).__name__}: to be trained, it has to "
            "end in the Linear that gives the scores"
        )
    if classes != len(data.class_names):
        raise CamwallError(
            f"the network has {classes} classes, the data {len(data.class_names)}: build it with "
            f"classes={len(data.class_names)}"
        )
    if model.preprocessing != data.preprocessing:
        raise CamwallError(
            f"the network takes images prepared by {model.preprocessing}, the data gives "
            f"{data.preprocessing}: build it with the data's preprocessing"
        )


def _train(trainer: Trainer, measure: Measure | None, save_every: int, progress: bool) -> None:
    """Train from where the run's folder says to the last epoch, and save the network there."""
    trainer.resume()
    trainer.write_metrics()  # a kill may have come between the last checkpoint and them
    recipe, main = trainer.recipe, trainer.accelerator.is_main_process
    images = trainer.schedule.steps * recipe.batch
    with tqdm(
        total=recipe.epochs * images,
        initial=trainer.epoch * images + trainer.step * recipe.batch,
        unit="image",
        unit_scale=True,
        disable=not (progress and main),
    ) as bar:
        while trainer.epoch < recipe.epochs:
            _end_epoch(trainer, measure, _epoch(trainer, save_every, bar))
            trainer.save()
    model = trainer.expanded()
    if trainer.out is not None and main:
        save_checkpoint(model, trainer.out / MODEL)


def _epoch(trainer: Trainer, save_every: int, bar: tqdm) -> float:
    """Run the rest of the epoch; images per second of it."""
    schedule, batch = trainer.schedule, trainer.recipe.batch
    schedule.epoch, schedule.start = trainer.epoch, trainer.step
    begin, started = time.monotonic(), trainer.step
    batches = iter(trainer.train)
    while trainer.step < schedule.steps:
        trainer.optimise(batches)
        trainer.step += 1
        bar.update(batch)
        saves = trainer.step % save_every == 0 and trainer.step < schedule.steps
        shows = trainer.step % CHECK_EVERY == 0 or trainer.step == schedule.steps
        if saves or shows:
            trainer.check_finite()
        if shows:
            loss, correct, count = trainer.sums.tolist()
            bar.set_postfix(
                epoch=trainer.epoch + 1, loss=f"{loss / count:.3f}", top1=f"{correct / count:.1%}"
            )
        if saves:
            trainer.save()
    return (trainer.step - started) * batch / (time.monotonic() - begin)


def _end_epoch(trainer: Trainer, measure: Measure | None, rate: float) -> None:
    """Test, write the epoch's row, and go on to the next."""
    loss, correct, count = trainer.accelerator.reduce(trainer.sums, "sum").tolist()
    test_loss, test_top1 = trainer.evaluate()
    row: dict[str, Any] = {
        "epoch": trainer.epoch + 1,
        "lr": trainer.scheduler.get_last_lr()[0],
        "train_loss": loss / count,
        "train_top1": correct / count,
        "test_loss": test_loss,
        "test_top1": test_top1,
        "images_per_second": rate,
    }
    if measure is not None and trainer.accelerator.is_main_process:
        row |= {name: float(value) for name, value in measure(trainer.expanded()).items()}
    trainer.scheduler.step()
    trainer.history.append(row)
    trainer.sums.zero_()
    trainer.epoch, trainer.step = trainer.epoch + 1, 0
