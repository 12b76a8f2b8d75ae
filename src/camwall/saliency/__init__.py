"""Saliency methods: what each is, and how it is computed."""

from camwall.saliency import cams, components, perturbation  # noqa: F401 - fills the register
from camwall.saliency.explain import (
    Engine,
    SaliencyFunction,
    check_engine,
    explain,
    explain_each,
    saliency,
    shown,
)
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
    "SaliencyFunction",
    "check_engine",
    "explain",
    "explain_each",
    "find",
    "opticam",
    "register",
    "render",
    "saliency",
    "shown",
]
