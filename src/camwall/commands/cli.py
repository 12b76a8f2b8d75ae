"""The commands: ``camwall COMMAND``, or ``python -m camwall COMMAND`` under a launcher."""

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from camwall.commands.train import collect, shrink, train
from camwall.errors import CamwallError

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


app.command()(train)
app.command()(collect)
app.command()(shrink)


def main() -> None:
    """Run a command; a user's error costs one line on stderr and exit status 1."""
    try:
        app()
    except CamwallError as error:
        print(f"camwall: {error}", file=sys.stderr)
        sys.exit(1)
