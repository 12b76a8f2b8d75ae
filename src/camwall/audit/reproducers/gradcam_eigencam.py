"""grad-cam's EigenCAM: centred, with the sign that the decomposition happens to return."""

import torch
from pytorch_grad_cam import EigenCAM
from torch import nn

turned, correlations = 0, []
for seed in range(100):
    torch.manual_seed(seed)
    net = nn.Sequential(nn.Conv2d(3, 6, 4, 4), nn.ReLU(), nn.Flatten(), nn.Linear(216, 3)).eval()
    image = torch.randn(1, 3, 24, 24)
    maps = net[1](net[0](image))[0].detach()
    with EigenCAM(net, [net[1]]) as cam:
        found = torch.from_numpy(cam(image, None)[0])
    # The same activations in the opposite order of channels: the same first principal axis.
    net[0].weight.data, net[0].bias.data = net[0].weight.data.flip(0), net[0].bias.data.flip(0)
    with EigenCAM(net, [net[1]]) as cam:
        turned += int(not torch.allclose(torch.from_numpy(cam(image, None)[0]), found, atol=1e-3))
    rows = maps.flatten(1).T.double()
    paper = (rows @ torch.linalg.svd(rows)[2][0]).abs().view(1, 1, 6, 6)
    paper = nn.functional.interpolate(paper, (24, 24), mode="bilinear").flatten()
    correlations.append(float(torch.corrcoef(torch.stack([found.flatten().double(), paper]))[0, 1]))
print(f"channels in the opposite order: another map for {turned} of 100 images")
print(f"correlation with the paper's map: {min(correlations):.2f} to {max(correlations):.2f}")
