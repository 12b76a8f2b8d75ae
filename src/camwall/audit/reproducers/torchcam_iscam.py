"""torch-cam's IS-CAM: the path of masks is one step ahead of its docstring's equation."""

import torch
from torch import nn
from torchcam.methods import ISCAM

torch.manual_seed(0)
net = nn.Sequential(nn.Conv2d(3, 6, 4, 4), nn.ReLU(), nn.Flatten(), nn.Linear(216, 3)).eval()
seen: list[torch.Tensor] = []
net.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach().clone()))
with ISCAM(net, "1", num_samples=10) as extractor:
    net(torch.randn(1, 3, 24, 24))
    extractor._input = torch.ones(1, 3, 24, 24)  # on white, what is scored are the masks
    extractor(0)
largest = torch.stack([each.amax() for each in seen[2:]])  # after the image, and white
factors = largest / largest[3]  # the fourth is the mask itself
print("factors used:       ", *(f"{each:.1f}" for each in factors))
print("of the docstring:   ", *(f"{sum(range(i)) / 10:.1f}" for i in range(1, 11)))
