"""What a vision transformer attends to, in the pass that gives its scores.

A walled transformer makes its scores from the image with its hidden pixels painted: so does it its
attention. The attention of the pass that gives the maps behind the wall reaches no score, and is no
part of these methods.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from camwall.errors import CamwallError
from camwall.methods.registry import SaliencyFunction
from camwall.methods.saliency import upsample
from camwall.models import WalledModel
from camwall.models.layer import token_grid


@contextmanager
def recorded(network: nn.Module) -> Iterator[list[Tensor]]:
    """The attention [N, heads, T, T] of each call of torch's attention in a pass of the network.

    With its graph, and without what is called outside of the network.
    """
    found: list[Tensor] = []
    inside: list[nn.Module] = []

    def attend(
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
        **_: Any,
    ) -> Tensor:
        logits = (
            query @ key.transpose(-2, -1) * (query.shape[-1] ** -0.5 if scale is None else scale)
        )
        if attn_mask is not None and attn_mask.dtype == torch.bool:
            logits = logits.masked_fill(~attn_mask, -torch.inf)
        elif attn_mask is not None:
            logits = logits + attn_mask
        attention = logits.softmax(dim=-1)
        found.extend([attention] * bool(inside))
        return attention @ value

    kept, fast = F.scaled_dot_product_attention, torch.backends.mha.get_fastpath_enabled()
    F.scaled_dot_product_attention = attend  # type: ignore[assignment]
    torch.backends.mha.set_fastpath_enabled(False)  # it has no attention to look at
    hooks = [
        network.register_forward_pre_hook(lambda module, *_: inside.append(module)),
        network.register_forward_hook(lambda *_: inside.clear(), always_call=True),
    ]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()
        F.scaled_dot_product_attention = kept  # type: ignore[assignment]
        torch.backends.mha.set_fastpath_enabled(fast)


class Attended:
    """A pass of a model over images [N, C, H, W], with the attention of its blocks.

    Attributes
    ----------
    attention : list of tensors [N, heads, T, T]
        By block; each row, of a query, sums to 1.

    Raises
    ------
    CamwallError
        A network without attention, or one that is not from all patches to all.
    """

    def __init__(self, model: WalledModel, images: Tensor, target: Tensor) -> None:
        self.model, self.target = model, target
        self.network = model.trunk
        while isinstance(self.network, WalledModel):  # a wall before a wall
            self.network = self.network.trunk
        self.images = images.requires_grad_()  # attention has a graph also where weights are frozen
        self.size = images.shape[2:]
        self.score, self.attention = self._pass()
        kind = type(self.network).__name__
        if not self.attention:
            raise CamwallError(
                f"no attention to be seen in this {kind}: a method of attention needs a "
                "transformer that calls torch's scaled_dot_product_attention"
            )
        shape = self.attention[0].shape
        grid = token_grid(shape[-1], self.size)
        alike = all(each.shape == shape for each in self.attention) and shape[-1] == shape[-2]
        if grid is None or not alike or shape[0] != len(images):
            raise CamwallError(
                f"the attention of this {kind} is not from all patches to all in every block: a "
                "method of attention has no map of it"
            )
        self.prefix, *self.grid = grid

    def _pass(self) -> tuple[Tensor, list[Tensor]]:
        """The sum of the targets' scores, and the attention on its way."""
        with torch.enable_grad(), recorded(self.network) as attention:
            scores = self.model.scores(self.images)
        return scores.gather(1, self.target[:, None]).sum(), attention

    @property
    def gradients(self) -> list[Tensor]:
        """∂(target's score)/∂attention, by block."""
        return list(torch.autograd.grad(self.score, self.attention, materialize_grads=True))

    def blocks(self) -> list[nn.Module]:
        """The network's blocks, one an attention."""
        for module in self.network.modules():
            inside = list(module.children())
            listed = isinstance(module, nn.ModuleList | nn.Sequential)
            if listed and len(inside) == len(self.attention) and len(set(map(type, inside))) == 1:
                return inside
        raise CamwallError(
            f"no list of {len(self.attention)} blocks in this {type(self.network).__name__}, "
            "one for each attention: LeGrad reads the scores after each block"
        )

    def own_gradients(self) -> Iterator[Tensor]:
        """By block, the gradient of the score that the network has without the blocks after it."""
        blocks = self.blocks()
        for last in range(len(blocks)):
            with ExitStack() as hooks:
                for block in blocks[last + 1 :]:
                    hooks.callback(block.register_forward_hook(_unchanged).remove)
                score, attention = self._pass()
            (gradient,) = torch.autograd.grad(score, attention[last], materialize_grads=True)
            yield gradient

    def shown(self, tokens: Tensor) -> Tensor:
        """Of a number for each token [N, T] the patches', at the image's size: [N, H, W]."""
        return upsample(tokens[:, self.prefix :].unflatten(1, self.grid).detach(), self.size)

    def read(self, tokens: Tensor) -> Tensor:
        """The row [N, T] of [N, T, T] that scores are read from: the class token's, or the mean."""
        return tokens[:, 0] if self.prefix else tokens.mean(dim=1)


def _unchanged(block: nn.Module, given: tuple[Any, ...], output: Any) -> Any:
    """A hook for a block that does nothing."""
    return (given[0], *output[1:]) if isinstance(output, tuple) else given[0]


def raw_attention(attended: Attended) -> Tensor:
    """The class token's attention in the last block, mean over heads."""
    return attended.read(attended.attention[-1].mean(dim=1))


def rollout(attended: Attended) -> Tensor:
    """Π over blocks of (A + 1)/2, A the mean over heads."""
    product = torch.eye(attended.attention[0].shape[-1]).to(attended.images)
    for attention in attended.attention:
        product = (attention.mean(dim=1) + torch.eye(product.shape[-1]).to(product)) / 2 @ product
    return attended.read(product)


def gradient_times_attention(attended: Attended) -> Tensor:
    """A ⊙ ReLU(∂f/∂A), mean over blocks, heads and queries."""
    pairs = zip(attended.attention, attended.gradients, strict=True)
    return torch.stack([(a * g.clamp(min=0)).mean(dim=(1, 2)) for a, g in pairs]).mean(dim=0)


def generic_attention(attended: Attended) -> Tensor:
    """R ← R + Ā R from R = 1, Ā the mean over heads of ReLU(A ⊙ ∂f/∂A)."""
    relevance = torch.eye(attended.attention[0].shape[-1]).to(attended.images)
    for attention, gradient in zip(attended.attention, attended.gradients, strict=True):
        relevance = relevance + (attention * gradient).clamp(min=0).mean(dim=1) @ relevance
    return attended.read(relevance)


def legrad(attended: Attended) -> Tensor:
    """ReLU(∂f_l/∂A_l), mean over blocks, heads and queries; f_l is read after block l."""
    found = [each.clamp(min=0).mean(dim=(1, 2)) for each in attended.own_gradients()]
    return torch.stack(found).mean(dim=0)


def _function(of: Callable[[Attended], Tensor]) -> SaliencyFunction:
    def maps(model: WalledModel, images: Tensor, target: Tensor) -> Tensor:
        attended = Attended(model, images, target)
        return attended.shown(of(attended))

    return maps


ATTENTION: dict[str, SaliencyFunction] = {
    "Raw attention": _function(raw_attention),
    "Attention rollout": _function(rollout),
    "Gradient × attention": _function(gradient_times_attention),
    "Generic attention": _function(generic_attention),
    "LeGrad": _function(legrad),
}
