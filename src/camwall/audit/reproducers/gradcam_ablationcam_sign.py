"""AblationCAM divides by the score, in its paper and in grad-cam: below 0 every weight turns."""

import torch
from pytorch_grad_cam import AblationCAM
from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget
from torch import nn

torch.manual_seed(0)
net = nn.Sequential(nn.Conv2d(3, 6, 4, 4), nn.ReLU(), nn.Flatten(), nn.Linear(216, 3)).eval()
image = torch.randn(1, 3, 24, 24)
found = []
for bias in (2.0, -2.0):
    net[3].bias.data[0] = bias
    with AblationCAM(net, [net[1]]) as cam:
        found.append(torch.from_numpy(cam(image, [ClassifierOutputTarget(0)])[0]))
    print(f"score {float(net(image)[0, 0]):.2f}: largest at pixel {int(found[-1].argmax())}")
print(f"correlation of the two maps {torch.corrcoef(torch.stack(found).flatten(1))[0, 1]:.2f}")
