"""Saliency methods: what each is, and how it is computed."""

from camwall.methods import cams, components, perturbation  # noqa: F401 - fills the register
from camwall.methods.evidence import Evidence
from camwall.methods.explain import (
    Engine,
    SaliencyFunction,
    check_engine,
    explain,
    explain_each,
    saliency,
    shown,
)
from camwall.methods.opticam import opticam
from camwall.methods.registry import METHODS, PAPER, Mechanism, Method, find, register
from camwall.methods.rendering import render

__all__ = [
    "METHODS",
    "PAPER",
    "Engine",
    "Evidence",
    "Mechanism",
    "Method",
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
