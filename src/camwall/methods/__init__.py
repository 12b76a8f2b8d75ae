"""Saliency methods: what each is, and how it is computed."""

from camwall.methods.evidence import Evidence
from camwall.methods.explain import METHODS, AnyMethod, Engine, chosen, explain, explain_each
from camwall.methods.perturbation import opticam
from camwall.methods.registry import PAPER, Mechanism, Method, SaliencyFunction
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
