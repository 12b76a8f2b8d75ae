"""grad-cam's AblationCAM: a channel is set to 0 only where the least activation is exactly 0."""

import torch
from pytorch_grad_cam import AblationCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn

for activation in (nn.ReLU(), nn.GELU()):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 6, 4, 4), activation, nn.Flatten(), nn.Linear(216, 3)).eval()
    given: list[torch.Tensor] = []
    net[2].register_forward_pre_hook(lambda module, inputs, to=given: to.append(inputs[0]))
    with AblationCAM(net, [net[1]]) as cam:
        cam(torch.randn(1, 3, 24, 24), [ClassifierOutputTarget(0)])
    values = [float(each[channel].mean()) for channel, each in enumerate(given[-1])]
    print(type(activation).__name__, "ablated values:", *(f"{each:.0e}" for each in values))
