"""captum's LayerGradCam on tokens [N, T, D]: the mean runs over D, the sum over the tokens."""

import torch
from captum.attr import LayerGradCam
from torch import nn

torch.manual_seed(0)


class Tokens(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.norm, self.head = nn.Conv2d(3, 8, 4, 4), nn.LayerNorm(8), nn.Linear(8, 3)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.norm(self.embed(images).flatten(2).mT).mean(1))


net = Tokens().eval()
found = LayerGradCam(net, net.norm).attribute(torch.randn(1, 3, 24, 24), 0)
print(f"36 tokens of 8 values: a result of shape {list(found.shape)}, one value for each of 8")
