"""Saliency methods: what each is, and how it is computed."""

from camwall.methods.evidence import Evidence
from camwall.methods.explain import METHODS, Engine, chosen, explain, explain_each, opticam
from camwall.methods.registry import PAPER, AnyMethod, Mechanism, Method, SaliencyFunction
from camwall.methods.saliency import Saliency, render

__all__ = [
    "METHODS",
    "PAPER",
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
