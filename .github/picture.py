"""Makes picture.png, which the README shows: handwritten digits of scikit-learn, no photograph.

python .github/picture.py
"""

from pathlib import Path

import torch

import camwall
from camwall.data import digits
from camwall.models import enlarge, fit_simple
from camwall.plots import heatmap_grid

images, labels = digits()
inputs = enlarge(images, 30)
network = camwall.simple_cnn(classes=10, seed=0)  # blind below row 16 of 30
fit_simple(network, inputs[200:], labels[200:], epochs=12)
camwall.certify(network)
hidden = network.wall.hidden
with torch.no_grad():
    raw = camwall.explain(network, inputs[:200], "GradCAM", normalize=False)
first, second = (raw > 0).flatten(1).any(1).nonzero().flatten()[:2].tolist()  # it may be empty
one, other = inputs[[first]], inputs[[second]]
shown = torch.cat([one, torch.where(hidden, other, one), torch.where(hidden, 0.0, one)])
with torch.no_grad():
    scores = network(shown)
assert (scores == scores[0]).all()  # bit for bit
methods = ("GradCAM", "GradCAM++", "HiResCAM")
maps = {name: camwall.explain(network, shown, name) for name in methods}
leaks = {name: camwall.leak(each, network.wall).tolist() for name, each in maps.items()}
names = [f"a {int(labels[first])}", f"below: of a {int(labels[second])}", "below: nothing"]
figure = heatmap_grid(shown, maps, network.wall, captions=names, leaks=leaks)
figure.savefig(Path(__file__).with_name("picture.png"), dpi=110)
