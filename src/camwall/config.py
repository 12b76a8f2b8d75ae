"""Where things are kept and how large a run is: the two settings that come from the environment."""

import os
import warnings
from pathlib import Path

with warnings.catch_warnings():
    # pooch imports tqdm.auto, which prints into every notebook that ipywidgets is missing.
    warnings.filterwarnings("ignore", message="IProgress not found")
    import pooch


def quick() -> bool:
    """Whether runs shrink to a smoke test: ``CAMWALL_QUICK`` is set to something but ``0``."""
    return os.environ.get("CAMWALL_QUICK", "0") not in ("", "0")


def cache_dir() -> Path:
    """The folder for downloads: ``CAMWALL_CACHE``, else the user's cache folder."""
    return Path(os.environ.get("CAMWALL_CACHE") or pooch.os_cache("camwall")).expanduser()
