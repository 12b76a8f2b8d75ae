"""What the register says of each method."""

import re
from pathlib import Path

from camwall import METHODS, leak, response
from camwall.methods import PAPER, Mechanism, explain_each
from tests.helpers.networks import NETWORKS, images

ROOT = Path(__file__).resolve().parents[2]


def test_the_papers_rows_are_there() -> None:
    """All eight, each run by our engine, seven also by the package."""
    assert len(PAPER) == 8
    assert all(METHODS[name].raw is not None for name in PAPER)
    assert [name for name in PAPER if "grad-cam" not in METHODS[name].packages] == ["Opti-CAM"]


def test_every_method_is_cited_and_described() -> None:
    """Its reference is in the bibliography, its class in the package, its original here."""
    bibliography = (ROOT / "book" / "references.bib").read_text(encoding="utf-8")
    keys = set(re.findall(r"@\w+\{([^,]+),", bibliography))
    for name, method in METHODS.items():
        assert name == method.name
        assert method.reference in keys, name
        assert method.weights
        assert (method.raw is None) != (method.function is None)
        assert method.variant_of is None or METHODS[method.variant_of].variant_of is None


def test_what_sees_through_walls_does_so_on_some_image() -> None:
    """Every method said to see through responds and leaks on one of the networks; the others not.

    Their response is 0 everywhere; their leak too, but for the veil of EigenGradCAM's centring.
    """
    ours = [name for name, method in METHODS.items() if method.raw is not None]
    fast = [name for name in ours if name != "Opti-CAM"]  # its response: test_metrics_response
    leaks, moves = dict.fromkeys(ours, False), dict.fromkeys(fast, False)
    for make in NETWORKS.values():
        for seed in range(3):
            model = make(seed)
            batch = images(model, 2, seed)
            for name, maps in explain_each(model, batch, ours).items():
                clear = leak(maps, model.wall, clear_of=model.visible_cells)
                leaks[name] |= bool((clear > 0).any())
            for name in fast:
                moves[name] |= bool((response(model, batch, name) > 0).any())
    through = {name: METHODS[name].sees_through for name in ours}
    veils = {name: METHODS[name].mechanism is Mechanism.CENTRED for name in ours}
    assert moves == {name: through[name] for name in fast}
    assert leaks == {name: through[name] or veils[name] for name in ours}
    assert [name for name in ours if veils[name]] == ["EigenGradCAM"]
    assert not through["EigenGradCAM"]
