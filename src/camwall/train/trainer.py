"""One training run's parts on whatever machine accelerate finds, its position, its checkpoint."""

import math
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import gather_object
from torch import Tensor, nn

from camwall.errors import CamwallError, extra, in_one_line
from camwall.models import VisiblePart, visible_part
from camwall.models.checkpoint import describe, read_weights, save_atomic
from camwall.models.masked import MaskedModel
from camwall.processes import processes
from camwall.runs import alone, refuse_other, remove_unfinished, write_csv, writing
from camwall.train.loading import Batches, Schedule, derived_seed
from camwall.train.recipe import Recipe
from camwall.train.studies import TrainingData

#: The files of a run: all that a killed one needs to go on, the trained network, its epochs.
LAST, MODEL, METRICS, BOARD = "last.pt", "model.pt", "metrics.csv", "tensorboard"


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
    """One run's moving parts, and its position.

    Parameters
    ----------
    model, data, recipe, workers, out, tensorboard
        As `camwall.train.fit` takes them.
    """

    def __init__(
        self,
        model: MaskedModel,
        data: TrainingData,
        recipe: Recipe,
        workers: int = 0,
        out: Path | None = None,
        tensorboard: bool = False,
    ) -> None:
        self.accelerator = accelerator = make_accelerator(recipe.precision)
        self.model, self.data, self.recipe = model, data, recipe
        self.out, self.tensorboard = out, tensorboard
        for layer in model.modules():
            if isinstance(layer, nn.Dropout):
                layer.p = recipe.dropout
        self.dtype = next(model.parameters()).dtype
        self.layout = torch.channels_last if recipe.channels_last else torch.contiguous_format
        model.to(accelerator.device).to(memory_format=self.layout)  # type: ignore[call-overload]
        self.part: VisiblePart | MaskedModel = visible_part(model) if recipe.visible_only else model
        compiled = torch.compile(self.part) if recipe.compile else self.part
        self.net = accelerator.prepare_model(compiled)
        for name in ("forward", "_original_forward"):  # `answer` has an autocast of its own
            vars(self.part).pop(name, None)
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
        #: Loss, correct answers and images, summed over an epoch in this process.
        wide = torch.float32 if accelerator.device.type == "mps" else torch.float64  # mps has none
        self.sums = torch.zeros(3, dtype=wide, device=accelerator.device)
        self.last: tuple[Tensor, Tensor]  # the images and labels of the last micro-batch
        self.history: list[dict[str, Any]] = []

    def answer(self, network: nn.Module, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The cross-entropy summed over the images; it, correct answers and images as numbers."""
        images = images.to(self.dtype).contiguous(memory_format=self.layout)
        with self.accelerator.autocast():
            scores = network(images)
        scores = scores.to(torch.promote_types(scores.dtype, torch.float32))
        loss = nn.functional.cross_entropy(scores, labels, reduction="sum")
        correct = (scores.argmax(1) == labels).sum()
        counts = loss.detach(), correct, torch.full_like(correct, len(labels))
        return loss, torch.stack([count.to(self.sums.dtype) for count in counts])

    def optimise(self, batches: Iterator[tuple[Tensor, Tensor]]) -> None:
        """One step: the mean loss's gradient over the whole batch, wherever its images are."""
        self.net.train()
        # accelerate averages gradients over the processes: scaled so that the mean is the batch's.
        scale = self.accelerator.num_processes / self.recipe.batch
        count = self.schedule.micro_steps
        for micro in range(count):
            last = micro == count - 1
            with nullcontext() if last else self.accelerator.no_sync(self.net):
                self.last = next(batches)
                loss, counts = self.answer(self.net, *self.last)
                self.accelerator.backward(loss * scale)
                self.sums += counts
        self.optimiser.step()
        self.optimiser.zero_grad()
        if self.part is self.model:
            self.model.apply_wall()

    @torch.no_grad()
    def check_finite(self) -> None:
        """Stop where a loss is not finite, before it reaches a checkpoint.

        The last step's weights have met no loss yet: the last images' is taken with them, and
        they must be finite themselves, since a ReLU hides one that is not. Collective, so that all
        processes stop.
        """
        self.part.eval()
        sums = self.sums + self.answer(self.part, *self.last)[1]
        if not all(bool(torch.isfinite(weights).all()) for weights in self.part.parameters()):
            sums[0] = math.nan
        self.require_finite(self.accelerator.reduce(sums, "sum")[0].item())

    def require_finite(self, loss: float) -> None:
        """Stop with one line unless ``loss`` is finite."""
        if not math.isfinite(loss):
            kept = f"; {self.out} keeps the last good checkpoint" if self.out else ""
            raise CamwallError(
                f"the loss is not finite in epoch {self.epoch + 1}, by step {self.step}{kept}: "
                f"train anew with a learning rate below {self.recipe.lr}"
            )

    @torch.no_grad()
    def evaluate(self) -> tuple[float, float]:
        """Mean loss and top-1 on the test images."""
        self.part.eval()
        sums = torch.zeros_like(self.sums)
        for images, labels in self.test:
            sums += self.answer(self.part, images, labels)[1]
        loss, correct, count = self.accelerator.reduce(sums, "sum").tolist()
        self.require_finite(loss)
        return loss / count, correct / count

    def expanded(self) -> MaskedModel:
        """The network in the full layout, in evaluation mode."""
        if isinstance(self.part, VisiblePart):
            self.part.expand()
        return self.model.eval()

    # -- the checkpoint

    def identity(self) -> dict[str, Any]:
        """What makes two runs the same."""
        sizes = {"images": len(self.data.train), "test images": len(self.data.test)}
        return {
            "recipe": asdict(self.recipe),
            "network": describe(self.model),
            "data": {"name": self.data.name, **sizes},
        }

    def state(self) -> dict[str, Any]:
        """Everything the rest of the run depends on; collective."""
        scaler, device = self.accelerator.scaler, self.accelerator.device
        random = {"cpu": torch.get_rng_state()}
        if device.type == "cuda":
            random["cuda"] = torch.cuda.get_rng_state(device)
        return {
            "identity": self.identity(),
            "model": self.part.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "schedule": self.scheduler.state_dict(),
            "scaler": None if scaler is None else scaler.state_dict(),
            "random": gather_object([random]),
            "epoch": self.epoch,
            "step": self.step,
            "sums": self.accelerator.reduce(self.sums, "sum"),
            "history": self.history,
        }

    def save(self) -> None:
        """Write the `state`, and the metrics; collective."""
        if self.out is None:
            return
        state = self.state()
        if self.accelerator.is_main_process:
            save_atomic(state, self.out / LAST)
        self.write_metrics()

    def write_metrics(self) -> None:
        """Write what is known of the finished epochs, each once after any number of restarts."""
        if self.out is None or not self.accelerator.is_main_process:
            return
        if self.history:
            with writing(self.out / METRICS):
                write_csv(self.out / METRICS, pd.DataFrame(self.history))
        if self.tensorboard:
            with extra("tensorboard"):
                from torch.utils.tensorboard import SummaryWriter
            with writing(self.out / BOARD):
                shutil.rmtree(self.out / BOARD, ignore_errors=True)
                with SummaryWriter(str(self.out / BOARD), purge_step=1) as board:
                    for row in self.history:
                        for name, value in row.items():
                            board.add_scalar(name, value, row["epoch"])

    @contextmanager
    def together(self) -> Iterator[None]:
        """Refuse in all processes what one of them refuses; collective."""
        refused = None
        try:
            yield
        except CamwallError as error:
            refused = error
        if refusals := [each for each in gather_object([refused]) if each is not None]:
            raise refusals[0]

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Have the run's folder, if it has one, for this run alone; collective."""
        with ExitStack() as stack:
            with self.together():
                if self.out is not None:
                    with writing(self.out):
                        self.out.mkdir(parents=True, exist_ok=True)
                    if self.accelerator.is_main_process:
                        stack.enter_context(alone(self.out))
            yield

    def require_own(self, state: dict[str, Any], own: dict[str, Any]) -> None:
        """ValueError for a state that is not like this run's ``own``, or at no place of it.

        What another version of torch, or another ``measure``, names beyond ours is let be.
        """
        epoch, step, history = (state[name] for name in ("epoch", "step", "history"))
        like = {**own, "history": history, "sums": own["sums"].to(state["sums"].dtype)}
        for name in ("random", "scaler"):  # which another device may have had otherwise
            like[name] = state[name]
        alike = _alike(state, like)
        if self.recipe.momentum and (epoch or step):
            moments = state["optimiser"]["state"]
            for at, weights in enumerate(self.part.parameters()):
                if weights.requires_grad:
                    alike = alike and _alike(moments[at]["momentum_buffer"], weights)
        if not alike:
            raise ValueError("a part is missing, or of another kind")
        whole = [row["epoch"] for row in history] == list(range(1, epoch + 1))
        numbers = all(type(value) in (int, float) for row in history for value in row.values())
        if not (whole and numbers and 0 <= step < max(1, self.schedule.steps)):
            raise ValueError("its epochs are not those before")
        rates = [group["lr"] for group in state["optimiser"]["param_groups"]]
        schedule = state["schedule"]["last_epoch"], state["schedule"]["_last_lr"]
        if schedule != (epoch, rates) or epoch > self.recipe.epochs:
            raise ValueError("its rate of learning is another epoch's")

    def resume(self) -> None:
        """Go on from the run's checkpoint, if there is one.

        Raises
        ------
        CamwallError
            The folder holds a run of another recipe, network or data, or of another number of
            processes; hosts that do not share it; a network that no checkpoint can describe.
        """
        if self.out is None:
            return
        file, count = self.out / LAST, self.accelerator.num_processes
        identity = self.identity()
        remove_unfinished(self.out)
        found = gather_object([file.exists()])
        if not any(found):
            return
        if not all(found):
            raise CamwallError(
                f"{count - sum(found)} of {count} processes do not find the checkpoint in "
                f"{self.out}: give a folder that all hosts share"
            )
        own = self.state()
        with self.together():
            self._load(file, identity, own)

    def _load(self, file: Path, identity: dict[str, Any], own: dict[str, Any]) -> None:
        """Take up the state that a file holds; see `resume`."""
        then = "delete it, and training starts again from the first epoch"
        state = read_weights(file, then)
        known = state.get("identity") if isinstance(state, dict) else None
        if not isinstance(known, dict) or not known.keys() >= identity.keys():
            raise CamwallError(f"{file} is not of camwall's training: give another folder")
        refuse_other(file.parent, known, identity)
        if not isinstance(state.get("random"), list):
            raise CamwallError(f"{file} has no state of random numbers: {then}")
        if len(state["random"]) != self.accelerator.num_processes:
            raise CamwallError(
                f"the run was started on {len(state['random'])} processes and goes on with as "
                f"many, not with {self.accelerator.num_processes}"
            )
        device = self.accelerator.device
        with in_one_line(f"{file} is none that this run has written", then):
            self.require_own(state, own)
            self.part.load_state_dict(state["model"])
            self.optimiser.load_state_dict(state["optimiser"])
            self.scheduler.load_state_dict(state["schedule"])
            if self.accelerator.scaler is not None and state["scaler"] is not None:
                self.accelerator.scaler.load_state_dict(state["scaler"])
            random = state["random"][self.accelerator.process_index]
            torch.set_rng_state(random["cpu"])
            if "cuda" in random and device.type == "cuda":
                torch.cuda.set_rng_state(random["cuda"], device)
        self.epoch, self.step, self.history = state["epoch"], state["step"], state["history"]
        if self.accelerator.is_main_process:  # the others count from 0: the sum is what matters
            self.sums = state["sums"].to(device)


def _alike(found: Any, own: Any) -> bool:
    """Whether something read is of the kind of our own, where both have a name: types, shapes."""
    if isinstance(own, Tensor):
        return isinstance(found, Tensor) and (found.shape, found.dtype) == (own.shape, own.dtype)
    if isinstance(own, dict):
        return isinstance(found, dict) and all(
            _alike(found[name], own[name]) for name in own.keys() & found.keys()
        )
    kinds = {type(found), type(own)}
    if isinstance(own, list | tuple):
        return len(kinds) == 1 and len(found) == len(own) and all(map(_alike, found, own))
    return len(kinds) == 1 or kinds == {int, float}
