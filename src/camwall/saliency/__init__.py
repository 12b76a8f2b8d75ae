"""Saliency methods: what each is, how it is computed, how much of its map lies behind a wall."""

from camwall.saliency import cams, components, perturbation  # noqa: F401 - fills the register
from camwall.saliency.explain import Engine, check_engine, explain, explain_each
from camwall.saliency.leak import is_empty, leak
from camwall.saliency.opticam import opticam
from camwall.saliency.registry import METHODS, PAPER, Mechanism, Method, find, register
from camwall.saliency.rendering import render
from camwall.saliency.shared import Pass

__all__ = [
    "METHODS",
    "PAPER",
    "Engine",
    "Mechanism",
    "Method",
    "Pass",
    "check_engine",
    "explain",
    "explain_each",
    "find",
    "is_empty",
    "leak",
    "opticam",
    "register",
    "render",
]
