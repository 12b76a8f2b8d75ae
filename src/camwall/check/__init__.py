"""The sanity check: a walled model, images and saliency methods in, a table of leaks out."""

from camwall.check.beside import compare, published
from camwall.check.report import Report, bootstrap, default_methods
from camwall.check.run import DEFAULT_METRICS, check
from camwall.check.verdicts import CAUSES, VERDICTS

__all__ = [
    "CAUSES",
    "DEFAULT_METRICS",
    "VERDICTS",
    "Report",
    "bootstrap",
    "check",
    "compare",
    "default_methods",
    "published",
]
