"""The commands: ``camwall COMMAND``, or ``python -m camwall COMMAND`` under a launcher.

A command is a function: its parameters are the options, and its docstring says what each is. What
it needs is imported when it runs, so that the help is there at once.
"""

import inspect
import os
import re
import shlex
import sys
from collections.abc import Callable
from dataclasses import fields
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from camwall.audit.record import audit
from camwall.commands.evaluate import evaluate
from camwall.commands.survey import survey
from camwall.commands.train import train_study
from camwall.errors import CamwallError
from camwall.train.recipe import Recipe
from camwall.train.shrink import shrink_folder

app = typer.Typer(
    help="Walls, certificates of blindness, and saliency methods that see through them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


def _helps(documented: Any) -> dict[str, str]:
    """What a docstring in NumPy's style says of each parameter."""
    entries = re.findall(
        r"^(\w[\w, ]*) : .*\n((?: {4}.*\n?)+)", inspect.getdoc(documented) or "", re.MULTILINE
    )
    plain = {names: " ".join(text.split()).replace("`", "") for names, text in entries}
    return {name: text for names, text in plain.items() for name in names.split(", ")}


def _offered(name: str, kind: Any, default: Any, text: str, argument: bool) -> inspect.Parameter:
    """A parameter as typer takes it: an argument, given by its place, or an option."""
    several = list[str] in (kind, *get_args(kind))
    info = typer.Argument(help=text)
    if not argument:
        flags = {"masked": ["--masked/--baseline"]}.get(name, [])
        if several or default is False:  # what is given one by one; what is off by itself
            flags = [f"--{name.removesuffix('s') if several else name}".replace("_", "-")]
        info = typer.Option(*flags, help=text)
    elif not several:
        default = inspect.Parameter.empty
    keyword = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, keyword, default=default, annotation=Annotated[kind, info])


def offer(
    function: Callable[..., Any],
    name: str,
    *arguments: str,
    told: Callable[[Any], str] = str,
) -> None:
    """Make a function a command.

    Parameters
    ----------
    function : callable
        ``command`` and ``progress`` are no options; ``**changes`` are fields of the recipe.
    name : str
    *arguments : str
        The parameters that are given by their place; one that is no list must be given.
    told : callable
        What is printed of the result, if there is one, by the first process of a launcher's.
    """
    known = inspect.signature(function).parameters

    @wraps(function)
    def run(**given: Any) -> None:
        if "command" in known:
            given["command"] = shlex.join(["camwall", *sys.argv[1:]])
        result = function(**given)
        if result is not None and os.environ.get("RANK", "0") == "0":
            print(told(result))
        torch = sys.modules.get("torch")
        if torch is not None and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()

    taken = {p.name: (p.annotation, p.default) for p in known.values()}
    if taken.pop("changes", None):
        taken |= {each.name: (each.type | None, None) for each in fields(Recipe)}  # type: ignore[operator]
    helps = _helps(evaluate) | _helps(Recipe) | _helps(function)
    offered = [
        _offered(each, *how, helps[each], each in arguments)
        for each, how in taken.items()
        if each not in ("command", "progress")
    ]
    run.__signature__ = inspect.Signature(offered)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in offered}
    text = (inspect.getdoc(function) or "").partition("\nParameters\n")[0].replace("`", "")
    app.command(name, help=re.sub(r"\b\n\b", " ", text))(run)


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


def methods() -> None:
    """List the saliency methods: what each is, and whether it sees through walls."""
    from camwall.methods import METHODS

    line = "{:27}{:14}{:38}{}".format
    print(line("method", "sees through", "engine", "weights"))
    for method in METHODS.values():
        sees = "yes" if method.sees_through else "no"
        print(line(method.name, sees, ", ".join(method.engines), method.weights))


def certify(
    network: str | None = None,
    wall: int = 160,
    layer: str | None = None,
    construction: str = "whole",
    weights: Path | None = None,
    checkpoint: Path | None = None,
    every_class: bool = False,
) -> Any:
    """Certify that a network is blind behind its wall, or say which pixels leak.

    Parameters
    ----------
    network, wall, layer, construction, weights, checkpoint
        As `evaluate` takes them.
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
        checkpoint=checkpoint,
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


offer(fetch, "fetch", "names")
offer(methods, "methods")
offer(certify, "certify")
offer(evaluate, "evaluate", "images", "out")
offer(survey, "survey", "out", told=lambda frame: frame.to_string())
offer(train_study, "train", "out")
offer(collect, "collect", "runs", "out", told=lambda frame: frame.to_string())
offer(audit, "audit", "out", told=lambda frame: frame.to_string())
offer(
    shrink_folder,
    "shrink",
    "source",
    "target",
    told=lambda counts: "{} images written, {} were there already".format(*counts),
)


def main() -> None:
    """Run a command; a user's error costs one line on stderr and exit status 1."""
    try:
        app()
    except CamwallError as error:
        print(f"camwall: {error}", file=sys.stderr)
        sys.exit(1)
