"""Where the repository is, and what its pyproject.toml asks for."""

import tomllib
from functools import cache
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]


@cache
def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def requirements(*extras: str) -> list[Requirement]:
    """The dependencies of the library and of some extras, and of the extras that these name."""
    waiting, seen, found = list(extras), set(), list(map(Requirement, project()["dependencies"]))
    while waiting:
        extra = waiting.pop()
        if extra not in seen:
            seen.add(extra)
            for wanted in map(Requirement, project()["optional-dependencies"][extra]):
                if wanted.name == "camwall":
                    waiting += wanted.extras
                else:
                    found.append(wanted)
    return found
