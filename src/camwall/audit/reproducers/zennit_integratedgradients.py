"""zennit's IntegratedGradients: the right ends of its steps, where midpoints would be nearer."""

import torch
from torch import nn
from zennit.attribution import IntegratedGradients

torch.manual_seed(0)
net = nn.Sequential(nn.Flatten(), nn.Linear(48, 64), nn.ReLU(), nn.Linear(64, 3)).eval()
image = torch.randn(1, 3, 4, 4)
rise = (net(image) - net(0 * image))[0, 0].item()  # what the values have to sum to
with IntegratedGradients(net) as attributor:
    ends = attributor(image, torch.eye(3)[:1])[1].sum().item()
points = ((torch.arange(20) + 0.5) / 20).view(-1, 1, 1, 1) * image
points.requires_grad_()
(gradient,) = torch.autograd.grad(net(points)[:, 0].sum(), points)
middles = (gradient.mean(0) * image).sum().item()
for name, total in {"right ends, as zennit": ends, "midpoints": middles}.items():
    print(f"20 {name}: the sum is {abs(total - rise) / abs(rise):.1%} off")
