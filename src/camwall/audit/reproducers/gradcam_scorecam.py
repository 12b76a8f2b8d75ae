"""grad-cam's ScoreCAM: masks upsampled with aligned corners, the map with half-pixel centres."""

import torch
from pytorch_grad_cam import ScoreCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn

torch.manual_seed(0)
net = nn.Sequential(nn.Conv2d(3, 6, 8, 8), nn.ReLU(), nn.Flatten(), nn.Linear(54, 3)).eval()
image = torch.randn(1, 3, 24, 24)
seen: list[torch.Tensor] = []
net.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0].detach().clone()))
with ScoreCAM(net, [net[1]]) as cam:
    cam(image, [ClassifierOutputTarget(0)])
masks = (seen[-1] / image)[:, 0]
for aligned in (True, False):
    large = nn.functional.interpolate(
        net[:2](image), (24, 24), mode="bilinear", align_corners=aligned
    )[0].detach()
    low, high = large.amin((1, 2), keepdim=True), large.amax((1, 2), keepdim=True)
    difference = (masks - (large - low) / (high - low)).abs().max()
    print(f"corners aligned: {aligned}, largest difference of a mask {difference:.2f}")
