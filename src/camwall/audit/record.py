"""The audit as a record: the table, what each reproducer prints, and how they came to be."""

import importlib.metadata
import io
import runpy
import warnings
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from camwall.errors import CamwallError
from camwall.runs import made, manifest, write_csv, write_json

if TYPE_CHECKING:
    import pandas as pd

#: The packages audited, as pip knows them, by how the names of their reproducers begin.
PACKAGES = {"gradcam": "grad-cam", "torchcam": "torchcam", "captum": "captum", "zennit": "zennit"}


def reproducers() -> dict[str, Path]:
    """The scripts by name: each needs torch and one package alone, and prints what it finds."""
    folder = Path(str(files("camwall.audit") / "reproducers"))
    return {path.stem: path for path in sorted(folder.glob("*.py"))}


def reproduce(name: str) -> str:
    """Run one of `reproducers`, and give what it prints.

    Raises
    ------
    CamwallError
        Its package is not installed.
    """
    from camwall.methods.saliency import same_draws

    printed = io.StringIO()
    try:
        with (
            same_draws(),
            warnings.catch_warnings(),
            redirect_stdout(printed),
            redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            runpy.run_path(str(reproducers()[name]))
    except ModuleNotFoundError as error:
        package = PACKAGES[name.partition("_")[0]]
        raise CamwallError(f"{name} needs {error.name}: pip install {package}") from None
    return printed.getvalue()


def _printed() -> Iterator[dict[str, Any]]:
    for name in reproducers():
        package = PACKAGES[name.partition("_")[0]]
        try:
            printed = reproduce(name)
            version = importlib.metadata.version(package)
        except CamwallError as error:
            printed, version = str(error), ""
        yield {"name": name, "package": package, "version": version, "printed": printed}


def audit(out: Path, command: str | None = None) -> "pd.DataFrame":
    """Compare the saliency methods of other packages, and ours, with their papers' equations.

    What is not installed has a row that says so.

    Parameters
    ----------
    out : path
        Folder for table.csv, reproducers.csv and manifest.json.
    """
    import pandas as pd

    from camwall.audit.compare import rows, summary

    out = made(out)
    table, printed = pd.DataFrame(rows()), pd.DataFrame(_printed())
    write_csv(out / "table.csv", table)
    write_csv(out / "reproducers.csv", printed)
    known = table.dropna(subset="version").query("version != ''")
    versions = known.groupby("package")["version"].first().to_dict()
    write_json(out / "manifest.json", manifest({}, 0, command, audited=versions))
    return summary(table)
