"""Saliency methods: what each is, and how it is computed."""

from camwall.methods.evidence import Evidence
from camwall.methods.explain import METHODS, STUDIED, chosen, explain, explain_each, opticam
from camwall.methods.registry import PAPER, AnyMethod, Engine, Mechanism, Method, SaliencyFunction
from camwall.methods.saliency import Saliency, render

__all__ = [
    "METHODS",
    "PAPER",
    "STUDIED",
    "AnyMethod",
    "Engine",
    "Evidence",
    "Mechanism",
    "Method",
    "Saliency",
    "SaliencyFunction",
    "chosen",
    "explain",
    "explain_each",
    "opticam",
    "render",
]
