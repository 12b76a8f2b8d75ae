"""torch-cam divides by the largest value plus 10⁻⁸: a map as small as that is shown dim."""

import torch
from torch import nn
from torchcam.methods import GradCAM

torch.manual_seed(0)
net = nn.Sequential(nn.Conv2d(3, 6, 4, 4), nn.ReLU(), nn.Flatten(), nn.Linear(216, 3)).eval()
image = torch.randn(1, 3, 24, 24)
for factor in (1.0, 1e-4, 1e-7):
    with GradCAM(net, "1") as extractor:
        shown = extractor(0, factor * net(image))[0]
        raw = extractor(0, factor * net(image), normalized=False)[0]
    print(f"map up to {raw.max():.0e}: shown up to {shown.max():.2f}")
