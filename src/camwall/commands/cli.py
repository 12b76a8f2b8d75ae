"""The commands: ``camwall COMMAND``, or ``python -m camwall COMMAND`` under a launcher.

A command is a function: its parameters are the options, and its docstring says what each is. What
it needs is imported when it runs, so that the help is there at once. A user's error ends in one
line and exit status 2, Ctrl-C in one line and 130.
"""

import inspect
import os
import re
import shlex
import sys
import warnings
from collections.abc import Callable
from dataclasses import fields
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_args

import typer

from camwall.audit.record import audit
from camwall.commands.check import check_named
from camwall.commands.doctor import doctor
from camwall.commands.stacks import gen_stacks, mix_stacks, open_stacks
from camwall.commands.survey import survey
from camwall.commands.train import train_study
from camwall.commands.trial import trial
from camwall.errors import CamwallError
from camwall.train.recipe import Recipe
from camwall.train.shrink import shrink_folder

if TYPE_CHECKING:
    import pandas as pd

_SETTINGS: dict[str, Any] = {"add_completion": False, "pretty_exceptions_enable": False}
app = typer.Typer(
    help="Walls, certificates of blindness, and saliency methods that see through them.",
    **_SETTINGS,
)
_STACKS = typer.Typer(**_SETTINGS)
app.add_typer(_STACKS, name="stacks", help="Build images with one animal on each side of a wall.")


def _helps(documented: Any) -> dict[str, str]:
    """What a docstring in NumPy's style says of each parameter."""
    entries = re.findall(
        r"^(\w[\w, ]*) : .*\n((?: {4}.*\n?)+)", inspect.getdoc(documented) or "", re.MULTILINE
    )
    plain = {names: " ".join(text.split()).replace("`", "") for names, text in entries}
    return {name: text for names, text in plain.items() for name in names.split(", ")}


def _offered(name: str, kind: Any, default: Any, text: str, by_place: str) -> inspect.Parameter:
    """A parameter as typer takes it: an argument, given by its place, or an option."""
    several = list[str] in (kind, *get_args(kind))
    info = typer.Argument(help=text)
    if not by_place:
        flags = {"masked": ["--masked/--baseline"]}.get(name, [])
        if several or default is False:  # what is one of several; what is off by itself
            flags = [f"--{name}".replace("_", "-")]
            flags += [flags[0].removesuffix("s")] if several else []
        info = typer.Option(*dict.fromkeys(flags), help=text)
    elif not several and not by_place.endswith("?"):
        default = inspect.Parameter.empty
    keyword = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, keyword, default=default, annotation=Annotated[kind, info])


def offer(
    function: Callable[..., Any],
    name: str,
    *arguments: str,
    told: Callable[[Any], Any] = print,
    kept: str | None = None,
    to: typer.Typer = app,
) -> None:
    """Make a function a command.

    Parameters
    ----------
    function : callable
        ``command`` and ``progress`` are no options; ``**changes`` are fields of the recipe.
    name : str
    *arguments : str
        The parameters that are given by their place; one that is no list must be given, unless its
        name ends with a question mark.
    told : callable
        Tells the result, if there is one, of the first process of a launcher's.
    kept : str, optional
        The parameter that names the folder from which a stopped run goes on.
    to : typer.Typer
        The command's group.
    """
    known = inspect.signature(function).parameters

    @wraps(function)
    def run(**given: Any) -> None:
        for each, value in given.items():
            if isinstance(value, list):
                given[each] = [part for one in value for part in one.split(",")]
        if "command" in known:
            given["command"] = shlex.join(["camwall", *sys.argv[1:]])
        try:
            result = function(**given)
        except (CamwallError, OSError) as error:
            _say(error)
            raise typer.Exit(2) from None
        except KeyboardInterrupt:
            folder = given.get(kept or "")
            if folder is not None:
                then = f"what is finished is in {folder}, and the same command goes on from there"
            else:
                then = f"with --{kept} FOLDER the same command goes on from where it was"
            _say(f"stopped; {then if kept else 'nothing was kept, give the same command again'}")
            raise typer.Exit(130) from None
        if result is not None and os.environ.get("RANK", "0") == "0":
            told(result)
        torch = sys.modules.get("torch")
        if torch is not None and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()

    taken = {p.name: (p.annotation, p.default) for p in known.values()}
    if taken.pop("changes", None):
        taken |= {each.name: (each.type | None, None) for each in fields(Recipe)}  # type: ignore[operator]
    helps = _helps(check_named) | _helps(open_stacks) | _helps(mix_stacks) | _helps(Recipe)
    helps |= _helps(function)
    places = {argument.rstrip("?"): argument for argument in arguments}
    offered = [
        _offered(each, *how, helps[each], places.get(each, ""))
        for each, how in taken.items()
        if each not in ("command", "progress")
    ]
    run.__signature__ = inspect.Signature(offered)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in offered}
    text = (inspect.getdoc(function) or "").partition("\nParameters\n")[0].replace("`", "")
    to.command(name, help=re.sub(r"\b\n\b", " ", text))(run)


def _say(line: object) -> None:
    print(f"camwall: {line}", file=sys.stderr)


def show(frame: "pd.DataFrame", caption: str = "") -> None:
    """Print a table, as wide as the terminal; a row's name first."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, markup=False)
    if not console.is_terminal:
        console.width = 240
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in (frame.index.name or "", *frame.columns):
        table.add_column(str(column), overflow="fold")
    for name, row in zip(frame.index, frame.itertuples(index=False), strict=True):
        table.add_row(str(name), *map(str, row))
    console.print(table)
    if caption:
        console.print(caption)


def _report(report: Any) -> None:
    """The table of a check, with its verdicts and their causes."""
    table = report.formatted.drop(columns="of its mean, %")
    if "verdict" in table:
        table.insert(1, "cause", report.verdicts["cause"].fillna(""))
    show(table, str(report).rpartition("\n")[2])


def _stacks(made: Any) -> None:
    print(f"{len(made)} stacks in {made.folder}")


def fetch(names: list[str] | None = None) -> None:
    """Download the data of the chapters to the user's cache folder.

    What cannot be had costs a line that says how to get it, and exit status 1.

    Parameters
    ----------
    names : list of str
        Data sets; all if none.
    """
    from camwall import data

    folders = data.fetch(names)
    for name, folder in folders.items():
        if folder is not None:
            print(f"{name}: {folder}")
    if None in folders.values():
        raise typer.Exit(1)


#: What each package, and the extra that brings it, is called in Python where it is not the same.
MODULES = {"grad-cam": "pytorch_grad_cam", "torch-cam": "torchcam"}


def methods() -> "pd.DataFrame":
    """List the saliency methods: whether each sees through walls, whose it is, and what it is.

    The packages are extras of the same names: pip install 'camwall[captum]'.
    """
    from importlib.util import find_spec

    import pandas as pd

    from camwall.methods import METHODS

    rows = []
    for method in METHODS.values():
        engines = [
            each + " (not installed)" * (find_spec(MODULES.get(each, each)) is None)
            for each in method.engines
        ]
        rows.append(
            {
                "method": method.name,
                "sees through": "yes" if method.sees_through else "no",
                "by": ", ".join(engines),
                "mechanism": str(method.mechanism),
            }
        )
    return pd.DataFrame(rows).set_index("method")


def certify(
    network: str | None = None,
    *,
    layer: str | None = None,
    wall: str | None = None,
    construction: str = "whole",
    weights: Path | None = None,
    every_class: bool = False,
) -> Any:
    """Certify that a network is blind behind its wall, or say which pixels leak.

    Parameters
    ----------
    network, layer, wall, construction, weights
        As `check_named` takes them.
    every_class : bool
        One backward pass for each class through the whole network.
    """
    from camwall import wall as walls
    from camwall.models.library import named_model

    model = named_model(
        network,
        wall=wall,
        layer=layer,
        construction=construction,
        weights=weights,
    )
    return walls.certify(model, every_class=every_class)


def collect(runs: Path, out: Path) -> Any:
    """Join the training runs of a folder into tables, and measure their networks on stacks.

    Parameters
    ----------
    runs : path
        Folder of finished runs of one study.
    out : path
        Folder of the tables.
    """
    from camwall.commands.collect import collect_runs

    return collect_runs(runs, out, command=shlex.join(["camwall", *sys.argv[1:]]))


offer(check_named, "check", "network?", "images?", told=_report, kept="out")
offer(certify, "certify", "network?")
offer(methods, "methods", told=show)
offer(open_stacks, "open", "out", told=_stacks, to=_STACKS)
offer(mix_stacks, "mix", "source", "out", told=_stacks, to=_STACKS)
offer(gen_stacks, "gen", "source", "out", told=_stacks, to=_STACKS)
offer(survey, "survey", "out", told=show, kept="out")
offer(trial, "trial", "out", told=show, kept="out")
offer(train_study, "train", "out", kept="out")
offer(collect, "collect", "runs", "out", told=show)
offer(audit, "audit", "out", told=show)
offer(
    shrink_folder,
    "shrink",
    "source",
    "target",
    told=lambda counts: print("{} images written, {} were there already".format(*counts)),
    kept="target",
)
offer(fetch, "fetch", "names")
offer(doctor, "doctor")


def main() -> None:
    """Run a command."""
    warnings.showwarning = lambda message, *_, **__: _say(message)
    if any(not each or (each[:2] == "--" and each[-1] == "=") for each in sys.argv[1:]):
        _say("an argument is empty, as a variable that is not set gives it: leave it out")
        sys.exit(2)
    try:
        sys.exit(app(sys.argv[1:] or ["--help"], standalone_mode=False) or 0)
    except Exception as error:
        message = getattr(error, "format_message", None)  # typer's own, of whichever click it has
        if message is None:
            raise
        place = getattr(getattr(error, "ctx", None), "command_path", "camwall")
        _say(f"{message().rstrip('.')}: {place} --help says what it takes")
        sys.exit(2)
