"""The sanity check: a walled model, images and saliency methods in, a table of leaks out."""

from camwall.check.evaluate import evaluate
from camwall.check.paper import compare, published
from camwall.check.report import Report, bootstrap, default_methods, random_level
from camwall.check.run import check

__all__ = [
    "Report",
    "bootstrap",
    "check",
    "compare",
    "default_methods",
    "evaluate",
    "published",
    "random_level",
]
