"""captum's GuidedGradCam: nearest by default, where the paper upsamples bilinearly."""

import torch
from captum.attr import GuidedGradCam
from torch import nn

torch.manual_seed(1)
dense = nn.Linear(216, 3)
dense.weight.data.view(3, 6, 6, 6)[:, :, 4:] = 0  # nothing below row 16 reaches a score
net = nn.Sequential(nn.Conv2d(3, 6, 4, 4), nn.ReLU(), nn.Flatten(), dense).eval()
image = torch.randn(1, 3, 24, 24)
other = image.clone()
other[:, :, 16:] = torch.randn(1, 3, 8, 24)  # painted anew
for mode in ("nearest", "bilinear"):
    method = GuidedGradCam(net, net[1])
    maps = [method.attribute(each, 0, interpolate_mode=mode) for each in (image, other)]
    moved = (maps[0] - maps[1]).norm() / maps[0].norm()
    print(f"{mode}: moves by {moved:.3f} when what no score can see is painted anew")
