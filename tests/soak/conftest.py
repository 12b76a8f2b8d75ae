"""``--record FOLDER``: what was tried, as a table with its manifest."""

import shlex
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from camwall import runs


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option, for runs that are given this folder first."""
    parser.addoption("--record", type=Path, help="write what was tried to this folder")


class Recorder:
    """Sums what tests say of themselves, one row a test function."""

    def __init__(self, folder: Path, command: str) -> None:
        self.folder, self.command, self.rows, self.counted = folder, command, {}, {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Once for each of a test's phases, in the process that writes."""
        name = report.nodeid.partition("[")[0]
        row = self.rows.setdefault(name, Counter())
        row["seconds"] += report.duration
        row["failed"] += report.failed
        if report.when == "call":
            row["cases"] += not report.skipped
            for what, count in report.user_properties:
                self.counted.setdefault(name, Counter())[what] += count

    def pytest_sessionfinish(self) -> None:
        """A test that no case of was run is no record."""
        rows = [
            {
                "test": name,
                "cases": row["cases"],
                "failed": row["failed"],
                "tried": "; ".join(f"{n} {what}" for what, n in self.counted.get(name, {}).items()),
                "seconds": round(row["seconds"], 1),
            }
            for name, row in sorted(self.rows.items())
            if row["cases"]
        ]
        runs.write_csv(self.folder / "table.csv", pd.DataFrame(rows))
        manifest = runs.manifest({}, seed=0, command=self.command)
        runs.write_json(self.folder / "manifest.json", manifest)


def pytest_configure(config: pytest.Config) -> None:
    """Nothing is recorded by the workers of a run."""
    folder = config.getoption("--record", None)
    if folder is not None and not hasattr(config, "workerinput"):
        command = shlex.join(["pytest", *map(str, config.invocation_params.args)])
        config.pluginmanager.register(Recorder(folder, command))
