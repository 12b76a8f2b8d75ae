"""Saliency methods: what each is, and how it is computed."""

from camwall.methods.evidence import Evidence
from camwall.methods.explain import (
    METHODS,
    Engine,
    Saliency,
    SaliencyFunction,
    chosen,
    explain,
    explain_each,
    find,
)
from camwall.methods.opticam import opticam
from camwall.methods.registry import PAPER, Mechanism, Method
from camwall.methods.rendering import render

__all__ = [
    "METHODS",
    "PAPER",
    "Engine",
    "Evidence",
    "Mechanism",
    "Method",
    "Saliency",
    "SaliencyFunction",
    "chosen",
    "explain",
    "explain_each",
    "find",
    "opticam",
    "render",
]
