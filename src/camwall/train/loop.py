"""The training loop, on whatever machine accelerate finds."""

import math
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor, nn
from tqdm import tqdm

from camwall.errors import CamwallError
from camwall.models.checkpoint import describe, save_checkpoint, writing
from camwall.models.walled import MaskedModel
from camwall.runs import write_csv
from camwall.train.loading import Batches, Schedule, derived_seed
from camwall.train.recipe import Recipe
from camwall.train.saving import (
    METRICS,
    MODEL,
    load_training,
    plain,
    random_states,
    restore_random_state,
    save_training,
)
from camwall.train.studies import TrainingData
from camwall.train.visible import VisiblePart, visible_part
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
    history : DataFrame
        One row an epoch: ``epoch``, ``lr``, ``train_loss``, ``train_top1``, ``test_loss``,
        ``test_top1`` (shares in [0, 1]), ``images_per_second``, and what ``measure`` gave.
    certificates : tuple of str
        The wall's certificates before and after training; empty for a baseline.
    """

    model: MaskedModel
    history: pd.DataFrame
    certificates: tuple[str, ...]


def make_accelerator(precision: str) -> Accelerator:
    """An accelerator in the given precision, also where one of another was made before."""
    gpu = torch.cuda.is_available()
    if precision == "auto":
        precision = ("bf16" if torch.cuda.is_bf16_supported() else "fp16") if gpu else "no"
    if precision == "fp16" and not gpu:
        raise CamwallError("precision fp16 needs a GPU: use 'bf16', 'no' or 'auto' on a CPU")
    AcceleratorState._reset_state()  # keeps the process group; drops the last run's precision
    return Accelerator(mixed_precision=precision)


class Trainer:
    """One run's moving parts, and its position."""

    def __init__(
        self, model: MaskedModel, data: TrainingData, recipe: Recipe, workers: int
    ) -> None:
        self.accelerator = accelerator = make_accelerator(recipe.precision)
        self.model, self.data, self.recipe = model, data, recipe
        for layer in model.modules():
            if isinstance(layer, nn.Dropout):
                layer.p = recipe.dropout
        self.dtype = next(model.parameters()).dtype
        layout = torch.channels_last if recipe.channels_last else torch.contiguous_format
        model.to(accelerator.device).to(memory_format=layout)  # type: ignore[call-overload]
        self.part: VisiblePart | MaskedModel = visible_part(model) if recipe.visible_only else model
        compiled = torch.compile(self.part) if recipe.compile else self.part
        self.net = accelerator.prepare_model(compiled)
        self.optimiser = accelerator.prepare_optimizer(
            torch.optim.SGD(
                self.part.parameters(), recipe.lr, recipe.momentum, weight_decay=recipe.weight_decay
            )
        )
        self.scheduler = torch.optim.lr_scheduler.StepLR(
            self.optimiser.optimizer, recipe.lr_step, recipe.lr_gamma
        )
        rank, world = accelerator.process_index, accelerator.num_processes
        if not world <= recipe.batch <= len(data.train):
            raise CamwallError(
                f"a batch of {recipe.batch} cannot be shared by {world} processes or filled from "
                f"{len(data.train)} training images: choose one from {world} to {len(data.train)}"
            )
        cut = recipe.batch, recipe.micro_batch, rank, world
        self.schedule = Schedule(len(data.train), *cut, seed=recipe.seed)
        common = accelerator.device, workers
        self.train = Batches(data.train, data.preprocessing, self.schedule, recipe, *common)
        self.test = Batches(
            data.test, data.preprocessing, Schedule(len(data.test), *cut), None, *common
        )
        torch.manual_seed(derived_seed(recipe.seed, 2, rank))  # dropout
        self.epoch, self.step = 0, 0
        self.sums = self.zeros()
        self.history: list[dict[str, Any]] = []

    def zeros(self) -> Tensor:
        """Loss, correct answers and images, summed over an epoch in this process."""
        return torch.zeros(3, dtype=torch.float64, device=self.accelerator.device)

    def tally(self, scores: Tensor, labels: Tensor, loss: Tensor) -> Tensor:
        correct = (scores.argmax(1) == labels).sum()
        count = torch.full_like(correct, len(labels))
        return torch.stack([loss.detach().double(), correct.double(), count.double()])

    def loss(self, images: Tensor, labels: Tensor, network: nn.Module) -> tuple[Tensor, Tensor]:
        """Scores, and the cross-entropy summed over the images."""
        layout = torch.channels_last if self.recipe.channels_last else torch.contiguous_format
        images = images.to(self.dtype).contiguous(memory_format=layout)
        with self.accelerator.autocast():
            scores = network(images)
        scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
        return scores, nn.functional.cross_entropy(scores, labels, reduction="sum")

    def optimise(self, batches: "Any") -> None:
        """One step: the mean loss's gradient over the whole batch, wherever its images are."""
        self.net.train()
        # accelerate averages gradients over the processes: scaled so that the mean is the batch's.
        scale = self.accelerator.num_processes / self.recipe.batch
        count = self.schedule.micro_steps
        for micro in range(count):
            last = micro == count - 1
            with nullcontext() if last else self.accelerator.no_sync(self.net):
                images, labels = next(batches)
                scores, loss = self.loss(images, labels, self.net)
                self.accelerator.backward(loss * scale)
                self.sums += self.tally(scores, labels, loss)
        self.optimiser.step()
        self.optimiser.zero_grad()
        if self.part is self.model:
            self.model.apply_wall()

    def check_finite(self, out: Path | None) -> None:
        """Stop at a loss that is not finite, before it reaches a checkpoint."""
        if not math.isfinite(self.sums[0].item()):
            kept = f"; {out} keeps the last good checkpoint" if out else ""
            raise CamwallError(
                f"the loss is not finite in epoch {self.epoch + 1}, by step {self.step}{kept}: "
                f"train anew with a learning rate below {self.recipe.lr}"
            )

    @torch.no_grad()
    def evaluate(self) -> tuple[float, float]:
        """Mean loss and top-1 on the test images."""
        self.part.eval()
        sums = self.zeros()
        for images, labels in self.test:
            scores, loss = self.loss(images, labels, self.part)
            sums += self.tally(scores, labels, loss)
        loss, correct, count = self.accelerator.reduce(sums, "sum").tolist()
        return loss / count, correct / count

    def expanded(self) -> MaskedModel:
        """The network in the full layout, in evaluation mode."""
        if isinstance(self.part, VisiblePart):
            self.part.expand()
        return self.model.eval()

    def identity(self) -> dict[str, Any]:
        return {
            "recipe": plain(self.recipe),
            "network": describe(self.model),
            "data": {
                "name": self.data.name,
                "images": len(self.data.train),
                "test images": len(self.data.test),
            },
        }

    def state(self) -> dict[str, Any]:
        """Everything the rest of the run depends on; collective."""
        scaler = self.accelerator.scaler
        return {
            "identity": self.identity(),
            "model": self.part.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.scheduler.state_dict(),
            "scaler": None if scaler is None else scaler.state_dict(),
            "random": random_states(self.accelerator),
            "epoch": self.epoch,
            "step": self.step,
            "sums": self.accelerator.reduce(self.sums, "sum"),
            "history": self.history,
        }

    def restore(self, state: dict[str, Any]) -> None:
        self.part.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.scheduler.load_state_dict(state["schedule"])
        if self.accelerator.scaler is not None and state["scaler"] is not None:
            self.accelerator.scaler.load_state_dict(state["scaler"])
        self.epoch, self.step = state["epoch"], state["step"]
        if self.accelerator.is_main_process:  # the others count from 0: the sum is what matters
            self.sums = state["sums"].to(self.accelerator.device)
        self.history = state["history"]
        restore_random_state(state["random"], self.accelerator)

    def save(self, out: Path | None) -> None:
        if out is None:
            return
        self.check_finite(out)
        state = self.state()
        if self.accelerator.is_main_process:
            save_training(out, state)
            if self.history:
                with writing(out / METRICS):
                    write_csv(out / METRICS, pd.DataFrame(self.history))


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
        Folder for the checkpoint, the metrics and, at the end, ``model.pt``. Where it holds an
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
        finite, a full disk, a folder with another run. The last good checkpoint stays.
    """
    recipe = recipe or Recipe()
    if save_every < 1:
        raise CamwallError(f"save_every must be at least 1 step, not {save_every}")
    _check_fit(model, data)
    folder = None if out is None else Path(out)
    if tensorboard and folder is None:
        raise CamwallError("tensorboard needs a folder: give out")
    # Certificates are made where the weights lie already, one probe image each: seconds for VGG16.
    certificates = [str(certify(model, probes=1))] if model.masked else []
    trainer = Trainer(model, data, recipe, workers)
    if folder is not None:
        state = load_training(folder, trainer.identity())
        if state is not None:
            trainer.restore(state)
    _run(trainer, folder, measure, save_every, progress, tensorboard)
    model = trainer.expanded()
    if model.masked:
        certificates.append(str(certify(model, probes=1)))
    if folder is not None and trainer.accelerator.is_main_process:
        save_checkpoint(model, folder / MODEL)
    trainer.accelerator.wait_for_everyone()
    return Run(model, pd.DataFrame(trainer.history), tuple(certificates))


def _check_fit(model: MaskedModel, data: TrainingData) -> None:
    classes = model.head[-1].out_features  # type: ignore[index]
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


def _run(
    trainer: Trainer,
    out: Path | None,
    measure: Measure | None,
    save_every: int,
    progress: bool,
    tensorboard: bool,
) -> None:
    recipe, steps = trainer.recipe, trainer.schedule.steps
    main = trainer.accelerator.is_main_process
    board = _tensorboard(out) if tensorboard and main and out is not None else None
    bar = tqdm(
        total=recipe.epochs * steps * recipe.batch,
        initial=(trainer.epoch * steps + trainer.step) * recipe.batch,
        unit="image",
        unit_scale=True,
        disable=not (progress and main),
    )
    with bar:
        while trainer.epoch < recipe.epochs:
            rate = _epoch(trainer, out, save_every, bar)
            row = _end_of_epoch(trainer, measure, rate)
            trainer.save(out)
            if board is not None:
                for name, value in row.items():
                    board.add_scalar(name, value, trainer.epoch)
    if board is not None:
        board.close()


def _epoch(trainer: Trainer, out: Path | None, save_every: int, bar: tqdm) -> float:
    """Run the rest of the epoch; images per second of it."""
    schedule, batch = trainer.schedule, trainer.recipe.batch
    schedule.epoch, schedule.start = trainer.epoch, trainer.step
    begin, started = time.monotonic(), trainer.step
    batches = iter(trainer.train)
    while trainer.step < schedule.steps:
        trainer.optimise(batches)
        trainer.step += 1
        bar.update(batch)
        if trainer.step % CHECK_EVERY == 0 or trainer.step == schedule.steps:
            trainer.check_finite(out)
            loss, correct, count = trainer.sums.tolist()
            bar.set_postfix(
                epoch=trainer.epoch + 1, loss=f"{loss / count:.3f}", top1=f"{correct / count:.1%}"
            )
        if trainer.step % save_every == 0 and trainer.step < schedule.steps:
            trainer.save(out)
    seconds = time.monotonic() - begin
    return (trainer.step - started) * batch / seconds


def _end_of_epoch(trainer: Trainer, measure: Measure | None, rate: float) -> dict[str, Any]:
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
    trainer.sums = trainer.zeros()
    trainer.epoch, trainer.step = trainer.epoch + 1, 0
    return row


def _tensorboard(out: Path) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise CamwallError(
            "tensorboard=True needs the package: pip install 'camwall[tensorboard]'"
        ) from None
    return SummaryWriter(str(out / "tensorboard"))
