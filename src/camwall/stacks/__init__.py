"""Stacks: images with one animal on each side of a wall, and how to build them."""

from camwall.stacks.cutouts import open, outlines
from camwall.stacks.generated import gen, generate, prompts
from camwall.stacks.mixed import mix
from camwall.stacks.store import Stacks, load

__all__ = ["Stacks", "gen", "generate", "load", "mix", "open", "outlines", "prompts"]
