"""LeGrad behind a wall: attention that is 0 has a gradient, of values that no score reads."""

import torch
from torch import nn
from torchcam.methods import LeGrad
from torchvision.models import VisionTransformer

torch.manual_seed(0)
vit = VisionTransformer(32, 8, 2, 2, 16, 32, num_classes=3).eval()
nn.init.normal_(vit.heads.head.weight)
hidden = torch.arange(17) > 8  # of the class token and 4×4 patches, those in the lower half
wall = ~hidden[:, None] & hidden[None]  # nobody who is visible attends to who is hidden
for block in vit.encoder.layers:
    block.self_attention.register_forward_pre_hook(
        lambda module, inputs, options: (inputs, options | {"attn_mask": wall}), with_kwargs=True
    )
images = torch.randn(1, 3, 32, 32).repeat(2, 1, 1, 1)
images[1, :, 16:] = torch.randn(3, 16, 32)  # the hidden half painted anew

blocks, class_token = list(vit.encoder.layers), lambda t: vit.heads(vit.encoder.ln(t[:, 0]))
for name, project in {"all tokens": None, "the class token": class_token}.items():
    with LeGrad(vit, blocks, score_projection=project) as extractor:
        scores = vit(images)
        maps = extractor(0, scores, normalized=False, retain_graph=True)[0]
        products = [
            attention * torch.autograd.grad(score[:, 0].sum(), attention, retain_graph=True)[0]
            for score, attention in zip(extractor.hook_a, extractor.hook_attn, strict=True)
        ]
    assert torch.equal(scores[0], scores[1])
    weighted = torch.stack(products).relu().mean((0, 2, 3))[:, 1:].reshape(2, 4, 4)
    for method, found in {"LeGrad": maps, "gradient × attention": weighted}.items():
        moved = (found[0] - found[1]).norm() / found[0].norm()
        share = found[0, 2:].norm() / found[0].norm()
        print(f"{method}, score of {name}: {share:.2f} behind the wall, moves by {moved:.2f}")
