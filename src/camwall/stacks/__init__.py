"""Stacks: images with one animal above the wall and one behind it, and how to build them."""

from camwall.stacks.cutouts import open
from camwall.stacks.store import Stacks, from_folder, load

__all__ = ["Stacks", "from_folder", "load", "open"]
