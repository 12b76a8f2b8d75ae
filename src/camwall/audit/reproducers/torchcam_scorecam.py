"""torch-cam's ScoreCAM: masks are stretched to [0, 1] before they are upsampled."""

import torch
from torch import nn
from torchcam.methods import ScoreCAM

torch.manual_seed(0)
net = nn.Sequential(nn.Conv2d(3, 6, 4, 4), nn.ReLU(), nn.Flatten(), nn.Linear(216, 3)).eval()
seen: list[torch.Tensor] = []
net.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach().clone()))
with ScoreCAM(net, "1") as extractor:
    net(torch.randn(1, 3, 24, 24))
    extractor._input = torch.ones(1, 3, 24, 24)  # on white, what is scored are the masks
    extractor(0)
masks = seen[-1][:, 0].flatten(1)
print(f"largest value of the masks: {masks.amax(1).min():.2f} to {masks.amax(1).max():.2f}")
