"""A one-time shrink of a folder of images: what training decodes in each epoch gets smaller."""

import io
import multiprocessing
import os
import threading
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from functools import partial
from pathlib import Path

from PIL import Image
from tqdm import tqdm

from camwall.errors import CamwallError, check_count, check_path
from camwall.images import images_below, opaque, opened
from camwall.runs import alone, claim, remove_unfinished, write_atomic, writing


def shrink_file(name: str, source: Path, target: Path, size: int, quality: int) -> str | None:
    """Write one image with its shorter side at ``size``; a message if it cannot be read."""
    try:
        with opened(source / name) as file:
            scale = size / min(file.size)
            width, height = (max(size, round(side * scale)) for side in file.size)
            shrunk = width, height
            file.draft("RGB", shrunk)  # lets the decoder skip what the resize would average away
            image = opaque(file)
            if min(image.size) > size:
                turned = (image.width < image.height) != (shrunk[0] < shrunk[1])
                wanted = shrunk[::-1] if turned else shrunk
                image = image.resize(wanted, Image.Resampling.BICUBIC)
            # Pillow writes to a file without noticing that a full disk takes only a part of it.
            image.save(jpeg := io.BytesIO(), format="JPEG", quality=quality)
    except CamwallError as error:
        return str(error)
    path = (target / name).with_suffix(".jpg")
    with writing(path):
        write_atomic(path, lambda file: file.write_bytes(jpeg.getbuffer()))
    return None


def end_with_parent() -> None:
    """Let a worker of a pool end with the process that made it, which may have been killed."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        parent.join()  # type: ignore[union-attr]  # a worker has one
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def shrink_folder(
    source: Path,
    target: Path,
    *,
    size: int = 256,
    quality: int = 90,
    workers: int = 0,
    progress: bool = True,
) -> tuple[int, int]:
    """Shrink the images of a folder once, so that each epoch decodes less.

    Parameters
    ----------
    source : path
        Folder of images, nested at will.
    target : path
        Folder for the copies, in the same tree of folders. Those that are there already are kept,
        so that a killed shrink goes on where it was; ``shrunk.json`` says their size and quality.
    size : int
        Length of the shorter side in pixels. A smaller image keeps its size.
    quality : int
        JPEG quality, 1 to 95.
    workers : int
        Processes; 0 works in this one.
    progress : bool
        Show a progress bar.

    Returns
    -------
    (written, kept)

    Raises
    ------
    CamwallError
        A folder without images, a target inside it, sizes or qualities that cannot be, two
        images of one name; a target that cannot be written, or holds copies of another size or
        quality or other files, or in which another process is at work; images that cannot be read,
        after all others are written, with the first one's name.
    """
    source, target = check_path("source", source), check_path("target", target)
    check_count("size", size)
    check_count("workers", workers, 0)
    if check_count("quality", quality) > 95:
        raise CamwallError(f"quality is at most 95, not {quality}")
    if not source.is_dir() or target.resolve().is_relative_to(source.resolve()):
        raise CamwallError(f"shrink a folder to a folder outside it, not {source} to {target}")
    if not (names := images_below(source)):
        raise CamwallError(f"no images below {source}")
    written_as = {str(Path(name).with_suffix(".jpg")) for name in names}
    if len(written_as) < len(names):
        raise CamwallError(f"{source} has images that differ in their extension alone: rename them")
    claim(target, {"size": size, "quality": quality}, file="shrunk.json")
    work = partial(shrink_file, source=source, target=target, size=size, quality=quality)
    pool_of = partial(ProcessPoolExecutor, workers, initializer=end_with_parent)
    with alone(target), pool_of() if workers else nullcontext() as pool:
        remove_unfinished(target)
        todo = [n for n in names if not (target / n).with_suffix(".jpg").exists()]
        made = pool.map(work, todo, chunksize=32) if pool else map(work, todo)
        found = list(tqdm(made, total=len(todo), unit="image", disable=not progress))
    bad = [message for message in found if message is not None]
    if bad:
        more = f" (and {len(bad) - 1} more)" if len(bad) > 1 else ""
        raise CamwallError(f"{bad[0]}{more}, and start the same command again")
    return len(todo), len(names) - len(todo)
