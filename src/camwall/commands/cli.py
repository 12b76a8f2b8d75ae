"""The commands: ``camwall COMMAND``, or ``python -m camwall COMMAND`` under a launcher."""

import dataclasses
import inspect
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from camwall.errors import CamwallError
from camwall.train.recipe import Recipe

app = typer.Typer(
    help="Walls, certificates of blindness, and saliency methods that see through them.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Row = Annotated[int, typer.Option(help="First hidden image row of a network walled untrained.")]
Built = Annotated[
    str, typer.Option(help="How such a wall is built: whole, or the two sides apart.")
]
Checkpoint = Annotated[
    Path | None, typer.Option(help="A network trained behind its wall, ours or the paper's.")
]
Network = Annotated[
    str | None,
    typer.Option(
        help="efficientnet-lite0, which is the default, or one of torchvision's VGG and ResNet "
        "networks."
    ),
]


@app.command()
def fetch(
    names: Annotated[list[str] | None, typer.Argument(help="Data sets; all if none.")] = None,
) -> None:
    """Download the data of the chapters to the user's cache folder.

    What cannot be had costs a line that says how to get it, and exit status 1.
    """
    from camwall import data

    folders = data.fetch(names)
    for name, folder in folders.items():
        if folder is not None:
            print(f"{name}: {folder}")
    if None in folders.values():
        raise typer.Exit(1)


@app.command()
def methods() -> None:
    """List the saliency methods: what each is, and whether it sees through walls."""
    from rich.console import Console
    from rich.table import Table

    from camwall.methods import METHODS

    table = Table("method", "weights", "sees through", "engine")
    for method in METHODS.values():
        engines = ["camwall"] * (method.raw is not None) + ["grad-cam"] * bool(method.package)
        table.add_row(
            method.name,
            method.weights,
            "yes" if method.sees_through else "no",
            ", ".join(engines),
        )
    Console().print(table)


@app.command()
def certify(
    network: Network = None,
    wall: Row = 160,
    construction: Built = "whole",
    checkpoint: Checkpoint = None,
    every_class: Annotated[
        bool, typer.Option(help="One backward pass for each class through the whole network.")
    ] = False,
) -> None:
    """Certify that a network is blind behind its wall, or say which pixels leak."""
    from camwall.models.library import named_model
    from camwall.wall import certify as ask

    model = named_model(
        network,
        wall=wall,
        construction=construction,  # type: ignore[arg-type]  # build_wall refuses other names
        checkpoint=checkpoint,
    )
    print(ask(model, every_class=every_class))


@app.command()
def evaluate(
    images: Annotated[Path, typer.Argument(help="Folder of stacks, or of any images.")],
    out: Annotated[Path, typer.Argument(help="Folder of the table; a killed run resumes there.")],
    network: Network = None,
    wall: Row = 160,
    construction: Built = "whole",
    checkpoint: Checkpoint = None,
    method: Annotated[
        list[str] | None, typer.Option(help="A method, repeatable; all if none.")
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Only the first so many images.")] = None,
    batch: Annotated[int, typer.Option(help="Images at a time.")] = 1,
    engine: Annotated[str, typer.Option(help="camwall or grad-cam.")] = "camwall",
    autocast: Annotated[bool, typer.Option(help="Lower precision; not for tables.")] = False,
) -> None:
    """Check saliency methods on a folder of stacks and write the table with its manifest.

    Under ``accelerate launch --multi_gpu -m camwall evaluate …`` the images are shared out over
    processes, devices and hosts.
    """
    from camwall.commands.evaluate import evaluate as run
    from camwall.processes import processes

    report = run(
        images,
        out,
        network=network,
        wall=wall,
        construction=construction,  # type: ignore[arg-type]  # build_wall refuses other names
        checkpoint=checkpoint,
        methods=method,
        limit=limit,
        batch=batch,
        engine=engine,  # type: ignore[arg-type]  # check refuses other names
        autocast=autocast,
    )
    state = processes()
    if state.is_main_process:
        print(report)
    state.destroy_process_group()


def with_recipe(command: Callable[..., None]) -> Callable[..., None]:
    """Give ``command`` an option for each field of the recipe, None where it is not set."""
    entries = re.findall(
        r"^ +(\w[\w, ]*) : .*\n((?: {8}.*\n)*)", Recipe.__doc__ or "", re.MULTILINE
    )
    helps = {name: " ".join(text.split()) for names, text in entries for name in names.split(", ")}
    signature = inspect.signature(command)
    options = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[
                field.type | None,  # type: ignore[operator]  # a type, not its name
                typer.Option(help=helps[field.name].replace("`", "")),
            ],
        )
        for field in dataclasses.fields(Recipe)
    ]
    own = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
    command.__signature__ = signature.replace(parameters=[*own, *options])  # type: ignore[attr-defined]
    command.__annotations__ |= {option.name: option.annotation for option in options}
    return command


@app.command()
@with_recipe
def train(
    out: Annotated[Path, typer.Argument(help="Folder of the run; a killed run goes on there.")],
    study: Annotated[
        str, typer.Option(help="One of digits, fashion, cifar10, imagenet, folder.")
    ] = "digits",
    data: Annotated[
        str | None,
        typer.Option(help="Folder with train/ and val/, or of class folders, or hf:NAME."),
    ] = None,
    masked: Annotated[
        bool, typer.Option("--masked/--baseline", help="The masked network or its baseline.")
    ] = True,
    small: Annotated[bool, typer.Option(help="The small VGG on any images, at 28×28.")] = False,
    workers: Annotated[int, typer.Option(help="Processes that decode images.")] = 0,
    save_every: Annotated[int, typer.Option(help="Steps between checkpoints.")] = 1000,
    stacks: Annotated[int, typer.Option(help="Stacks to follow the leak on; 0: none.")] = 100,
    tensorboard: Annotated[bool, typer.Option(help="Write OUT/tensorboard too.")] = False,
    **recipe: Any,
) -> None:
    """Train the masked network of a study, or its baseline, by the paper's recipe.

    Fields of the recipe that are not given are the study's. Under ``accelerate launch --multi_gpu
    -m camwall train …`` on several GPUs or hosts. The same command takes up a run that was killed.
    """
    from camwall.commands.train import train_study
    from camwall.processes import processes

    run = train_study(
        study,
        masked=masked,
        out=out,
        data=data,
        small=small,
        stacks=stacks,
        workers=workers,
        save_every=save_every,
        tensorboard=tensorboard,
        command=shlex.join(["camwall", *sys.argv[1:]]),
        **recipe,
    )
    state = processes()
    if state.is_main_process:
        print(run)
    state.destroy_process_group()


@app.command()
def collect(
    runs: Annotated[Path, typer.Argument(help="Folder of finished runs of one study.")],
    out: Annotated[Path, typer.Argument(help="Folder of the tables.")],
) -> None:
    """Join the runs of a folder into tables, and measure their networks on stacks.

    Each network is checked with the paper's methods on the stacks it was followed on.
    """
    from camwall.commands.collect import collect_runs

    print(collect_runs(runs, out, command=shlex.join(["camwall", *sys.argv[1:]])).to_string())


@app.command()
def shrink(
    source: Annotated[Path, typer.Argument(help="Folder of images, nested at will.")],
    target: Annotated[Path, typer.Argument(help="Folder for the smaller copies.")],
    size: Annotated[int, typer.Option(help="Length of the shorter side in pixels.")] = 256,
    quality: Annotated[int, typer.Option(help="JPEG quality.")] = 90,
    workers: Annotated[int, typer.Option(help="Processes; 0: this one.")] = 0,
) -> None:
    """Shrink the images of a folder once, so that each epoch decodes less."""
    from camwall.train.shrink import shrink_folder

    done, kept = shrink_folder(source, target, size=size, quality=quality, workers=workers)
    print(f"{done} images written to {target}, {kept} were there already")


def main() -> None:
    """Run a command; a user's error costs one line on stderr and exit status 1."""
    try:
        app()
    except CamwallError as error:
        print(f"camwall: {error}", file=sys.stderr)
        sys.exit(1)
