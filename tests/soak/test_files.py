"""Checkpoints and folders of stacks that rotted, or that somebody else made, are refused."""

import importlib
import json
import os
import pickle
import sys
import zipfile
from contextlib import suppress
from pathlib import Path
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
from camwall.runs import as_written, read_csv, write_csv
from camwall.stacks import load, outlines
from camwall.stacks.store import sha256
from tests.helpers.corpus import within
from tests.soak.test_folders import json_made_otherwise


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


class Shell:
    """Code in other words."""

    def __init__(self, run, *given):
        self.run, self.given = run, given

    def __reduce__(self):
        return self.run, self.given


#: What becomes of one weight; None where it is left out.
WEIGHTS = {
    "meta": lambda weight: weight.to("meta"),
    "sparse": torch.Tensor.to_sparse,
    "quantised": lambda weight: torch.quantize_per_tensor(weight, 0.1, 0, torch.qint8),
    "complex": lambda weight: weight.to(torch.complex64),
    "bool": lambda weight: weight > 0,
    "8 bits": lambda weight: weight.to(torch.uint8),
    "text": lambda weight: "weight",
    "None": lambda weight: None,
    "a list": lambda weight: weight.tolist(),
    "nested": lambda weight: {"weight": weight},
    "NaN": lambda weight: weight * torch.nan,
    "infinite": lambda weight: weight + torch.inf,
    "one row": lambda weight: weight[:1],
    "one more": lambda weight: torch.cat([weight, weight]),
    "flat": torch.Tensor.flatten,
    "another dimension": lambda weight: weight[None],
    "empty": lambda weight: weight[:0],
    "no dimension": lambda weight: weight.sum(),
    "a claim": lambda weight: torch.zeros(1).expand(2**33),
    "a parameter": lambda weight: torch.nn.Parameter(weight),
    "strides": lambda weight: weight.flip(0).contiguous().flip(0),
    "code": lambda weight: Evil(),
    "a call": lambda weight: Shell(os.system, "touch evil"),
    "an evaluation": lambda weight: Shell(eval, "open('evil', 'w')"),
    "an import": lambda weight: Shell(importlib.import_module, "antigravity"),
    "a module": lambda weight: torch.nn.Linear(2, 2),
    "left out": lambda weight: None,
}


def checkpoint_made_otherwise(file: Path, saved: dict, rng: Random) -> str:
    """Write a checkpoint with something otherwise, and say what."""
    weights, network = dict(saved["state_dict"]), saved["camwall_network"]
    how = rng.choice(["weight", "weight", "description", "more", "parts"])
    if how == "weight":
        name, what = rng.choice(list(weights)), rng.choice(list(WEIGHTS))
        weights[name] = WEIGHTS[what](weights[name])
        if what == "left out":
            del weights[name]
        how = f"{name} {what}"
    if how == "more":
        name, what = rng.choice(["", "0", "x.weight", "../x", 3, None]), rng.choice(list(WEIGHTS))
        weights[name] = WEIGHTS[what](torch.ones(2, 3))
        how = f"more {name} {what}"
    if how == "description":
        text, how = json_made_otherwise(json.dumps(network), rng)
        with suppress(ValueError, RecursionError):
            network = json.loads(text)
    torch.save({"camwall_network": network, "state_dict": weights}, file)
    if how == "parts":
        with zipfile.ZipFile(file) as parts:
            held = {name: parts.read(name) for name in parts.namelist()}
        at = rng.choice(list(held))
        to = rng.choice(["../evil", "/evil", "evil/../../evil", f"{at}/../evil", None, at])
        content = held.pop(at)
        if to is not None:
            content = rng.choice([content, content[:9], pickle.dumps(Evil()), b"x" * 10**6])
            held[to] = content
        with zipfile.ZipFile(file, "w") as parts:
            for name, content in held.items():
                parts.writestr(name, content)
        how = f"{at} is {to}, {len(content)} bytes"
    return how


def said_of(model) -> dict:
    """What a checkpoint says of its network beside the weights."""
    told = {"masked": model.masked, "wall": str(model.wall), "made": model.made_by}
    return told | {"way": str(model.preprocessing), "classes": model.class_names}


@pytest.mark.filterwarnings("ignore:.*quantize", "ignore:.*[Ss]parse")
def test_a_checkpoint_made_otherwise_is_the_same_or_refused(
    checkpoint, tmp_path, monkeypatch, record_property
):
    """In one line that names the file; no code in it is run, and no file beside it written."""
    monkeypatch.chdir(tmp_path)
    file, rng, bad, count = tmp_path / "bad.pt", Random(0), [], 60 if quick() else 600
    saved, right = read_weights(checkpoint), load_checkpoint(checkpoint, certified=False)
    wanted = right.state_dict()
    for _ in range(count):
        what = checkpoint_made_otherwise(file, saved, rng)
        try:
            with within(30):
                found = load_checkpoint(file, certified=False)
        except CamwallError as error:
            if "\n" in str(error) or "bad.pt" not in str(error):
                bad.append((what, f"says {error}"))
        except Exception as error:
            bad.append((what, f"a bare {error!r}"))
        else:
            weights = found.state_dict()
            if weights.keys() != wanted.keys() or not all(
                torch.equal(weights[name], wanted[name]) for name in wanted
            ):
                bad.append((what, "has other weights"))
            elif (told := said_of(found)) != said_of(right) and "mean', 0) -1" not in what:
                bad.append((what, f"says {told}"))
        if (left := sorted(path.name for path in tmp_path.rglob("*"))) != ["bad.pt"]:
            bad.append((what, f"leaves {left}"))
    assert not bad, f"{len(bad)} of {count}:\n" + "\n".join(str(each)[:300] for each in bad)
    assert "antigravity" not in sys.modules
    assert not (tmp_path.parent / "evil").exists()
    record_property("checkpoints made otherwise", count)


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


@pytest.mark.parametrize(
    ("columns", "seed", "said"),
    [
        ({"visible_source": "../outside.png"}, 0, "no file below the folder"),
        ({"visible_source": "/outside.png"}, 0, "no file below the folder"),
        ({"visible_source": ""}, 0, "unsupported operand"),
        ({"group": -1, "visible_source": "x.png"}, 0, "non-negative"),
        ({}, 0, "visible_source"),
        ({}, "x", "seed must be a whole number"),
    ],
    ids=str,
)
def test_an_outline_is_of_the_stamps_that_are_there(columns, seed, said, stacks, tmp_path):
    """A manifest that names a file elsewhere, or is no builder's, is refused."""
    info = {"builder": "open", "seed": seed, "parameters": {"edition": 1}}
    (tmp_path / "stamps").mkdir()
    columns |= {"visible_sha256": sha256(tmp_path / "outside.png"), "variant": "same"}
    with pytest.raises(CamwallError, match=f"manifest.*cannot be read .*{said}"):
        outlines(load(stacks(json.dumps(info), **columns)), stamps=tmp_path / "stamps")


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
        assert read_csv(tmp_path / "table.csv", "")["image"][0] == name
