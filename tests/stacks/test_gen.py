"""STACK-GEN: prompts, the paper's crop, and generation by a tiny diffusion pipeline."""

import sys

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from camwall import runs, stacks
from camwall.errors import CamwallError
from camwall.stacks.generated import crop


def picture(size, seed=0):
    """A random picture of (width, height), smooth enough to show a shift."""
    small = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    return Image.fromarray(small).resize(size, Image.Resampling.BICUBIC)


@pytest.mark.parametrize("size", [(1024, 1024), (1792, 1024), (300, 201), (257, 640), (224, 224)])
def test_the_crop_is_the_papers(size):
    """Resize(256) and CenterCrop(224) of torchvision, pixel for pixel."""
    image = picture(size)
    oracle = v2.CenterCrop(224)(v2.Resize(256)(image))
    np.testing.assert_array_equal(np.asarray(crop(image)), np.asarray(oracle))


def test_there_is_one_prompt_a_class_pair_and_it_names_both():
    """Each class above once before any again; same and other as asked; animals only."""
    table = stacks.prompts(500, seed=1, hidden="all")
    assert list(table["variant"]) == ["same", "other"] * 250
    same, other = table[table["variant"] == "same"], table[table["variant"] == "other"]
    assert same["visible_index"].is_unique
    assert (same["visible_index"] == same["hidden_index"]).all()
    assert (other["visible_index"] != other["hidden_index"]).all()
    assert table[["visible_index", "hidden_index"]].to_numpy().max() < 398
    for row in table.head(20).itertuples():
        assert row.visible_name in row.prompt.split("lower third")[0]
        assert row.hidden_name in row.prompt.split("upper two thirds")[1]


def test_prompts_depend_on_the_seed_alone():
    """And the first ones not on their number."""
    pd.testing.assert_frame_equal(stacks.prompts(5, 3), stacks.prompts(9, 3).head(5))
    assert list(stacks.prompts(5, 3)["prompt"]) != list(stacks.prompts(5, 4)["prompt"])
    with pytest.raises(CamwallError, match="n must be a whole number of at least 1"):
        stacks.prompts(0)
    with pytest.raises(CamwallError, match="unknown variant 'none'"):
        stacks.prompts(3, hidden="none")


@pytest.fixture
def source(tmp_path):
    """Three generated images with their table of prompts."""
    folder = tmp_path / "made"
    folder.mkdir()
    for number in range(3):
        picture((320, 280), number).save(folder / f"{number:04d}.png")
    table = stacks.prompts(3)
    table.insert(0, "file", [f"{number:04d}.png" for number in range(3)])
    table.to_csv(folder / "prompts.csv", index=False)
    return folder


def test_labels_come_from_the_table_of_prompts(source, tmp_path):
    """By file; without a table they are unknown."""
    found = stacks.gen(source, tmp_path / "g", progress=False)
    assert found.labels_visible == list(stacks.prompts(3)["visible_index"])
    assert found.labels("hidden") == list(stacks.prompts(3)["hidden_index"])
    np.testing.assert_array_equal(
        np.asarray(Image.open(found.paths[1])), np.asarray(crop(picture((320, 280), 1)))
    )
    (source / "prompts.csv").unlink()
    assert stacks.gen(source, tmp_path / "h", progress=False).labels_visible is None


def test_a_changed_source_is_another_run(source, tmp_path):
    """The folder built from the old images is not taken for the new ones."""
    stacks.gen(source, tmp_path / "g", progress=False)
    picture((320, 280), 9).save(source / "0001.png")
    with pytest.raises(CamwallError, match="holds another run"):
        stacks.gen(source, tmp_path / "g", progress=False)


def test_what_cannot_be_used_is_named(source, tmp_path):
    """A table without a row for an image, a corrupt image, a folder without images."""
    picture((320, 280)).save(source / "0003.png")
    with pytest.raises(CamwallError, match=r"prompts\.csv needs a row for each image.*0003"):
        stacks.gen(source, tmp_path / "g", progress=False)
    (source / "0003.png").unlink()
    (source / "0002.png").write_bytes(b"not a picture")
    with pytest.raises(CamwallError, match=r"0002\.png is not an image that can be read"):
        stacks.gen(source, tmp_path / "g", progress=False)
    (tmp_path / "empty").mkdir()
    with pytest.raises(CamwallError, match="no images in"):
        stacks.gen(tmp_path / "empty", tmp_path / "g", progress=False)
    assert not (tmp_path / "g").exists()


def test_a_class_that_is_no_number_is_refused_before_anything_is_written(source, tmp_path):
    """A name in place of an index would make a folder that cannot be read back."""
    table = pd.read_csv(source / "prompts.csv").astype({"visible_index": object})
    table.loc[0, "visible_index"] = "zebra"
    table.to_csv(source / "prompts.csv", index=False)
    with pytest.raises(CamwallError, match=r"whole numbers for classes.*zebra"):
        stacks.gen(source, tmp_path / "g", progress=False)
    assert not (tmp_path / "g").exists()


@pytest.fixture(scope="module")
def pipeline():
    """A Stable Diffusion pipeline of a few thousand random weights, built from configurations."""
    diffusers = pytest.importorskip("diffusers")
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    words = {"<|startoftext|>": 0, "<|endoftext|>": 1}
    characters = [*"abcdefghijklmnopqrstuvwxyz,.-'"]
    for token in [*characters, *(f"{c}</w>" for c in characters)]:
        words[token] = len(words)
    text = transformers.CLIPTextConfig(
        vocab_size=len(words),
        hidden_size=16,
        intermediate_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        max_position_embeddings=77,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=1,
    )
    unet = diffusers.UNet2DConditionModel(
        sample_size=8,
        layers_per_block=1,
        block_out_channels=(8, 16),
        norm_num_groups=4,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=16,
        attention_head_dim=4,
    )
    vae = diffusers.AutoencoderKL(
        block_out_channels=(8, 8),
        norm_num_groups=4,
        down_block_types=("DownEncoderBlock2D", "DownEncoderBlock2D"),
        up_block_types=("UpDecoderBlock2D", "UpDecoderBlock2D"),
        latent_channels=4,
    )
    return diffusers.StableDiffusionPipeline(
        vae=vae,
        text_encoder=transformers.CLIPTextModel(text),
        tokenizer=transformers.CLIPTokenizer(vocab=words, merges=[], model_max_length=77),
        unet=unet,
        scheduler=diffusers.DDIMScheduler(steps_offset=1, clip_sample=False),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


OPTIONS = {"num_inference_steps": 2, "height": 64, "width": 64}


def generate(folder, pipeline, table, **changed):
    """Generate without a progress bar."""
    settings = {"options": OPTIONS, "seed": 5, **changed}
    return stacks.generate(folder, table, pipeline, progress=False, **settings)


def contents(folder):
    """The bytes of each image."""
    return {file.name: file.read_bytes() for file in sorted(folder.glob("*.png"))}


def test_images_are_generated_from_prompts_and_become_stacks(pipeline, tmp_path):
    """From prompt to stack with its labels; the same seed gives the same images."""
    table = stacks.prompts(2)
    made = contents(generate(tmp_path / "a", pipeline, table))
    assert made == contents(generate(tmp_path / "b", pipeline, table))
    assert made != contents(generate(tmp_path / "c", pipeline, table, seed=7))
    assert len(set(made.values())) == 2
    found = stacks.gen(tmp_path / "a", tmp_path / "stacks", progress=False)
    assert found.labels_visible == list(table["visible_index"])


def test_generation_goes_on_where_it_was_cut_off(pipeline, tmp_path):
    """Finished images are kept, the missing one is what it would have been."""
    table = stacks.prompts(2)
    folder = generate(tmp_path / "a", pipeline, table)
    made = contents(folder)
    (folder / "0001.png").unlink()
    stamp = (folder / "0000.png").stat().st_mtime_ns
    assert contents(generate(folder, pipeline, table)) == made
    assert (folder / "0000.png").stat().st_mtime_ns == stamp


def test_images_of_another_run_are_not_mixed_in(pipeline, tmp_path):
    """Other prompts, seed or options; or a folder with other files."""
    folder = generate(tmp_path / "a", pipeline, stacks.prompts(1))
    for changed in ({"seed": 6}, {"options": {**OPTIONS, "num_inference_steps": 3}}):
        with pytest.raises(CamwallError, match="holds another run"):
            generate(folder, pipeline, stacks.prompts(1), **changed)
    with pytest.raises(CamwallError, match="holds another run"):
        generate(folder, pipeline, stacks.prompts(2))
    with pytest.raises(CamwallError, match="holds other files"):
        generate(tmp_path, pipeline, stacks.prompts(1))
    told = pytest.raises(CamwallError, match="another process is at work in")
    with runs.alone(folder), told:
        generate(folder, pipeline, stacks.prompts(1))


def test_a_pipeline_that_cannot_be_loaded_is_named(tmp_path):
    """A folder that is not there, before anything is written."""
    pytest.importorskip("diffusers")
    with pytest.raises(CamwallError, match=r"no pipeline '.*gone' can be loaded"):
        generate(tmp_path / "a", str(tmp_path / "gone"), stacks.prompts(1))
    assert not (tmp_path / "a").exists()


def test_without_diffusers_the_extra_is_named(tmp_path, monkeypatch):
    """The rest of the library does without it."""
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(CamwallError, match=r"pip install 'camwall\[generate\]'"):
        generate(tmp_path / "a", "any", stacks.prompts(1))
