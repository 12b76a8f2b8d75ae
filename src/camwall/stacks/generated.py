"""STACK-GEN: two animals in one picture by a text-to-image model."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from tqdm import tqdm

from camwall import data, runs
from camwall.errors import check_count, check_kind, check_path, extra, in_one_line
from camwall.images import read_image
from camwall.stacks import design, store
from camwall.stacks.design import SIDE
from camwall.stacks.store import Painted, Stacks

if TYPE_CHECKING:
    from diffusers import DiffusionPipeline

PROMPTS = "prompts.csv"
"""The table of prompts that lies beside generated images."""


def prompts(n: int = 100, seed: int = 0, hidden: str = "same") -> pd.DataFrame:
    """Write the prompts for ``n`` stacks, one a pair of ImageNet's animal classes.

    Parameters
    ----------
    n
        Number of prompts.
    seed
        Determines the pairs; each class stands above once before any comes again.
    hidden
        ``"same"``: both animals of one class, as in the paper's published examples; ``"other"``:
        of two; ``"all"``: each visible class with the one, then with the other.

    Returns
    -------
    DataFrame
        ``prompt``, ``variant``, ``visible_index``, ``visible_name``, ``hidden_index``,
        ``hidden_name``.
    """
    groups = design.groups(n, hidden, design.VARIANTS[:2])
    animals = data.imagenet_classes().query("animal")["index"].tolist()
    rng = np.random.default_rng(check_count("seed", seed, 0))
    names = data.imagenet_classes()["name"]
    rows: list[dict[str, Any]] = []
    for variants, visible in zip(groups, design.in_turn(rng, animals), strict=False):
        other = int(rng.choice([animal for animal in animals if animal != visible]))
        for variant in variants:
            below = visible if variant == "same" else other
            prompt = (
                f"A realistic photograph of two animals, one above the other: {_a(names[visible])} "
                f"in the upper two thirds of the picture, and {_a(names[below], below == visible)} "
                "in the lower third, each of them whole, none in front of the other."
            )
            row: dict[str, Any] = {"prompt": prompt, "variant": variant}
            for half, index in (("visible", visible), ("hidden", below)):
                row |= {f"{half}_index": index, f"{half}_name": names[index]}
            rows.append(row)
    return pd.DataFrame(rows)


def _a(name: str, second: bool = False) -> str:
    article = "another" if second else "an" if name[0].lower() in "aeiou" else "a"
    return f"{article} {name}"


def generate(
    folder: str | Path,
    table: pd.DataFrame,
    pipeline: "str | Path | DiffusionPipeline",
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> Path:
    """Make one image a prompt with a pipeline of ``diffusers``, for :func:`camwall.stacks.gen`.

    An image that is there already is kept, so that a run that was cut off goes on where it was.
    Gives the folder.

    Parameters
    ----------
    folder
        Where to write ``0000.png`` …, the table ``prompts.csv`` and ``generated.json``.
    table
        From :func:`camwall.stacks.prompts`.
    pipeline
        A text-to-image pipeline on its device, or the name or folder of a pretrained one, of which
        only weights in safetensors files are loaded.
    seed
        Image i starts from a generator seeded with ``seed + i``.
    options
        For the call of the pipeline: ``num_inference_steps``, ``guidance_scale``, ``height`` ….
    progress
        Show a bar on stderr.

    Raises
    ------
    CamwallError
        If diffusers is not installed, the pipeline cannot be loaded, or the folder holds another
        run's images or other files, or another process is at work there.
    """
    folder, options = check_path("a folder of images", folder), dict(options or {})
    check_kind("the table of prompts", table, pd.DataFrame)
    table = table.reset_index(drop=True)
    table.insert(0, "file", [f"{number:04d}.png" for number in range(len(table))])
    pipe = _pipeline(pipeline)
    model = f"{type(pipe).__name__} {pipe.config.get('_name_or_path') or ''}".strip()
    parameters = {"options": options, "prompts": list(table["prompt"]), "pipeline": model}
    more = runs.manifest(parameters, seed)
    identity = {name: more.pop(name) for name in ("parameters", "seed")}
    runs.claim(folder, identity, file="generated.json", **more)
    with runs.alone(folder):
        runs.remove_unfinished(folder)
        runs.write_csv(folder / PROMPTS, table)
        rows = table.to_dict("records")
        for number, row in enumerate(tqdm(rows, "images", disable=not progress)):
            if not (folder / row["file"]).exists():
                generator = torch.Generator("cpu").manual_seed(seed + number)
                image = pipe(row["prompt"], generator=generator, **options).images[0]
                runs.write_atomic(folder / row["file"], image.save)
    return folder


def _pipeline(pipeline: "str | Path | DiffusionPipeline") -> Any:
    """The pipeline itself, loaded if it was named, without its own progress bar."""
    with extra("generate"):
        from diffusers import DiffusionPipeline
    if isinstance(pipeline, str | Path):
        with in_one_line(f"no pipeline {str(pipeline)!r} can be loaded", "give its name or folder"):
            pipeline = DiffusionPipeline.from_pretrained(str(pipeline), use_safetensors=True)
    pipe: Any = pipeline
    pipe.set_progress_bar_config(disable=True)
    return pipe


def gen(source: str | Path, out: str | Path, progress: bool = True) -> Stacks:
    """Build STACK-GEN from a folder of generated images.

    Each image gets the paper's preprocessing: bilinear resizing of the shorter side to 256, and the
    central 224×224. Nothing is random.

    Parameters
    ----------
    source
        Folder of images. A table ``prompts.csv`` in it (:func:`camwall.stacks.generate` writes
        one) gives the labels by the column ``file``; without one they are unknown.
    out
        Folder to write; :func:`camwall.stacks.store.build` says what may lie there.
    progress
        Show a bar on stderr.

    Raises
    ------
    CamwallError
        If the source has no images, one cannot be read or is not in the table.
    """
    source = check_path("source", source)
    files = {path.name: path for path in store.image_files(source)}
    checksums = {name: store.sha256(path) for name, path in files.items()}
    labels = _labels(source / PROMPTS, list(files))

    def stacks() -> Iterator[Painted]:
        for name, path in files.items():
            row = {"source": name, "source_sha256": checksums[name]}
            yield crop(read_image(path, "RGB")), {**row, **labels.get(name, {})}

    parameters = {"source": source.resolve().name, "checksums": checksums, "labels": labels}
    return store.build(out, "gen", parameters, None, stacks, len(files), progress)


def _labels(file: Path, names: list[str]) -> dict[str, dict[str, Any]]:
    """The rows of the table of prompts by the image's name, empty without a table."""
    if not file.is_file():
        return {}
    wanted = "needs a row for each image, by the column file, and whole numbers for classes"
    then = "mend it, or remove it to have no labels"
    frame = runs.read_csv(file, then)
    with in_one_line(f"{file} {wanted}", then):
        frame = frame.set_index("file").loc[names]
        frame = frame.astype({name: "Int64" for name in store.LABELS if name in frame})
        return dict(zip(names, store.records(frame), strict=True))


def crop(image: Image.Image) -> Image.Image:
    """The central 224×224 of an image whose shorter side is resized to 256 first."""
    from torchvision.transforms.v2 import functional as tv  # here, since it is slow

    return tv.center_crop(tv.resize(image.convert("RGB"), [256]), [SIDE, SIDE])
