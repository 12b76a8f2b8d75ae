"""The committed tables and the readers of data sets."""

import dataclasses
import gzip
import hashlib
import struct

import numpy as np
import pytest
import torch
from torchvision.models._meta import _IMAGENET_CATEGORIES

from camwall import data
from camwall.data import sources
from camwall.errors import CamwallError, DataUnavailable
from camwall.stacks.scenes import SCENES


def test_imagenet_classes_are_torchvisions_in_the_order_of_their_wordnet_ids():
    """Index, name and id agree with the models whose scores they label."""
    table = data.imagenet_classes()
    assert list(table["index"]) == list(range(1000))
    assert list(table["name"]) == _IMAGENET_CATEGORIES
    assert list(table["wnid"]) == sorted(set(table["wnid"]))


def test_animals_are_the_first_398_classes():
    """The last animal is the puffer, the first thing the abacus."""
    table = data.imagenet_classes()
    assert list(table.index[table["animal"]]) == list(range(398))
    assert list(table["name"][[0, 397, 398]]) == ["tench", "puffer", "abacus"]
    known = {"n02119022": "red fox", "n02391049": "zebra", "n01882714": "koala"}
    assert dict(table.set_index("wnid").loc[list(known), "name"]) == known


def test_stamp_labels_are_animals_with_their_own_wordnet_id():
    """A typing error in an index would show as another class's id."""
    labels, classes = data.stamp_labels(), data.imagenet_classes()
    labelled = labels.dropna(subset="imagenet")
    assert len(labelled) > 50
    assert classes["animal"][labelled["imagenet"].astype(int)].all()
    assert list(classes["wnid"][labelled["imagenet"].astype(int)]) == list(labelled["wnid"])
    assert labels["wnid"].isna().equals(labels["imagenet"].isna())


def test_every_stamp_has_a_checksum_a_species_and_a_known_scene():
    """And every scene has at least two species, so that another one can stand there."""
    labels = data.stamp_labels()
    assert labels["file"].is_unique
    assert labels["sha256"].str.fullmatch("[0-9a-f]{64}").all()
    assert labels["sha256"].is_unique
    assert labels["species"].str.len().min() > 2
    places = labels.explode("scenes")
    assert set(places["scenes"]) == set(SCENES)
    assert places.groupby("scenes")["species"].nunique().min() >= 2


def test_idx_files_are_read_as_they_are_written(tmp_path, monkeypatch):
    """Sizes are big-endian, the last index runs fastest."""
    monkeypatch.setenv("CAMWALL_CACHE", str(tmp_path))
    values = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
    folder = tmp_path / "fashion-mnist"
    folder.mkdir()
    header = struct.pack(">BBBBIII", 0, 0, 8, 3, *values.shape)
    (folder / "t10k-images-idx3-ubyte").write_bytes(header + values.tobytes())
    header = struct.pack(">BBBBI", 0, 0, 8, 1, 2)
    (folder / "t10k-labels-idx1-ubyte").write_bytes(header + bytes([9, 4]))
    sums = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in folder.iterdir()}
    monkeypatch.setattr(sources, "_FASHION_SHA256", sums)
    images, labels = data.fashion_mnist(train=False)
    np.testing.assert_array_equal(images, values)
    assert (images.dtype, labels.dtype) == (torch.uint8, torch.int64)
    assert labels.tolist() == [9, 4]


def test_digits_keep_their_seventeen_levels():
    """Spread over 0..255 without merging any."""
    images, labels = data.digits()
    assert images.shape == (1797, 8, 8)
    assert images.unique().tolist() == [level * 255 // 16 for level in range(17)]
    assert labels.bincount().min() > 170


@pytest.fixture
def source(tmp_path, monkeypatch):
    """A small data set ``toy`` of two files, one of them gzipped at its home; counts downloads."""
    monkeypatch.setenv("CAMWALL_CACHE", str(tmp_path / "cache"))
    contents = {"a.bin": b"alpha", "deep/b.bin": b"beta"}
    calls = []

    def download(folder):
        calls.append(folder)
        (folder / "deep").mkdir()
        (folder / "a.bin").write_bytes(contents["a.bin"])
        (folder / "deep" / "b.bin.gz").write_bytes(gzip.compress(contents["deep/b.bin"]))
        return folder

    def no_apt(package, folder):
        raise DataUnavailable("there is no apt-get here")

    checksums = {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()}
    toy = sources.Source("a toy", lambda: checksums, download, "no-such-package", "no/such/folder")
    monkeypatch.setattr(sources, "unpack", no_apt)
    monkeypatch.setitem(sources.SOURCES, "toy", toy)
    return contents, calls


def test_a_data_set_is_fetched_once_whole_and_unpacked(source, tmp_path):
    """The second call touches nothing; no temporary folder is left."""
    contents, calls = source
    folder = sources.obtain("toy")
    assert folder == sources.obtain("toy") == tmp_path / "cache" / "toy"
    assert len(calls) == 1
    found = {p.relative_to(folder).as_posix(): p for p in folder.rglob("*") if p.is_file()}
    assert {name: path.read_bytes() for name, path in found.items()} == contents
    assert {p.name for p in folder.parent.iterdir()} == {"toy", ".toy.lock"}


@pytest.mark.parametrize("spoil", [lambda f: f.write_bytes(b"alphb"), lambda f: f.unlink()])
def test_data_that_rots_is_fetched_again(source, spoil, capsys):
    """A file that changed or went, in a cache that was whole, costs a line; each process looks."""
    _, calls = source
    folder = sources.obtain("toy")
    spoil(folder / "a.bin")
    sources._obtained.cache_clear()  # as another process has it
    assert (sources.obtain("toy") / "a.bin").read_bytes() == b"alpha"
    assert len(calls) == 2
    assert "toy was damaged: fetched again" in capsys.readouterr().err


@pytest.mark.parametrize("spoil", [lambda f: f.write_bytes(b"other"), lambda f: f.unlink()])
def test_wrong_contents_are_refused_and_nothing_is_kept(source, monkeypatch, spoil, tmp_path):
    """A file that differs from what was checked, or is missing, makes the data set unavailable."""
    toy = sources.SOURCES["toy"]

    def download(folder):
        toy.download(folder)
        spoil(folder / "a.bin")
        return folder

    spoilt = dataclasses.replace(toy, download=download)
    monkeypatch.setitem(sources.SOURCES, "toy", spoilt)
    with pytest.raises(DataUnavailable, match=r"a\.bin"):
        sources.obtain("toy")
    assert {p.name for p in (tmp_path / "cache").iterdir()} == {".toy.lock"}


def test_missing_data_costs_one_line_and_no_exception(source, monkeypatch, capsys):
    """The rest of the book builds: the line says what, why and how to get it."""
    toy = sources.SOURCES["toy"]

    def offline(folder):
        raise ConnectionError("no\nnetwork")

    away = dataclasses.replace(toy, download=offline)
    monkeypatch.setitem(sources.SOURCES, "toy", away)
    assert data.fetch(["toy"]) == {"toy": None}
    assert capsys.readouterr().err == (
        "camwall: a toy cannot be had: there is no apt-get here; ConnectionError in the download. "
        "Install the Debian package no-such-package, or try again with a network.\n"
    )


def test_a_cache_that_cannot_be_written_is_one_clear_line(monkeypatch, tmp_path, source):
    """A file where the cache should be, as with a mistyped CAMWALL_CACHE."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("CAMWALL_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataUnavailable, match="set CAMWALL_CACHE"):
        sources.obtain("toy")


def test_an_unknown_data_set_is_refused():
    """And the known ones are named."""
    with pytest.raises(CamwallError, match="no data set 'stamp': there are stamps"):
        data.fetch(["stamp"])
