"""Checkpoints and folders of stacks that rotted, or that somebody else made, are refused."""

import pickle
from random import Random

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from camwall.check.images import ImageSet
from camwall.config import quick
from camwall.errors import CamwallError
from camwall.models import Preprocessing
from camwall.models.checkpoint import load_checkpoint, read_weights, save_checkpoint
from camwall.models.paper import small_vgg
from camwall.processes import processes
from camwall.runs import as_written, write_csv
from camwall.stacks import load
from camwall.stacks.store import sha256


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return save_checkpoint(small_vgg(), tmp_path_factory.mktemp("saved") / "model.pt")


def test_a_flipped_bit_in_a_checkpoint_is_found(checkpoint, tmp_path, record_property):
    """Or it changes no weight: the bytes between a file's parts are nobody's."""
    content, rng = checkpoint.read_bytes(), Random(0)
    before = read_weights(checkpoint)["state_dict"]
    file, found, count = tmp_path / "model.pt", 0, 24 if quick() else 300
    for number in range(count):
        damaged = bytearray(content)
        # Half of them in the head and the directory, which are small.
        at = rng.randrange(len(content)) if number % 2 else rng.randrange(-8000, 2000)
        damaged[at] ^= 1 << rng.randrange(8)
        file.write_bytes(damaged)
        try:
            after = load_checkpoint(file, certified=False).state_dict()
        except CamwallError as error:
            found += "\n" not in str(error)
        else:
            assert all(torch.equal(after[name], before[name]) for name in before)
            found += 1
    assert found == count
    record_property("flipped bits in checkpoints", count)


class Evil:
    def __reduce__(self):
        return open, ("evil", "w")


def entry(change):
    """A checkpoint of ours with its first weight made something else."""

    def made(saved):
        weights = dict(saved["state_dict"])
        first = next(iter(weights))
        weights[first] = change(weights[first])
        return {**saved, "state_dict": weights}

    return made


CHECKPOINTS = {
    "nothing": lambda saved: None,
    "a list": lambda saved: list(saved["state_dict"].values()),
    "a tensor": lambda saved: torch.zeros(3),
    "integer keys": lambda saved: {0: torch.zeros(3)},
    "an integer key": lambda saved: {
        **saved,
        "state_dict": {**saved["state_dict"], 3: torch.ones(1)},
    },
    "no weights": lambda saved: {**saved, "state_dict": {}},
    "weights as a list": lambda saved: {**saved, "state_dict": [1]},
    "another description": lambda saved: {**saved, "camwall_network": 3},
    "an unknown builder": lambda saved: {**saved, "camwall_network": {"name": "x"}},
    "the authors', meta": lambda saved: {"31.6.weight": torch.zeros(10, 4096, device="meta")},
    "code": lambda saved: {"weights": Evil()},
    "meta": entry(lambda weight: weight.to("meta")),
    "sparse": entry(torch.Tensor.to_sparse),
    "quantised": entry(lambda weight: torch.quantize_per_tensor(weight, 0.1, 0, torch.qint8)),
    "complex": entry(lambda weight: weight.to(torch.complex64)),
    "bool": entry(lambda weight: weight > 0),
    "text": entry(lambda weight: "weight"),
    "None": entry(lambda weight: None),
    "NaN": entry(lambda weight: weight * torch.nan),
    "another shape": entry(lambda weight: weight[:1]),
}
BYTES = [b"", b"weights\n", "weights".encode("utf-16"), b'{"a": 1}', pickle.dumps({"a": 1}), b"PK"]


@pytest.mark.filterwarnings("ignore:.*quantize")
@pytest.mark.parametrize("content", [*CHECKPOINTS, *BYTES], ids=str)
def test_what_is_no_checkpoint_is_refused(content, checkpoint, tmp_path, monkeypatch):
    """In one line that names the file; nothing in it is run."""
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "bad.pt"
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        torch.save(CHECKPOINTS[content](read_weights(checkpoint)), file)
    with pytest.raises(CamwallError, match=r"bad\.pt|not finite") as caught:
        load_checkpoint(file)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["bad.pt"]


@pytest.fixture
def stacks(tmp_path):
    """A folder as a builder leaves it, and a function that writes another manifest there."""
    (tmp_path / "stacks" / "images").mkdir(parents=True)
    rows = []
    for number in range(4):
        file = tmp_path / "stacks" / "images" / f"{number}.png"
        Image.fromarray(np.full((224, 224, 3), 40 * number, np.uint8)).save(file)
        row = {"file": f"images/{file.name}", "sha256": sha256(file), "group": number // 2}
        rows.append({**row, "visible_index": number, "visible_box": "1 2 3 4", "row": 160})
    (tmp_path / "outside.png").write_bytes(file.read_bytes())

    def write(info="{}", **columns):
        frame = pd.DataFrame(rows).assign(**columns)
        frame.to_csv(tmp_path / "stacks" / "manifest.csv", index=False)
        (tmp_path / "stacks" / "manifest.json").write_text(info)
        return tmp_path / "stacks"

    return write


OF_FOUR = ["images/0.png", "images/1.png", "images/2.png"]


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"file": [*OF_FOUR, "../outside.png"]}, "no file below the folder"),
        ({"file": [*OF_FOUR, "/outside.png"]}, "no file below the folder"),
        ({"file": [*OF_FOUR, ""]}, "file has a gap"),
        ({"file": [*OF_FOUR, "images/0.png"]}, r"0\.png is given twice"),
        ({"visible_index": 1.5}, "cannot safely cast"),
        ({"visible_index": -1}, "no class of ImageNet"),
        ({"visible_index": 1000}, "no class of ImageNet"),
        ({"group": [0, 0, 1, None]}, "group has a gap"),
        ({"row": "x"}, "invalid literal"),
        ({"visible_box": "1 2 3"}, "not enough values"),
        ({"visible_box": "3 2 1 4"}, "a box is not"),
        ({"visible_box": "0 0 9 999"}, "a box is not"),
        ({"info": "[]"}, "it is no JSON object"),
        ({"info": '{"parameters": []}'}, "parameters are a JSON object"),
        ({"info": '{"parameters": {"wall": {"shape": [1], "hidden": []}}}'}, "not enough values"),
    ],
    ids=str,
)
def test_a_manifest_that_no_builder_writes_is_refused(columns, said, stacks):
    """It may be anybody's: it names no file elsewhere, and its numbers are what they say."""
    assert load(stacks()).labels_visible == [0, 1, 2, 3]
    with pytest.raises(CamwallError, match=f"manifest.*cannot be read .*{said}"):
        load(stacks(**columns))


def test_a_stack_that_is_not_the_one_described_is_refused(stacks):
    """Before a check begins."""
    folder = stacks()
    (folder / "images" / "2.png").write_bytes((folder / "images" / "1.png").read_bytes())
    with pytest.raises(CamwallError, match=r"2\.png is not the image its manifest describes"):
        ImageSet(folder, Preprocessing()).digest(processes())


@pytest.mark.parametrize("name", ["=1+1", "+1", "-1", "@x", "'=1", "''-1", "plain", "'plain"])
def test_a_formula_as_a_file_name_is_inert_in_a_table(name, tmp_path):
    """A spreadsheet shows it; read again, it is what it was."""
    for index in (False, True):
        frame = pd.DataFrame({"image": [name], "leak": [-0.5], "rank": [-1]})
        frame = frame.set_index("image") if index else frame
        write_csv(tmp_path / "table.csv", frame, index=index)
        written = pd.read_csv(tmp_path / "table.csv")
        assert written["image"][0][0] not in "=+-@"
        assert as_written(written["image"][0]) == name
        assert (written["leak"][0], written["rank"][0]) == (-0.5, -1)
