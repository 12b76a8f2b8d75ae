"""What is installed, which data is there, and what computes."""

import os
import platform
import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from typing import Any

import typer

from camwall.errors import CamwallError

#: What makes ``camwall doctor`` end with status 1.
_BAD = ("damaged", "outside", "missing")


def packages() -> Iterator[tuple[str, str, str, str]]:
    """Of Python and each package: its name, its version, the versions that fit, and what it is."""
    from packaging.requirements import Requirement
    from packaging.specifiers import SpecifierSet

    pythons = SpecifierSet(metadata("camwall")["Requires-Python"])
    here = platform.python_version()
    yield (
        "Python",
        here,
        str(pythons),
        "fits" if here in pythons else "outside the versions that fit",
    )
    extras: dict[str, list[str]] = {}
    wanted: dict[str, Requirement] = {}
    for line in requires("camwall") or ():
        needed = Requirement(line)
        own = [
            each
            for each in metadata("camwall").get_all("Provides-Extra") or ()
            if _of(needed, each)
        ]
        if needed.name != "camwall" and own != ["test"]:
            wanted.setdefault(needed.name, needed)
            extras.setdefault(needed.name, []).extend(own)
    for name, needed in sorted(wanted.items(), key=lambda each: (bool(extras[each[0]]), each[0])):
        of = ", ".join(each for each in dict.fromkeys(extras[name]) if each != "test")
        try:
            found = version(name)
        except PackageNotFoundError:
            told = (
                f"not installed: pip install 'camwall[{of}]'" if of else "missing: pip install it"
            )
            yield name, "", str(needed.specifier), told
            continue
        fits = needed.specifier.contains(found, prereleases=True)
        told = "fits" if fits else "outside the versions that fit"
        yield name, found, str(needed.specifier), told + (f" ({of})" if of else "")


def _of(needed: Any, extra: str) -> bool:
    """Whether an extra, and not camwall alone, asks for a requirement."""
    marker = needed.marker
    return (
        marker is not None
        and not marker.evaluate({"extra": ""})
        and marker.evaluate({"extra": extra})
    )


def data() -> Iterator[tuple[str, str]]:
    """Of each data set, what of it is in the cache folder; and what else is there."""
    from camwall import config, stacks
    from camwall.data.sources import SOURCES, damaged

    folder = config.cache_dir()
    for name in SOURCES:
        if not (folder / name).is_dir():
            yield name, f"not there: camwall fetch {name}"
        elif wrong := damaged(name, folder / name):
            yield name, f"damaged ({wrong}): camwall fetch {name} gets it again"
        else:
            yield name, "there, checksums hold"
    for manifest in sorted(folder.glob("*/manifest.csv")):
        found = stacks.load(manifest.parent)
        gone = [path.name for path in found.paths if not path.is_file()]
        told = f"damaged: {len(gone)} images are gone; delete it" if gone else "whole"
        yield manifest.parent.name, f"{len(found)} stacks, {told}"


def doctor() -> None:
    """Say which packages are installed and fit, which data is there and whole, and what computes.

    Ends with status 1 where something does not fit or is damaged; what is merely not there is no
    fault.
    """
    import torch

    from camwall import config

    states = []
    for name, found, fitting, told in packages():
        print(f"{name:34}{found:18}{fitting:16}{told}")
        states.append(told)
    print()
    try:
        folder = config.cache_dir()
    except CamwallError as error:
        print(f"no cache folder: {error}")
    else:
        place = next(each for each in (folder, *folder.parents) if each.exists())
        free = shutil.disk_usage(place).free / 1e9
        print(f"cache folder: {folder} (CAMWALL_CACHE names another), {free:.0f} GB free")
        for name, told in data():
            print(f"{name:34}{told}")
            states.append(told)
    print()
    print(
        f"processor: {os.cpu_count()} cores, torch computes with {torch.get_num_threads()} threads"
    )
    for number in range(torch.cuda.device_count()):
        print(f"cuda:{number}: {torch.cuda.get_device_name(number)}")
    if torch.backends.mps.is_available():
        print("mps: there")
    if not torch.accelerator.is_available():
        print("no accelerator: --device cpu")
    bad = [told for told in states if told.startswith(_BAD) or ": damaged" in told]
    if bad:
        print(f"camwall: {len(bad)} of these are no good", file=sys.stderr)
        raise typer.Exit(1)
