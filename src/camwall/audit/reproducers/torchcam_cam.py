"""torch-cam's CAM: its docstring has a ReLU, as the paper has not; nor has the code."""

import torch
from torch import nn
from torchcam.methods import CAM

torch.manual_seed(0)
trunk = nn.Sequential(nn.Conv2d(3, 6, 4, 4), nn.ReLU())
net = nn.Sequential(trunk, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 3)).eval()
with CAM(net, "0", "3") as extractor:
    net(torch.randn(1, 3, 24, 24))
    raw, shown = extractor(0, normalized=False)[0], extractor(0)[0]
    print(f"raw values: {raw.min():.2f} to {raw.max():.2f}; a cell of 0 is shown as ", end="")
    print(f"{float(-raw.min() / (raw.max() - raw.min())):.2f}")
