"""Weight files: ours and the authors', what does not fit, what must not run."""

import pickle
import re

import pytest
import torch
from torch import nn

from camwall import certify, masked_vgg16, simple_cnn
from camwall.errors import BlindnessError, CamwallError
from camwall.models.checkpoint import NETWORK, load_checkpoint, save_checkpoint
from tests.helpers.networks import vgg_like
from tests.helpers.training import make_data, make_model


def authors(classes: int = 3, seed: int = 0, hidden: bool = False) -> dict[str, torch.Tensor]:
    """A state dict in the authors' layout. The large dense layers repeat one random column, as
    views that take no memory in the file."""
    gen = torch.Generator().manual_seed(seed)
    with torch.device("meta"):
        model = masked_vgg16(classes=classes)
        layers = nn.Sequential(*model.features, nn.Flatten(), nn.Sequential(*model.head[1:]))
    weights = {}
    for key, value in layers.state_dict().items():
        if value.numel() < 3_000_000:
            fan = value[0].numel() if value.ndim > 1 else 1e4
            weights[key] = torch.randn(value.shape, generator=gen) * (2 / fan) ** 0.5
        else:
            column = torch.randn(value.shape[0], 1, generator=gen) * (2 / value.shape[1]) ** 0.5
            weights[key] = column.expand(value.shape)
    if not hidden:
        cells = weights["31.0.weight"].unflatten(1, (256, 14, 14)).clone()
        cells[:, :, 5:] = 0
        weights["31.0.weight"] = cells.flatten(1)
    return weights


def test_our_checkpoints_come_back_bit_for_bit(tmp_path):
    """Network, preprocessing, class names, wall and every weight survive; the file holds nothing
    that weights_only refuses."""
    for masked in (True, False):
        model = make_model(make_data(), masked)
        model.class_names = ("a", "b", "c", "d")
        path = save_checkpoint(model, tmp_path / "model.pt")
        loaded = load_checkpoint(path)
        assert loaded.masked is masked
        assert loaded.preprocessing == model.preprocessing
        assert loaded.class_names == model.class_names
        assert loaded.wall == model.wall
        for name, value in model.state_dict().items():
            assert torch.equal(loaded.state_dict()[name], value)
        assert not loaded.training
        images = torch.rand(2, 1, 28, 28)
        assert torch.equal(loaded(images), model.eval()(images))
        assert all(p.requires_grad for p in loaded.parameters())


def test_a_network_that_no_builder_makes_is_not_saved(tmp_path):
    """The file could not say what to build; nothing is written."""
    for model in (vgg_like(0), simple_cnn(filters=2)):
        with pytest.raises(CamwallError, match=r"only networks of .*: save model\.state_dict") as e:
            save_checkpoint(model, tmp_path / "model.pt")
        assert "\n" not in str(e.value)
    assert not list(tmp_path.iterdir())


def test_the_wall_is_applied_again(tmp_path):
    """Weights behind the wall of a masked network are set to 0 on loading, and it certifies; a
    baseline loaded as masked gets its wall; loaded as it is, it has none."""
    model = make_model(make_data(), masked=False)
    path = save_checkpoint(model, tmp_path / "model.pt")
    loaded = load_checkpoint(path, masked=True)
    assert not loaded.cells()[:, :, loaded.visible_map_rows :].any()
    certify(loaded)
    with pytest.raises(BlindnessError):
        certify(load_checkpoint(path))


def test_loading_certifies(tmp_path, monkeypatch):
    """A wall that fails its certificate is refused, unless the caller asks for none."""
    path = save_checkpoint(make_model(make_data()), tmp_path / "model.pt")
    monkeypatch.setattr("camwall.models.masked.MaskedModel.apply_wall", lambda self: None)
    content = torch.load(path, weights_only=True)
    content["state_dict"]["head.1.weight"][:] = 1
    torch.save(content, path)
    with pytest.raises(BlindnessError, match="hole"):
        load_checkpoint(path)
    load_checkpoint(path, certified=False)


def test_the_authors_state_dict_is_read(tmp_path):
    """The plain state dict of Sequential(*features, Flatten, classifier) gives the scores of that
    stack; whether it is masked, and how many classes it has, is read from the weights."""
    weights = authors()
    torch.save(weights, tmp_path / "params_vgg16_masked.pt")
    model = load_checkpoint(tmp_path / "params_vgg16_masked.pt", certified=False)
    assert model.masked
    assert int(model.wall.hidden.any(dim=1).sum()) == 54
    with torch.device("meta"):
        fresh = masked_vgg16(classes=3)
        stack = nn.Sequential(*fresh.features, nn.Flatten(), nn.Sequential(*fresh.head[1:]))
    stack.load_state_dict({k: v.contiguous() for k, v in weights.items()}, assign=True)
    images = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        scores = model(images)
        assert scores.shape == (1, 3)
        assert scores.std() > 0
        torch.testing.assert_close(scores, stack.eval()(images))


def test_the_authors_baseline_is_read_as_one(tmp_path):
    """Weights behind the wall that are not 0 make it the baseline; masked=True sets them to 0."""
    torch.save(authors(hidden=True), tmp_path / "params_vgg16_baseline.pt")
    assert not load_checkpoint(tmp_path / "params_vgg16_baseline.pt").masked
    masked = load_checkpoint(tmp_path / "params_vgg16_baseline.pt", masked=True, certified=False)
    assert not masked.cells()[:, :, 5:].any()


def test_what_does_not_fit_is_named(tmp_path):
    """Missing, unknown and missized weights are told by name, in one line."""
    path = tmp_path / "weights.pt"
    weights = authors()
    del weights["5.weight"], weights["31.3.bias"]
    weights["99.weight"] = torch.zeros(1)
    weights["28.weight"] = torch.zeros(512, 512, 3, 3)
    torch.save(weights, path)
    with pytest.raises(CamwallError) as caught:
        load_checkpoint(path)
    message = str(caught.value)
    assert "\n" not in message
    assert 'Missing key(s) in state_dict: "features.5.weight", "head.4.bias"' in message
    assert 'Unexpected key(s) in state_dict: "99.weight"' in message
    sizes = r"mismatch for features.28.weight: .*\[512, 512, 3, 3\].*\[256, 512, 3, 3\]"
    assert re.search(sizes, message)

    model = make_model(make_data())
    save_checkpoint(model, path)
    content = torch.load(path, weights_only=True)
    del content["state_dict"]["head.1.bias"]
    torch.save(content, path)
    with pytest.raises(CamwallError, match=r'Missing key\(s\) .*: "head.1.bias"\)'):
        load_checkpoint(path)
    torch.save({NETWORK: content[NETWORK]}, path)
    with pytest.raises(CamwallError, match="holds no state dict"):
        load_checkpoint(path)
    for weights in (None, [1], {"a": 2}):
        torch.save(content | {"state_dict": weights}, path)
        with pytest.raises(CamwallError, match="holds no state dict"):
            load_checkpoint(path)
    for network in ({}, {"name": "masked_vgg16"}, 3):
        torch.save(content | {NETWORK: network}, path)
        with pytest.raises(CamwallError, match="a checkpoint of camwall that lacks a part"):
            load_checkpoint(path)


class Evil:
    """Unpickling this would call a function."""

    def __reduce__(self):
        return (exec, ("raise AssertionError('code in the file was run')",))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"not a checkpoint", "not a file of weights"),
        (b"", "not a file of weights"),
        (pickle.dumps(Evil()), "not a file of weights"),
        (None, "no checkpoint at"),
    ],
)
def test_other_files_are_refused_in_one_line(tmp_path, content, message):
    """Damaged files, files that would run code, and missing ones."""
    path = tmp_path / "file.pt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CamwallError, match=message) as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)


def test_a_whole_model_or_a_list_is_refused(tmp_path):
    """A pickled module needs code to be run; a list holds no names; another network's state dict
    is not the paper's."""
    path = tmp_path / "file.pt"
    torch.save(nn.Linear(2, 2), path)
    with pytest.raises(CamwallError, match="more than tensors"):
        load_checkpoint(path)
    torch.save([torch.zeros(2)], path)
    with pytest.raises(CamwallError, match="holds no state dict"):
        load_checkpoint(path)
    torch.save(nn.Linear(2, 2).state_dict(), path)
    with pytest.raises(CamwallError, match="neither a checkpoint of camwall"):
        load_checkpoint(path)
