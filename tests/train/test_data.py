"""Sources, crops, studies and the one-time shrink."""

import resource
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from camwall import data as datasets
from camwall.errors import CamwallError
from camwall.models import Preprocessing, small_vgg
from camwall.train import STUDIES, Recipe, pair_stacks, study
from camwall.train.loading import Batches, Schedule, evaluation_input
from camwall.train.shrink import shrink_folder
from camwall.train.sources import ArraySource, FolderSource, HubSource
from camwall.train.studies import _prepared
from tests.helpers.training import make_data, make_model, process

CPU = torch.device("cpu")


@pytest.fixture
def folder(tmp_path):
    """Photograph-like JPEGs of several sizes: two classes, ten images each."""
    rng, tmp_path = np.random.default_rng(0), tmp_path / "images"
    for name in ("n01440764", "plain"):
        (tmp_path / name).mkdir(parents=True)
        for i in range(10):
            small = rng.integers(0, 256, (6, 8 + i, 3), dtype=np.uint8)
            image = Image.fromarray(small).resize((300 + 20 * i, 280), Image.Resampling.BICUBIC)
            image.save(tmp_path / name / f"{i}.JPEG", quality=95)
    return tmp_path


def test_evaluation_inputs_are_those_of_the_models_preprocessing(folder):
    """Resized and cropped on the device as uint8, an image differs from what Pillow makes of the
    file by rounding alone."""
    source, preprocessing = FolderSource(folder), Preprocessing()
    batches = Batches(source, preprocessing, Schedule(len(source), 4), None, CPU)
    images = torch.cat([images for images, _ in batches])
    expected = preprocessing.load([source.path(i) for i in range(len(source))])
    step = 1 / 255 / min(preprocessing.std)
    assert (images - expected).abs().max() < 2.5 * step
    assert (images - expected).abs().mean() < 0.3 * step


def test_whole_crops_are_the_evaluation_inputs():
    """With crops of the whole image and no flip, training sees what evaluation sees."""
    data = make_data(8)
    recipe = Recipe(batch=8, crop_area=(1, 1), crop_aspect=(1, 1), flip=False)
    schedule = Schedule(8, 8, seed=0)
    ((images, labels),) = Batches(data.train, data.preprocessing, schedule, recipe, CPU)
    ((keys),) = schedule
    for image, label, (_, index) in zip(images, labels, keys, strict=True):
        assert torch.equal(image, evaluation_input(data.train.image(index), data.preprocessing))
        assert label == data.train.label(index)


def test_crops_have_the_recipes_areas_and_aspects():
    """Over many crops of a position-coded image, areas and aspects fill the recipe's ranges and
    half of the images are mirrored."""
    size = 100
    columns = torch.arange(size).repeat(size, 1)
    image = torch.stack([columns, columns.T, columns]).to(torch.uint8)[None]
    count, recipe = 600, Recipe(batch=600)
    source = ArraySource(image.expand(count, -1, -1, -1), torch.zeros(count))
    preprocessing = Preprocessing((0.0,) * 3, (1 / 255,) * 3, None, 20)
    ((images, _),) = Batches(source, preprocessing, Schedule(count, count, seed=0), recipe, CPU)
    left, right = images[:, 0, 10, 1], images[:, 0, 10, -2]  # columns of the original
    top, bottom = images[:, 1, 1, 10], images[:, 1, -2, 10]
    width, height = (right - left).abs() * 20 / 17, (bottom - top) * 20 / 17
    area, aspect = width * height / size**2, width / height
    assert 0.08 < area.min() < 0.13
    assert 0.9 < area.max() < 1.1
    assert abs(area.mean() - 0.5) < 0.08
    assert 0.7 < aspect.min() < 0.9
    assert 1.12 < aspect.max() < 1.4
    assert 0.4 < (right < left).float().mean() < 0.6


def test_a_flip_mirrors_and_changes_nothing_else():
    """Each image of an epoch is the image or its mirror image."""
    data = make_data(32)
    recipe = Recipe(batch=32, crop_area=(1, 1), crop_aspect=(1, 1))
    schedule = Schedule(32, 32, seed=1)
    ((images, _),) = Batches(data.train, data.preprocessing, schedule, recipe, CPU)
    (keys,) = schedule
    mirrored = 0
    for image, (_, index) in zip(images, keys, strict=True):
        plain = evaluation_input(data.train.image(index), data.preprocessing)
        mirrored += torch.equal(image, plain.flip(2))
        assert torch.equal(image, plain) or torch.equal(image, plain.flip(2))
    assert 8 <= mirrored <= 24


def test_epochs_and_seeds_crop_anew():
    """The same image is cropped otherwise in another epoch and under another seed."""
    data = make_data(4)

    def batch(seed, epoch):
        schedule = Schedule(4, 4, seed=0)
        schedule.epoch = epoch
        recipe = Recipe(batch=4, seed=seed)
        ((images, _),) = Batches(data.train, data.preprocessing, schedule, recipe, CPU)
        return images.sum((1, 2, 3)).sort().values

    assert torch.equal(batch(0, 0), batch(0, 0))
    assert not torch.equal(batch(0, 0), batch(0, 1))
    assert not torch.equal(batch(0, 0), batch(1, 0))


def test_shrinking_keeps_the_picture(folder, tmp_path):
    """Shorter sides become the given size, the aspect stays, the picture is that of a direct
    resize; a second call writes nothing; a smaller image keeps its size."""
    target = tmp_path / "small"
    source = FolderSource(folder)
    (folder / "plain" / "tiny.png").parent.mkdir(exist_ok=True)
    Image.new("RGB", (20, 10), (9, 90, 200)).save(folder / "plain" / "tiny.png")
    assert shrink_folder(folder, target, size=64, progress=False) == (21, 0)
    assert shrink_folder(folder, target, size=64, progress=False) == (0, 21)
    small = FolderSource(target)
    assert small.classes == source.classes
    assert small.image(len(small) - 1).shape == (3, 10, 20)
    for index in range(10):
        image, shrunk = source.image(index), small.image(index)
        height, width = image.shape[1:]
        assert shrunk.shape == (3, 64, round(width * 64 / height))
        direct = v2.functional.resize(image, list(shrunk.shape[1:]), antialias=True)
        assert (direct.float() - shrunk.float()).abs().mean() < 6
    assert not list(target.rglob(".*"))
    with pytest.raises(CamwallError, match=r"another run \(size 64, not 32\)"):
        shrink_folder(folder, target, size=32, progress=False)


def test_shrinking_follows_links_to_folders_but_to_those_they_lie_in(folder, tmp_path):
    """A class folder that is a link has copies, as training reads it."""
    (folder / "plain").rename(tmp_path / "elsewhere")
    (folder / "plain").symlink_to(tmp_path / "elsewhere")
    (folder / "n01440764" / "again").symlink_to(folder)
    assert shrink_folder(folder, tmp_path / "small", size=64, progress=False) == (20, 0)
    assert FolderSource(tmp_path / "small").classes == ("n01440764", "plain")


def shrink_with_small_files(folder, target, message):
    """Shrink where no file may grow beyond 600 bytes, and write down what the user is told."""
    message.touch()
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (600, 600))
    try:
        shrink_folder(folder, target, size=64, progress=False)
    except CamwallError as error:
        message.write_text(str(error))


def test_a_full_disk_ends_a_shrink_with_one_line(folder, tmp_path):
    """Nothing that is cut off stays behind, for the next call would take it for done."""
    run = process(shrink_with_small_files, folder, tmp_path / "small", tmp_path / "message")
    run.join(60)
    told = (tmp_path / "message").read_text()
    assert told.startswith("cannot write")
    assert "\n" not in told
    for file in (tmp_path / "small").rglob("*.jpg"):
        Image.open(file).load()
    written, kept = shrink_folder(folder, tmp_path / "small", size=64, progress=False)
    assert written > 0
    assert written + kept == 20


def test_a_killed_shrink_leaves_no_workers_behind():
    """They end with it: all ends of its pipe are closed then."""
    script = (
        "import time\n"
        "from concurrent.futures import ProcessPoolExecutor\n"
        "from camwall.train.shrink import end_with_parent\n"
        "if __name__ == '__main__':\n"
        "    pool = ProcessPoolExecutor(2, initializer=end_with_parent)\n"
        "    list(pool.map(time.sleep, [0.1] * 4))\n"
        "    print('at work', flush=True)\n"
        "    time.sleep(600)\n"
    )
    killed = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    assert killed.stdout.readline() == b"at work\n"
    killed.kill()
    killed.communicate(timeout=60)


def test_shrinking_refuses_what_it_cannot_do(folder, tmp_path):
    """Bad sizes, a folder onto itself, an empty one, names that would collide, a corrupt image."""
    for message, call in {
        "size must be a whole number of at least 1": lambda: shrink_folder(
            folder, tmp_path / "x", size=0
        ),
        "to a folder outside it": lambda: shrink_folder(folder, folder / "small"),
        "no images below": lambda: shrink_folder(folder / "plain" / "no", tmp_path / "x"),
    }.items():
        (folder / "plain" / "no").mkdir(exist_ok=True)
        with pytest.raises(CamwallError, match=message):
            call()
    bad = folder / "plain" / "5.JPEG"
    bad.write_bytes(bad.read_bytes()[:500])
    with pytest.raises(CamwallError, match=r"5.JPEG is not an image") as caught:
        shrink_folder(folder, tmp_path / "y", progress=False)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "y" / "plain" / "5.jpg").exists()
    bad.rename(folder / "plain" / "4.png")
    with pytest.raises(CamwallError, match="extension alone"):
        shrink_folder(folder, tmp_path / "z", progress=False)


def test_class_folders_are_split_and_named(folder):
    """Without train/ and val/ one image in ten of each class is held out; a synset folder is
    called by its ImageNet name; a class of one image cannot be split."""
    loaded = study("folder").load(str(folder), small=True)
    assert len(loaded.train) == 18
    assert len(loaded.test) == 2
    assert [loaded.test.label(i) for i in range(2)] == [0, 1]
    assert loaded.class_names == ("tench", "plain")
    assert loaded.network().preprocessing.crop == 28
    assert loaded.test.source is loaded.train.source
    assert not set(loaded.test.indices) & set(loaded.train.indices)
    (folder / "single").mkdir()
    Image.new("RGB", (30, 30)).save(folder / "single" / "a.png")
    with pytest.raises(CamwallError, match=r"'single'.*one image"):
        study("folder").load(str(folder))


def test_the_vgg16_of_a_folder_has_its_classes(folder):
    """At full size a folder trains the paper's network with the folder's classes."""
    loaded = study("folder").load(str(folder))
    with torch.device("meta"):
        model = loaded.network(masked=False)
    assert model.map_shape == (256, 14, 14)
    assert model.class_names == ("tench", "plain")


def test_a_hub_data_set_is_read(folder, tmp_path, monkeypatch):
    """``hf:`` reads image and label columns, splits train and validation, and decodes the bytes
    the folder source decodes."""
    pytest.importorskip("datasets")
    monkeypatch.setenv("CAMWALL_CACHE", str(tmp_path / "cache"))
    root = tmp_path / "hub"
    for part in ("train", "validation"):
        shutil.copytree(folder, root / part)
    import datasets as hub

    hub.disable_progress_bars()
    loaded = study("imagenet").load(f"hf:{root}", small=True)
    assert loaded.class_names == ("tench", "plain")
    assert len(loaded.train) == len(loaded.test) == 20
    source = FolderSource(folder)
    for index in (0, 13):
        assert torch.equal(loaded.train.image(index), source.image(index))
        assert loaded.train.label(index) == source.label(index)
    with pytest.raises(CamwallError, match="cannot be had"):
        study("imagenet").load(f"hf:{tmp_path}/nothing")
    split = hub.load_dataset(str(root), split="train")
    labels = [*split["label"][:-1], None]
    for column, kind, message in (
        (labels, hub.ClassLabel(names=["tench", "plain"]), "some images of ours have no label"),
        (split["label"], hub.Value("int64"), "the labels of ours have no class names"),
    ):
        bare = split.remove_columns("label").add_column("label", list(column))
        with pytest.raises(CamwallError, match=message):
            HubSource(bare.cast_column("label", kind), "ours")


def test_cifar10_is_read(monkeypatch):
    """CIFAR-10 arrays become channels-first images; it is resized by nothing and cropped to 28."""
    rng = np.random.default_rng(0)

    class Stand:
        classes = tuple("abcdefghij")

        def __init__(self, root, train, download):
            self.data = rng.integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
            self.targets = [i % 10 for i in range(20)]

    monkeypatch.setattr("torchvision.datasets.CIFAR10", Stand)
    loaded = study("cifar10").load()
    assert loaded.train.image(0).shape == (3, 32, 32)
    assert len(loaded.preprocessing.mean) == 3
    image = evaluation_input(loaded.test.image(3), loaded.preprocessing)
    middle = loaded.test.image(3)[:, 2:30, 2:30].float() / 255
    torch.testing.assert_close(loaded.preprocessing.denormalize(image), middle)
    assert loaded.network()(image[None]).shape == (1, 10)


def test_the_digits_are_split_by_class():
    """A quarter of each digit is held out, the same quarter every time; none is in both parts."""
    loaded, again = study("digits").load(), study("digits").load()
    assert torch.equal(loaded.test.images, again.test.images)
    assert len(loaded.test) == 450
    counts = loaded.test.labels.bincount()
    assert counts.min() >= 43
    assert counts.max() <= 47
    assert len(datasets.digits()[0]) == len(loaded.train) + len(loaded.test) == 1797


def test_images_in_memory_are_normalised_by_their_own_pixels():
    """Mean and standard deviation of each channel, to four decimals."""
    for name in ("digits", "noise"):
        data = study("digits").load() if name == "digits" else make_data(7)
        pixels = data.train.images.double() / 255
        found = _prepared(data.train, small=False)
        assert found.mean == tuple(round(v, 4) for v in pixels.mean((0, 2, 3)).tolist())
        assert found.std == tuple(round(v, 4) for v in pixels.std((0, 2, 3)).tolist())


def test_the_papers_recipe_is_the_default():
    """The paper's values (facts of its code), for ImageNet and for any folder."""
    recipe = Recipe()
    assert (recipe.epochs, recipe.batch, recipe.lr, recipe.momentum) == (90, 256, 0.03, 0.9)
    assert (recipe.weight_decay, recipe.lr_step, recipe.lr_gamma) == (1e-4, 30, 0.1)
    assert (recipe.crop_area, recipe.crop_aspect, recipe.flip) == ((0.1, 1), (0.8, 1.25), True)
    assert STUDIES["imagenet"].recipe == STUDIES["folder"].recipe == recipe
    assert all(s.recipe.lr == 0.03 for s in STUDIES.values())


def test_pair_stacks_join_two_classes_at_the_wall():
    """Above the wall a test image as it is, below it the same rows of one of another class; the
    masked network answers as on the whole visible image."""
    data = make_data(40)
    model = make_model(data).eval()
    inputs, labels = pair_stacks(data.test, model, count=25)
    again, _ = pair_stacks(data.test, model, count=25)
    assert torch.equal(inputs, again)
    row = model.wall.row
    images = torch.stack([evaluation_input(i, data.preprocessing) for i in data.test.images])
    for stack, label in zip(inputs, labels, strict=True):
        (above,) = (images[:, :, :row] == stack[:, :row]).flatten(1).all(1).nonzero()[0]
        (below,) = (images[:, :, row:] == stack[:, row:]).flatten(1).all(1).nonzero()[0]
        assert data.test.label(int(above)) == label
        assert data.test.label(int(below)) != label
        assert torch.equal(model(stack[None]), model(images[above][None]))
    one = ArraySource(data.test.images, torch.zeros(40))
    with pytest.raises(CamwallError, match="at least two"):
        pair_stacks(one, model)


def test_the_small_vgg_refuses_what_it_is_not():
    """No classes, no channels, or images of another size: one line."""
    with pytest.raises(CamwallError, match="classes must be a whole number of at least 1, not 0"):
        small_vgg(classes=0)
    with pytest.raises(CamwallError, match="takes images of 3×28×28"):
        small_vgg(channels=3, preprocessing=Preprocessing((0.5,), (0.5,), None, 28))
    model = small_vgg()
    assert model.map_shape[1:] == (14, 14)
    assert (model.wall.row, model.read_rows) == (15, 5)


def test_training_images_are_resized_as_the_preprocessing_says():
    """Bicubic where it says bicubic, as image files are; the two differ."""
    images = torch.randint(0, 256, (1, 3, 40, 60), generator=torch.Generator().manual_seed(0))
    image = images[0].to(torch.uint8)
    picture = Image.fromarray(image.permute(1, 2, 0).numpy())
    ways = [Preprocessing(resize=32, crop=28, bicubic=bicubic) for bicubic in (False, True)]
    inputs = [evaluation_input(image, way) for way in ways]
    assert (inputs[0] - inputs[1]).abs().max() > 0.1
    for way, found in zip(ways, inputs, strict=True):
        file = torch.from_numpy(np.array(way.fitted(picture))).permute(2, 0, 1)
        assert (way.denormalize(found) * 255 - file).abs().max() < 1.5  # Pillow rounds otherwise
