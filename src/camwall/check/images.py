"""The images of a check, read when they are needed, and what tells them from others."""

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from camwall.check.gallery import SHOWN
from camwall.errors import CamwallError, check_count, check_list, in_one_line
from camwall.identity import digest
from camwall.images import contents, opened, require_plain_name, upright
from camwall.models import Preprocessing
from camwall.processes import Processes, gathered
from camwall.stacks.store import Stacks, load

AnyImages = Tensor | Stacks | Sequence[str | Path] | str | Path


class ImageSet:
    """Images by number, each read when asked for, so that memory does not grow with their count.

    Parameters
    ----------
    images : tensor [N, C, H, W], stacks, a folder of them or of images, or sequence of paths
        What has ``paths`` may have the class of each, ``labels_visible``, its ``groups``, which of
        them share a visible half, and ``annotations``.
    preprocessing : Preprocessing
        Reads the files.
    labels, annotations
        As `check` takes them; in place of those that the images bring.
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
        brought: Any = load(images) if isinstance(images, str | Path) else images
        self._tensor = images if isinstance(images, Tensor) else None
        self._paths: list[Path] = []
        if self._tensor is not None and self._tensor.ndim:
            self.names = [str(index) for index in range(len(brought))]
        else:
            paths = check_list("images", getattr(brought, "paths", brought))
            if odd := [path for path in paths if not isinstance(path, str | Path)]:
                raise CamwallError(
                    "images are a tensor [N, C, H, W], stacks, a folder or paths, not "
                    f"{type(odd[0]).__name__}"
                )
            self._paths = [Path(path) for path in paths]
            self.names = [path.name for path in self._paths]
            if len(set(self.names)) < len(self.names):
                self.names = [str(path) for path in self._paths]
        for name in self.names:
            require_plain_name(name)
        if not self.names:
            raise CamwallError("no images to check: the set is empty")
        name, times = Counter(self.names).most_common(1)[0]
        if times > 1:
            raise CamwallError(f"{name} is given twice; each image counts once")
        labels = getattr(brought, "labels_visible", None) if labels is None else labels
        self.labels = None
        if labels is not None:
            several = labels.tolist() if isinstance(labels, Tensor) else labels
            self.labels = [
                check_count("a label", each, 0) for each in check_list("labels", several)
            ]
        self._checksums = getattr(brought, "checksums", None)
        groups = getattr(brought, "groups", None)
        self.groups = check_list("groups", range(len(self)) if groups is None else groups)
        with in_one_line("a group is of a kind that changes", "give texts, numbers or tuples"):
            {*self.groups}  # noqa: B018
        self.annotations = {**getattr(brought, "annotations", {}), **(annotations or {})}
        several = {"labels": self.labels, "groups": self.groups, **self.annotations}
        for what, values in several.items():
            if values is not None and len(values) != len(self):
                raise CamwallError(f"{len(self)} images have {len(values)} {what}")

    @cached_property
    def shown(self) -> set[int]:
        """The numbers of the images that a gallery shows: the first of each of the first groups."""
        first: dict[Any, int] = {}
        for number, group in enumerate(self.groups):
            first.setdefault(group, number)
        return set(list(first.values())[:SHOWN])

    def __len__(self) -> int:
        return len(self.names)

    def load(self, indices: Sequence[int]) -> Tensor:
        """The images of these numbers as network inputs [n, C, H, W]; each number once."""
        if self._tensor is not None:
            return self._tensor[list(indices)]
        read, last = self._preprocessing.load, self._last
        # An image is asked for twice in a row: as what the one before hides, and as itself.
        self._last = {i: last[i] if i in last else read([self._paths[i]]) for i in indices}
        return torch.cat(list(self._last.values()))

    def notes(self, indices: Sequence[int]) -> dict[str, list[Any]]:
        """The annotations of the images of these numbers."""
        return {name: [values[i] for i in indices] for name, values in self.annotations.items()}

    def digest(self, state: Processes, progress: bool = False) -> str:
        """A checksum of all images, names and content, that tells one set from another.

        Files are decoded too: once work is done, a file that is found corrupt could not be replaced
        without making another set of it. The processes share the files out, and all stop with the
        same line.
        """
        if self._tensor is not None:
            return digest([self._tensor])
        count = state.num_processes
        mine = tqdm(
            self._paths[state.process_index :: count],
            "reading the images",
            disable=not progress or not state.is_main_process,
            leave=False,
            delay=1,
        )
        shares = gathered([[_file_digest(path) for path in mine]])
        sha = hashlib.sha256()
        for index, path in enumerate(self._paths):
            content = shares[index % count][index // count]
            if isinstance(content, str):
                raise CamwallError(content)
            if self._checksums is not None and content.hex() != self._checksums[index]:
                raise CamwallError(
                    f"{path} is not the image its manifest describes: build the stacks again"
                )
            sha.update(path.name.encode() + content)
        return sha.hexdigest()


def _file_digest(path: Path) -> bytes | str:
    """A file's checksum, or what is wrong with it."""
    try:
        content = contents(path)
        with opened(content, str(path)) as image:
            upright(image)
    except CamwallError as error:
        return str(error)
    return hashlib.sha256(content).digest()
