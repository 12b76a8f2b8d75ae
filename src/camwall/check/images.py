"""The images of a check, read when they are needed, and what tells them and a model from others."""

import hashlib
import io
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor
from tqdm import tqdm

from camwall.errors import CamwallError
from camwall.images import opened
from camwall.models import Preprocessing
from camwall.processes import Processes, gathered
from camwall.stacks.store import load


@runtime_checkable
class HasPaths(Protocol):
    """Image files, the class of each visible animal, and who shares one; `stacks.Stacks`.

    An attribute ``annotations`` beside these is optional.
    """

    @property
    def paths(self) -> Sequence[Path]: ...
    @property
    def labels_visible(self) -> Sequence[int] | None: ...
    @property
    def groups(self) -> Sequence[int] | None: ...


AnyImages = Tensor | HasPaths | Sequence[str | Path] | str | Path


class ImageSet:
    """Images by number, each read when asked for, so that memory does not grow with their count.

    Parameters
    ----------
    images : tensor [N, C, H, W], stacks, a folder of them or of images, or sequence of paths
    preprocessing : Preprocessing
        Reads the files.
    labels : sequence of int, optional
        The class of each image; taken from stacks where they know it.
    annotations : name → one value for each image, optional
        Beside those that the images bring.
    """

    def __init__(
        self,
        images: AnyImages,
        preprocessing: Preprocessing,
        labels: Sequence[int] | None = None,
        annotations: Mapping[str, Sequence[Any]] | None = None,
    ) -> None:
        self._preprocessing = preprocessing
        self._last: dict[int, Tensor] = {}
        if isinstance(images, str | Path):
            images = load(images)
        self._tensor = images if isinstance(images, Tensor) else None
        groups = None
        self.annotations = {**getattr(images, "annotations", {}), **(annotations or {})}
        if isinstance(images, Tensor):
            self.names = [str(index) for index in range(len(images))]
        else:
            if isinstance(images, HasPaths):
                labels = images.labels_visible if labels is None else labels
                groups, images = images.groups, images.paths
            self._paths = [Path(path) for path in images]
            self.names = [path.name for path in self._paths]
            if len(set(self.names)) < len(self.names):
                self.names = [str(path) for path in self._paths]
            twice = [name for name, count in Counter(self.names).items() if count > 1]
            if twice:
                raise CamwallError(f"{twice[0]} is given twice; each image counts once")
        if not self.names:
            raise CamwallError("no images to check: the set is empty")
        if labels is not None and len(labels) != len(self.names):
            raise CamwallError(f"{len(self.names)} images have {len(labels)} labels")
        for name, values in self.annotations.items():
            if len(values) != len(self.names):
                raise CamwallError(f"{len(self.names)} images have {len(values)} {name}")
        self.groups = list(range(len(self.names))) if groups is None else list(groups)
        self.labels = None if labels is None else [int(label) for label in labels]

    def __len__(self) -> int:
        return len(self.names)

    def notes(self, indices: Sequence[int]) -> dict[str, list[Any]]:
        """The annotations of the images of these numbers."""
        return {name: [values[i] for i in indices] for name, values in self.annotations.items()}

    def noted(self, names: Collection[str | None]) -> dict[str, str]:
        """A checksum of each of these annotations."""
        found = {}
        for name in self.annotations.keys() & names:
            sha = hashlib.sha256()
            for value in map(torch.as_tensor, self.annotations[name]):
                sha.update(f"{value.dtype}{list(value.shape)}".encode())
                sha.update(_bytes(value))
            found[name] = sha.hexdigest()
        return found

    def load(self, indices: Sequence[int]) -> Tensor:
        """The images of these numbers as network inputs [n, C, H, W]; each number once."""
        if self._tensor is not None:
            return self._tensor[list(indices)]
        read, last = self._preprocessing.load, self._last
        # An image is asked for twice in a row: as what the one before hides, and as itself.
        self._last = {i: last[i] if i in last else read([self._paths[i]]) for i in indices}
        return torch.cat(list(self._last.values()))

    def digest(self, state: Processes, progress: bool = False) -> str:
        """A checksum of all images, names and content, that tells one set from another.

        Files are decoded too: once work is done, a file that is found corrupt could not be replaced
        without making another set of it. The processes share the files out, and all stop with the
        same line.
        """
        if self._tensor is not None:
            return hashlib.sha256(_bytes(self._tensor)).hexdigest()
        count = state.num_processes
        mine = tqdm(
            self._paths[state.process_index :: count],
            "reading the images",
            disable=not progress or not state.is_main_process,
            leave=False,
            delay=1,
        )
        found = [_file_digest(path) for path in mine]
        shares = gathered([found])
        sha = hashlib.sha256()
        for index, path in enumerate(self._paths):
            content = shares[index % count][index // count]
            if isinstance(content, str):
                raise CamwallError(content)
            sha.update(path.name.encode() + content)
        return sha.hexdigest()


def _file_digest(path: Path) -> bytes | str:
    """A file's checksum, or what is wrong with it."""
    try:
        content = path.read_bytes()
        with opened(io.BytesIO(content), str(path)) as image:
            image.load()
    except FileNotFoundError:
        return f"no image at {path}"
    except OSError as error:
        return f"{path} cannot be read: {error.strerror}"
    except CamwallError as error:
        return str(error)
    return hashlib.sha256(content).digest()


def model_digest(model: torch.nn.Module) -> str:
    """A checksum of a model's parameters and buffers, names and values."""
    sha = hashlib.sha256()
    for name, value in model.state_dict().items():
        sha.update(name.encode())
        sha.update(_bytes(value))
    return sha.hexdigest()


def _bytes(values: Tensor) -> memoryview:
    """What a tensor holds; NumPy has no type for some of torch's, so as plain bytes."""
    return values.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
