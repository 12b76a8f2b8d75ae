"""What the register says of each method."""

import re
from pathlib import Path

import pytorch_grad_cam

from camwall import METHODS, leak
from camwall.saliency import PAPER, explain_each
from tests.networks import NETWORKS, images

ROOT = Path(__file__).resolve().parents[2]


def test_the_papers_rows_are_there() -> None:
    """All eight, each run by our engine, seven also by the package."""
    assert len(PAPER) == 8
    assert all(METHODS[name].raw is not None for name in PAPER)
    assert [name for name in PAPER if METHODS[name].package is None] == ["Opti-CAM"]


def test_every_method_is_cited_and_described() -> None:
    """Its reference is in the bibliography, its class in the package, its original here."""
    bibliography = (ROOT / "book" / "references.bib").read_text(encoding="utf-8")
    keys = set(re.findall(r"@\w+\{([^,]+),", bibliography))
    for name, method in METHODS.items():
        assert name == method.name
        assert method.reference in keys, name
        assert method.weights
        assert method.raw is not None or method.package is not None
        assert method.package is None or hasattr(pytorch_grad_cam, method.package)
        assert method.variant_of is None or METHODS[method.variant_of].variant_of is None


def test_what_sees_through_walls_does_so_on_some_image() -> None:
    """Every method said to see through leaks on one of the networks; every other nowhere."""
    ours = [name for name, method in METHODS.items() if method.raw is not None]
    seen = dict.fromkeys(ours, False)
    for make in NETWORKS.values():
        for seed in range(3):
            model = make(seed)
            found = explain_each(model, images(model, 2, seed), ours)
            for name, maps in found.items():
                seen[name] |= bool((leak(maps, model.wall, bleed=False) > 0).any())
    assert seen == {name: METHODS[name].sees_through for name in ours}
