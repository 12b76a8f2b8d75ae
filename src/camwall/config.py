"""Where things are kept and how large a run is: the two settings that come from the environment."""

import os
from pathlib import Path
from types import ModuleType

from camwall.errors import extra


def quick() -> bool:
    """Whether runs shrink to a smoke test: ``CAMWALL_QUICK`` is set to something but ``0``."""
    return os.environ.get("CAMWALL_QUICK", "0") not in ("", "0")


def cache_dir() -> Path:
    """The folder for downloads: ``CAMWALL_CACHE``, else the user's cache folder."""
    return Path(os.environ.get("CAMWALL_CACHE") or pooch().os_cache("camwall")).expanduser()


def pooch() -> ModuleType:
    """The package that downloads files, checks them and knows where they are kept."""
    with extra("data"):
        import pooch
    return pooch
