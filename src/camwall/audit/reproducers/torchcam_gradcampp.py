"""torch-cam's GradCAM++: the quotient of the paper's equation 19 is computed and not kept."""

import torch
from torch import nn
from torchcam.methods import GradCAMpp

torch.manual_seed(0)
net = nn.Sequential(nn.Conv2d(3, 6, 4, 4), nn.ReLU(), nn.Flatten(), nn.Linear(216, 3)).eval()
with GradCAMpp(net, "1") as extractor:
    found = extractor(0, net(torch.randn(1, 3, 24, 24)))[0]
    maps, gradient = extractor.hook_a[0].double(), extractor.hook_g[0].double()

positive, total = gradient.relu(), maps.sum((2, 3), keepdim=True)
paper = positive / (2 + total * positive)  # g² / (2g² + ΣA g³) · ReLU(g)
for name, share in {"the paper": paper, "the sum of ReLU(g)³": positive**3}.items():
    expected = (share.sum((2, 3), keepdim=True) * maps).sum(1).relu()
    expected = (expected - expected.amin()) / (expected.amax() - expected.amin())
    print(f"largest difference from {name}: {(found - expected).abs().max():.3f}")
