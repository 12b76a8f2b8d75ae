"""Architectures of three libraries behind walls: which are certified, and what methods do there."""

import copy
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import camwall
from camwall.commands.check import default_stacks

if TYPE_CHECKING:
    import pandas as pd
    from torch import nn

    from camwall.check.store import Record

_NAMES = {
    "torchvision": """
        alexnet convnext_tiny densenet121 efficientnet_b0 googlenet inception_v3 maxvit_t mnasnet0_5
        mobilenet_v2 mobilenet_v3_small regnet_x_400mf regnet_y_400mf resnet18 shufflenet_v2_x0_5
        shufflenet_v2_x1_0 squeezenet1_0 squeezenet1_1 swin_t vgg11_bn vit_b_32
        """,
    "timm": """
        beit_base_patch16_224 cait_xxs24_224 coatnet_pico_rw_224 convnext_atto
        deit_tiny_distilled_patch16_224 densenet121 dla46_c edgenext_xx_small efficientformer_l1
        efficientnet_lite0 efficientvit_b0 eva02_tiny_patch14_224 fastvit_t8 ghostnet_050
        hrnet_w18_small inception_next_atto levit_128s mambaout_femto maxvit_rmlp_pico_rw_256
        mixer_s32_224 mobilenetv4_conv_small mobilevit_xxs mobilevitv2_050 nf_regnet_b0 pit_ti_224
        poolformer_s12 pvt_v2_b0 regnety_002 repvgg_a0 resnet10t starnet_s1
        swin_tiny_patch4_window7_224 tiny_vit_5m_224 visformer_tiny vit_tiny_patch16_224
        xcit_nano_12_p16_224
        """,
    "transformers": "beit convnext deit dinov2 mobilevit regnet resnet swin vit",
}
#: Small architectures: of which library, and its name there.
ARCHITECTURES = [(library, name) for library, names in _NAMES.items() for name in names.split()]
_STAGES = {"hidden_sizes": [32, 64, 128, 256], "depths": [2, 2, 2, 2]}
_SWIN = {"embed_dim": 48, "depths": (2, 2, 2, 2), "num_heads": (2, 4, 8, 16)}
_VIT = {"hidden_size": 96, "num_hidden_layers": 4, "num_attention_heads": 3}
_VIT |= {"intermediate_size": 192}
#: What is asked of some of them, most of it so that they are small.
OPTIONS: dict[str, dict[str, Any]] = {
    "googlenet": {"init_weights": False},
    "inception_v3": {"init_weights": False},
    "beit_base_patch16_224": {"depth": 4, "embed_dim": 192, "num_heads": 3},
    "cait_xxs24_224": {"depth": 6},
    "eva02_tiny_patch14_224": {"depth": 6},
    "swin_tiny_patch4_window7_224": _SWIN,
    "beit": _VIT | {"use_relative_position_bias": True},
    "convnext": _STAGES,
    "deit": _VIT | {"architectures": ["DeiTForImageClassification"]},
    "dinov2": _VIT | {"image_size": 224, "patch_size": 16},
    "mobilevit": {"hidden_sizes": [64, 80, 96], "expand_ratio": 2.0},
    "regnet": _STAGES | {"groups_width": 16},
    "resnet": _STAGES | {"embedding_size": 32, "layer_type": "basic"},
    "swin": _SWIN,
    "vit": _VIT,
}
CLASSES = 10
#: Pixels a side, of networks that take images of any size.
SIZE = 160
METHODS = ("GradCAM", "GradCAM++", "XGradCAM", "EigenCAM", "HiResCAM", "LayerCAM")


def walls(height: int, width: int) -> "dict[str, camwall.Wall]":
    """A wall of every kind; the rows are STACK-OPEN's."""
    return {
        "rows": camwall.Wall.rows(height, width, 5 * height // 7),
        "columns": camwall.Wall.columns(height, width, 5 * width // 7),
        "quadrant": camwall.Wall.quadrant(height, width),
        "border": camwall.Wall.border(height, width, height // 7),
    }


def _made(library: str, name: str) -> "nn.Module":
    """As the library makes it, with random weights."""
    options = OPTIONS.get(name, {})
    if library == "torchvision":
        models = import_module("torchvision.models")
        return models.get_model(name, weights=None, num_classes=CLASSES, **options)
    if library == "timm":
        return import_module("timm").create_model(name, num_classes=CLASSES, **options)
    transformers = import_module("transformers")
    config = transformers.AutoConfig.for_model(name, num_labels=CLASSES, **options)
    return transformers.AutoModelForImageClassification.from_config(config)


def architecture(
    library: str, name: str, photographs: Sequence[Path]
) -> "tuple[nn.Module, camwall.Preprocessing, int]":
    """One of `ARCHITECTURES` with random weights that leave none of its parts without effect.

    The weights are the library's own draw, but for those that it starts at 0 or at less than a
    hundredth (heads, layer scales, class tokens, the last scale of a residual branch): with these,
    scores would not depend on the image, or not on most layers. A matrix is drawn from
    N(0, 0.02²), a vector uniformly between ½ and 1½. The statistics of batch norms are those of
    ``photographs`` and as many images of noise: at the mean of 0 and variance of 1 that they start
    from, activations vanish or grow from layer to layer.

    Returns
    -------
    network : torch.nn.Module
        In evaluation mode.
    preprocessing : Preprocessing
        The whole image, at `SIZE` or at the one size that the network takes.
    drawn : int
        Parameters that were drawn anew.
    """
    import torch
    from torch.nn.modules.batchnorm import _BatchNorm

    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        network = _made(library, name).eval()
        stuck = [
            parameter
            for at, parameter in network.named_parameters()
            if not at.endswith("bias") and parameter.abs().max() < 0.01
        ]
        for parameter in stuck:
            if parameter.squeeze().ndim > 1:
                parameter.normal_(0, 0.02)
            else:
                parameter.uniform_(0.5, 1.5)
        size = SIZE
        try:
            # A copy: Swin of transformers keeps the windows of a size that it then refuses.
            copy.deepcopy(network)(torch.zeros(1, 3, size, size))
        except Exception:  # each library refuses in a way of its own
            size = getattr(network, "pretrained_cfg", {}).get("input_size", (3, 224, 224))[-1]
        preprocessing = camwall.Preprocessing(resize=size, crop=size)
        for module in network.modules():
            if isinstance(module, _BatchNorm):
                module.train().momentum = None  # one pass, whose statistics stay
        loaded = preprocessing.load(photographs)
        network(torch.cat([loaded, preprocessing.normalize(torch.rand(loaded.shape))]))
    return network.eval(), preprocessing, len(stuck)


def _measured(library: str, name: str, paths: Sequence[Path]) -> "Iterator[Record]":
    """Each wall's records, one an image and method; or one that says in a line why there are none.

    What fails does not end the survey: a network is anybody's code.
    """
    about: Record = {"library": library, "architecture": name, "image": "", "method": ""}
    about["options"] = ", ".join(f"{key}={value}" for key, value in OPTIONS.get(name, {}).items())
    try:
        network, way, about["drawn"] = architecture(library, name, paths)
    except Exception as error:
        yield from (about | {"wall": wall, "refused": _line(error)} for wall in walls(224, 224))
        return
    about["family"] = type(network).__module__.split(".")[2]
    about["size"] = way.size[0]
    about["parameters"] = sum(parameter.numel() for parameter in network.parameters())
    for shape, wall in walls(*way.size).items():
        row, start = about | {"wall": shape}, time.process_time()
        try:
            model = camwall.build_wall(network, wall, preprocessing=way)
            row |= {"layer": str(model.layer), "rest": str(model.rest)}
            row |= {"cells": "×".join(map(str, model.visible_cells.shape))}
            row |= {"flat_level": model.wall.flat_level}
            certificate = camwall.certify(model, probes=1, repaints=2)
            row |= {"proved": certificate.proved is not None, "seen": certificate.visible_seen}
            found = camwall.check(model, paths, METHODS, batch=len(paths), progress=False).records
        except Exception as error:
            yield row | {"refused": _line(error)}
            continue
        row |= {"refused": "", "seconds": time.process_time() - start}
        columns = ["image", "method", "leak", "leak_clear", "response", "empty"]
        yield from (row | dict(record) for _, record in found[columns].iterrows())


def _sound(record: "Record") -> bool:
    """Whether a survey could have kept this."""
    told = ("library", "architecture", "wall", "method", "refused")
    return all(isinstance(record.get(name), str) for name in told)


def _line(error: Exception) -> str:
    return f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"


def survey(
    out: Path,
    *,
    images: Path | None = None,
    only: list[str] | None = None,
    limit: int = 4,
    command: str | None = None,
    progress: bool = True,
) -> "pd.DataFrame":
    """Wall the architectures of torchvision, timm and transformers, on random weights.

    Each is certified behind four walls, and the paper's methods of one pass are checked there. A
    run that was killed goes on at the architecture that it was at.

    Parameters
    ----------
    out : path
        Folder that gets ``table.csv`` (a row for each architecture and wall: its layer, how the
        rest of the network is run from there, and in ``refused`` why it is not certified, empty
        where it is), ``records.csv`` (leak and response of each image and method),
        ``manifest.json``, and under ``records/`` what a killed run needs to go on.
    images : path, optional
        Folder of stacks; STACK-OPEN, in the user's cache folder, if not given.
    only : list of str, optional
        Names of these architectures alone.
    limit : int
        Only the first so many images.
    command : str, optional
        The command to record, if not this process's.
    progress : bool
        Show a progress bar.

    Returns
    -------
    DataFrame
        For each library and wall, how many architectures were tried and how many certified.
    """
    import pandas as pd
    from tqdm import tqdm

    from camwall import runs, stacks
    from camwall.check.store import RecordStore

    if unknown := set(only or ()) - {name for _, name in ARCHITECTURES}:
        raise camwall.CamwallError(f"unknown architectures {', '.join(sorted(unknown))}")
    wanted = [each for each in ARCHITECTURES if only is None or each[1] in only]
    if images is None:
        images = default_stacks().folder
    chosen = stacks.load(images).head(limit).paths
    parameters = {"images": images.name, "limit": limit, "methods": METHODS, "classes": CLASSES}
    parameters |= {"size": SIZE}
    with closing(RecordStore(out / "records", parameters, 0, sound=_sound)) as store:
        done = {(record["library"], record["architecture"]) for record in store.found}
        bar = tqdm([each for each in wanted if each not in done], "survey", disable=not progress)
        for library, name in bar:
            bar.set_postfix_str(name)
            store.add(_measured(library, name, chosen))
        frame = pd.DataFrame([*store.found, *store.added])
    keys = ["library", "architecture", "wall"]
    frame = pd.DataFrame(wanted, columns=keys[:2]).merge(frame)  # in their order
    measured = ["image", "method", "leak", "leak_clear", "response", "empty"]
    table = frame.drop(columns=measured, errors="ignore").drop_duplicates(keys)
    runs.write_csv(out / "table.csv", table)
    found = frame[frame["method"] != ""].reindex(columns=[*keys, *measured])
    runs.write_csv(out / "records.csv", found)
    manifest = runs.manifest(parameters | {"only": only}, seed=0, command=command)
    runs.write_json(out / "manifest.json", manifest)
    certified = table.assign(certified=table["refused"] == "").groupby(["library", "wall"])
    return certified["certified"].agg(tried="size", certified="sum").unstack("wall")
