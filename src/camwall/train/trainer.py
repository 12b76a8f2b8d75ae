"""One training run's parts on whatever machine accelerate finds, and its position."""

import math
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from torch import Tensor, nn

from camwall.errors import CamwallError
from camwall.models import VisiblePart, visible_part
from camwall.models.checkpoint import describe
from camwall.models.masked import MaskedModel
from camwall.processes import processes
from camwall.runs import write_csv, writing
from camwall.train.loading import Batches, Schedule, derived_seed
from camwall.train.recipe import Recipe
from camwall.train.saving import (
    METRICS,
    plain,
    random_states,
    restore_random_state,
    save_training,
)
from camwall.train.studies import TrainingData


def make_accelerator(precision: str) -> Accelerator:
    """An accelerator in the given precision, also where one of another was made before."""
    gpu = torch.cuda.is_available()
    if precision == "auto" and gpu:
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        precision = "bf16" if native else "fp16"
    elif precision == "auto":
        precision = "no"
    if precision == "fp16" and not gpu:
        raise CamwallError("precision fp16 needs a GPU: use 'bf16', 'no' or 'auto' on a CPU")
    processes()  # joins those of a launcher, on CPUs too
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
        self.last: tuple[Tensor, Tensor]  # the images and labels of the last micro-batch
        self.history: list[dict[str, Any]] = []

    def zeros(self) -> Tensor:
        """Loss, correct answers and images, summed over an epoch in this process."""
        device = self.accelerator.device
        wide = torch.float32 if device.type == "mps" else torch.float64  # mps has no float64
        return torch.zeros(3, dtype=wide, device=device)

    def tally(self, scores: Tensor, labels: Tensor, loss: Tensor) -> Tensor:
        correct = (scores.argmax(1) == labels).sum()
        count = torch.full_like(correct, len(labels))
        return torch.stack([part.to(self.sums.dtype) for part in (loss.detach(), correct, count)])

    def loss(self, images: Tensor, labels: Tensor, network: nn.Module) -> tuple[Tensor, Tensor]:
        """Scores, and the cross-entropy summed over the images."""
        layout = torch.channels_last if self.recipe.channels_last else torch.contiguous_format
        images = images.to(self.dtype).contiguous(memory_format=layout)
        with self.accelerator.autocast():
            scores = network(images)
        scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
        return scores, nn.functional.cross_entropy(scores, labels, reduction="sum")

    def optimise(self, batches: Iterator[tuple[Tensor, Tensor]]) -> None:
        """One step: the mean loss's gradient over the whole batch, wherever its images are."""
        self.net.train()
        # accelerate averages gradients over the processes: scaled so that the mean is the batch's.
        scale = self.accelerator.num_processes / self.recipe.batch
        count = self.schedule.micro_steps
        for micro in range(count):
            last = micro == count - 1
            with nullcontext() if last else self.accelerator.no_sync(self.net):
                images, labels = self.last = next(batches)
                scores, loss = self.loss(images, labels, self.net)
                self.accelerator.backward(loss * scale)
                self.sums += self.tally(scores, labels, loss)
        self.optimiser.step()
        self.optimiser.zero_grad()
        if self.part is self.model:
            self.model.apply_wall()

    @torch.no_grad()
    def check_finite(self, out: Path | None) -> None:
        """Stop where a loss is not finite, before it reaches a checkpoint.

        The last step's weights have met no loss yet: the last images' is taken with them, and
        they must be finite themselves, since a ReLU hides one that is not. Collective, so that all
        processes stop.
        """
        self.part.eval()
        images, labels = self.last
        scores, loss = self.loss(images, labels, self.part)
        sums = self.sums + self.tally(scores, labels, loss)
        if not all(bool(torch.isfinite(weights).all()) for weights in self.part.parameters()):
            sums[0] = math.nan
        self.require_finite(self.accelerator.reduce(sums, "sum")[0].item(), out)

    def require_finite(self, loss: float, out: Path | None) -> None:
        """Stop with one line unless ``loss`` is finite."""
        if not math.isfinite(loss):
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
        state = self.state()
        if self.accelerator.is_main_process:
            save_training(out, state)
            self.write_metrics(out)

    def write_metrics(self, out: Path) -> None:
        """Write what is known of the finished epochs."""
        if self.history:
            with writing(out / METRICS):
                write_csv(out / METRICS, pd.DataFrame(self.history))
