"""Folders that camwall wrote, with a file made otherwise: the same values, or one line."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any
from zlib import crc32

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from camwall.check import Report
from camwall.check.verdicts import FINDINGS
from camwall.commands.sweep import load_sweep
from camwall.config import quick
from camwall.errors import CamwallError
from camwall.runs import manifest, seals, write_csv, write_json
from camwall.stacks import load, store
from camwall.wall import Wall
from tests.helpers.checks import image_files, quiet, small_model
from tests.helpers.corpus import within

COUNT = 20 if quick() else 150  # of each kind of file

NESTED = "[" * 100_000
#: What stands in place of a value in a JSON file.
ODD = [
    *("null", "true", "-1", "1e999", "NaN", "-Infinity", str(2**70), '"x"', '""', "[]", "{}"),
    *("[null]", '{"x": 1}', NESTED, "[[[[1]]]]", '"\\ud800"', '"' + "a" * 10_000 + '"', "'x'"),
]
#: What becomes of the bytes of any file.
BYTES: dict[str, Callable[[bytes, Random], bytes]] = {
    "empty": lambda given, rng: b"",
    "cut": lambda given, rng: given[: rng.randrange(len(given))],
    "BOM": lambda given, rng: b"\xef\xbb\xbf" + given,
    "CRLF": lambda given, rng: given.replace(b"\n", b"\r\n"),
    "UTF-16": lambda given, rng: given.decode().encode("utf-16"),
    "not UTF-8": lambda given, rng: given.replace(b"e", b"\xe9", 1),
    "more": lambda given, rng: given + b"x",
    "twice": lambda given, rng: given + given,
    "blank line": lambda given, rng: given + b"\n\n",
}


def put(text: str, rng: Random) -> tuple[str, str]:
    """A byte that belongs to no text."""
    at = rng.randrange(len(text))
    return text[:at] + "\0" + text[at:], "NUL"


def json_made_otherwise(text: str, rng: Random) -> tuple[str, str]:
    """One value of it dropped, replaced, renamed or said twice, and which."""
    whole = json.loads(text)
    places = [((), whole)]
    for at, value in places:
        if isinstance(value, dict | list):
            items = value.items() if isinstance(value, dict) else enumerate(value)
            places += [((*at, key), each) for key, each in items]
    at, value = rng.choice(places[1:])
    inner = whole
    for key in at[:-1]:
        inner = inner[key]
    how = rng.choice(["drop", "odd", "odd", "odd", "rename", "add", "nest", "again"])
    if how == "rename" and not isinstance(inner, dict):
        how = "odd"
    mark = "\N{SNOWMAN}"
    if how == "drop":
        del inner[at[-1]]
        return json.dumps(whole), f"drop {at}"
    if how == "rename":
        inner[f"{at[-1]}_"] = inner.pop(at[-1])
        return json.dumps(whole), f"drop {at}"
    if how == "add":
        (inner if isinstance(inner, dict) else whole)["new"] = rng.choice([1, "x", None, [1], {}])
        return json.dumps(whole), "add"
    inner[at[-1]] = mark
    said = json.dumps(whole, ensure_ascii=False)
    if how == "nest":
        new = f"[{json.dumps(value)}]"
    elif how == "again" and isinstance(inner, dict):
        new = f"{json.dumps(value)}, {json.dumps(at[-1])}: {rng.choice(ODD)}"
    else:
        new = rng.choice(ODD)
        if new == json.dumps(value):
            new = '"x"'
    return said.replace(f'"{mark}"', new), f"{how} {at} {new[:30]}"


def csv_made_otherwise(text: str, rng: Random) -> tuple[str, str]:
    """One column or entry of it dropped, moved or replaced, and which."""
    rows = [line.split(",") for line in text.splitlines()]
    column, row = rng.randrange(len(rows[0])), rng.randrange(1, len(rows))
    name = rows[0][column]
    how = rng.choice(
        ["drop", "entry", "entry", "entry", "shuffle", "more", "short", "again", "NUL"]
    )
    if how == "drop":
        rows = [each[:column] + each[column + 1 :] for each in rows]
    elif how == "shuffle":
        order = rng.sample(range(len(rows[0])), len(rows[0]))
        rows = [[each[i] for i in order] for each in rows]
    elif how == "more":
        rows = [[*each, "x"] for each in rows] if rng.random() < 0.5 else rows
        rows = (
            rows if len(rows[1]) > column + 1 else [rows[0], *([*each, "x"] for each in rows[1:])]
        )
    elif how == "short":
        rows[row] = rows[row][:-1]
    elif how == "again":
        rows = [[*each, each[column]] for each in rows]
    elif how == "NUL":
        return put(text, rng)
    else:
        odd = ["x", "", "nan", "-1", "1e999", "inf", "1.5", "True", "../x", '"', "é" * 9, "9" * 400]
        rows[row][column] = new = rng.choice([each for each in odd if each != rows[row][column]])
        how = f"entry {row} {new[:9]}"
    return "\n".join(map(",".join, rows)) + "\n", f"{how} {name}"


def made_otherwise(file: Path, rng: Random) -> str:
    """Write a file anew, and say what is otherwise in it."""
    content = file.read_bytes()
    if rng.random() < 0.15:
        what = rng.choice(list(BYTES))
        file.write_bytes(BYTES[what](content, rng))
        return what
    kind = csv_made_otherwise if file.suffix == ".csv" else json_made_otherwise
    text, what = kind(content.decode(), rng)
    file.write_text(text, encoding="utf-8")
    return what


def of_stacks(folder: Path) -> dict[str, Any]:
    """All that the stacks of a folder say of themselves."""
    found = load(folder)
    wall = found.wall
    return {
        "file": [str(path.relative_to(folder)) for path in found.paths],
        "sha256": found.checksums,
        "visible_index": found.labels_visible,
        "hidden_index": found.labels("hidden"),
        "beside_index": found.labels("beside"),
        "group": found.groups,
        "wall": None if wall is None else wall.as_json(),
        "visible_box": found.boxes.to_dict("list"),
    }


def stacks(folder: Path) -> Path:
    """As a builder leaves them."""

    def painted():
        for number in range(4):
            pixels = np.full((224, 224, 3), 40 * number, np.uint8)
            row = {"variant": "same", "group": number // 2, "row": 160, "visible_index": number}
            row |= {"visible_name": "a b", "visible_box": "1 2 30 40", "hidden_index": 5 + number}
            yield Image.fromarray(pixels), {**row, "hidden_box": "1 170 30 200"}

    parameters = {"n": 4, "row": 160, "wall": Wall.rows(224, 224, 160).as_json()}
    store.build(folder / "made", "test", parameters, 0, painted, 4, progress=False)
    return folder / "made"


def checked(folder: Path):
    methods = ["GradCAM", "HiResCAM", "EigenCAM"]
    return quiet(small_model(), image_files(folder), methods, run=folder / "records")


def told(report: Report) -> dict[str, Any]:
    """All that a report says."""
    tables = report.table, report.verdicts, report.formatted.astype(str)
    texts = [frame.sort_index().sort_index(axis=1).to_csv(float_format="%.9g") for frame in tables]
    return {
        "table": texts,
        "text": [str(report).rpartition("\n")[2], report.wall.as_json()],
        "gallery": {image: sorted(each) for image, each in report.gallery.items()},
    }


def report(folder: Path) -> Path:
    checked(folder).save(folder / "made", manifest({}, 0, command="test"))
    return folder / "made"


def unsealed_report(folder: Path) -> Path:
    """As an older version wrote it: without checksums of its files."""
    made = report(folder)
    said = json.loads((made / "manifest.json").read_text())
    del said["files"]
    write_json(made / "manifest.json", said)
    return made


def study(folder: Path) -> Path:
    """As `sweep` writes it, of two choices."""
    found, made = checked(folder), folder / "made"
    about = {"certificate": "x", "wall": found.wall.as_json(), "random_level": found.random_level}
    about["identity"] = json.loads(json.dumps(found.identity))
    for name, frame in (("records", found.records), ("table", found.table.reset_index())):
        joined = pd.concat([frame.assign(variant=choice) for choice in "ab"])
        joined.insert(0, "variant", joined.pop("variant"))
        write_csv(made / f"{name}.csv", joined)
    sealed = seals(made.glob("*.csv"))
    said = manifest({}, 0, variants={"a": about, "b": about}, files=sealed)
    write_json(made / "manifest.json", said)
    return made


def run(folder: Path) -> Path:
    checked(folder)
    return folder / "records"


def again(folder: Path) -> dict[str, Any]:
    """The check that a run's folder is of, taken up there."""
    methods = ["GradCAM", "HiResCAM", "EigenCAM"]
    near = next(each for each in folder.parents if (each / "alone").is_dir())
    return told(quiet(small_model(), near / "alone" / "images", methods, run=folder))


KINDS: dict[str, tuple[Callable, Callable, list[str]]] = {
    "stacks": (stacks, of_stacks, ["manifest.csv", "manifest.json"]),
    "report": (report, lambda made: told(Report.load(made)), ["manifest.json", "records.csv"]),
    "old report": (
        unsealed_report,
        lambda made: told(Report.load(made)),
        ["manifest.json", "records.csv", "gallery.json"],
    ),
    "study": (
        study,
        lambda made: {name: told(each) for name, each in load_sweep(made).items()},
        ["manifest.json", "records.csv", "table.csv"],
    ),
    "run": (run, again, ["run.json"]),
}


#: What a line of records is given that no check wrote, with the checksum that it then has.
LINES: list[dict[str, Any]] = [
    *({name: odd} for name in ("image", "method", "leak", "empty", "target") for odd in ([], None)),
    *({"leak": odd} for odd in ("x", -0.5, 7.0, True)),
    *({"response": -1}, {"target": 1.5}, {"empty": 1}, {"image": "\ud800"}, {"new": 1}),
    *({"pictures": odd} for odd in (None, [], ["x", "x"], ["AAAA", "AAAA"])),
    *({"trial": odd} for odd in (3, {}, {"image": "1.png"}, dict.fromkeys(FINDINGS, "x"))),
]


@pytest.mark.parametrize("line", [*LINES, 3, [], None], ids=str)
def test_a_record_that_no_check_wrote_is_refused(line, tmp_path):
    """Its line is named, whatever checksum it has; a line more for a record is as good as one."""
    (tmp_path / "alone").mkdir()
    file = run(tmp_path / "alone") / "records-0000.jsonl"
    lines = file.read_bytes().splitlines(keepends=True)
    record = json.loads(lines[0].partition(b"\t")[0])
    for made in (line if not isinstance(line, dict) else record | line, record):
        text = json.dumps(made).encode()
        file.write_bytes(b"".join([b"%s\t%08x\n" % (text, crc32(text)), *lines]))
        if made is record:
            again(file.parent)
        else:
            with pytest.raises(CamwallError, match=r"line 1 of .*records-0000.jsonl is damaged"):
                again(file.parent)


def test_a_run_that_is_taken_up_has_the_groups_of_the_images_as_they_are_given(tmp_path):
    """Another manifest of the same images may group them otherwise."""
    paths = sorted(image_files(tmp_path).iterdir())
    pairs = SimpleNamespace(paths=paths, groups=[0, 0, 0, 1, 1])
    quiet(small_model(), paths, ["GradCAM"], run=tmp_path / "run")
    found = quiet(small_model(), pairs, ["GradCAM"], run=tmp_path / "run")
    assert found.table.equals(quiet(small_model(), pairs, ["GradCAM"]).table)


def test_a_report_has_each_image_with_each_method_once(tmp_path):
    """Rows that were lost or doubled, metrics that are texts, and pictures that are none."""

    def refused(said: str, file: str, change: Callable[[str], str]) -> None:
        made = shutil.copytree(origin, tmp_path / str(len(list(tmp_path.iterdir()))))
        (made / file).write_text(change((made / file).read_text()))
        with pytest.raises(CamwallError, match=f"{file} cannot be read .*{said}"):
            Report.load(made)

    origin = unsealed_report(tmp_path)
    refused(
        "each image with each method, once",
        "records.csv",
        lambda text: text[:-1].rpartition("\n")[0],
    )
    refused(
        "each image with each method, once", "records.csv", lambda text: text + text.splitlines()[1]
    )
    refused(
        "no names of metrics", "manifest.json", lambda text: text.replace('"response"', '"image"')
    )
    refused("''", "gallery.json", lambda text: '{"0.png": {"GradCAM": "x"}}')
    refused("not an image", "gallery.json", lambda text: '{"0.png": {"": "AAAA"}}')


def differing(found: dict[str, Any], wanted: dict[str, Any], what: str) -> list[str]:
    """What is said otherwise than before, but for what is missing in the file."""
    return [
        name
        for name, value in wanted.items()
        if found.get(name) != value and not (what.startswith("drop") and "layer" in what)
    ]


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("kind", KINDS)
def test_a_folder_made_otherwise_says_the_same_or_is_refused(kind, tmp_path, record_property):
    """In one line that names a file or the folder; nothing hangs, nothing is left out."""
    make, read, files = KINDS[kind]
    (tmp_path / "alone").mkdir()
    origin = make(tmp_path / "alone")
    wanted, rng, bad = read(origin), Random(kind), []
    for number in range(COUNT):
        folder = shutil.copytree(origin, tmp_path / str(number) / "made")
        name = rng.choice(files)
        what = made_otherwise(folder / name, rng)
        try:
            with within(30):
                found = read(folder)
        except CamwallError as error:
            said = str(error)
            if "\n" in said or str(folder) not in said:
                bad.append((name, what, f"says {said}"))
        except Exception as error:
            bad.append((name, what, f"a bare {error!r}"))
        else:
            # Where no checksum tells, a number may be another's.
            if kind != "old report" and (odd := differing(found, wanted, what)):
                bad.append((name, what, f"says otherwise {odd}"))
        shutil.rmtree(tmp_path / str(number))
    assert not bad, f"{len(bad)} of {COUNT}:\n" + "\n".join(str(each)[:400] for each in bad)
    record_property("files made otherwise", COUNT)


#: What else may lie in a file's place.
PLACES: dict[str, Callable[[Path], Any]] = {
    "nothing": lambda file: None,
    "a folder": lambda file: file.mkdir(),
    "a pipe": os.mkfifo,
    "a broken link": lambda file: file.symlink_to("nowhere"),
    "a device": lambda file: file.symlink_to("/dev/zero"),
    "itself": lambda file: file.symlink_to(file.name),
}


@pytest.mark.parametrize("kind", KINDS)
def test_what_lies_in_a_files_place_is_refused(kind, tmp_path, record_property):
    """A file that is missing, a folder, a pipe, a link to nowhere or to itself."""
    make, read, files = KINDS[kind]
    (tmp_path / "alone").mkdir()
    origin = make(tmp_path / "alone")
    wanted, bad = read(origin), []
    every = sorted(path.name for path in origin.iterdir() if path.is_file())
    for name in every if kind == "run" else files:
        for what, place in PLACES.items():
            folder = shutil.copytree(origin, tmp_path / name / what / "made")
            (folder / name).unlink()
            place(folder / name)
            try:
                with within(30):
                    found = read(folder)
            except CamwallError as error:
                if "\n" in str(error) or str(folder) not in str(error):
                    bad.append((name, what, f"says {error}"))
            except Exception as error:
                bad.append((name, what, f"a bare {error!r}"))
            else:
                # Without a manifest there are only images, and a report may have no gallery.
                optional = what != "a folder" and (kind == "stacks" or name == "gallery.json")
                if found != wanted and not optional:
                    bad.append((name, what, "says otherwise"))
    assert not bad, "\n".join(str(each)[:400] for each in bad)
    record_property("things in a file's place", len(files) * len(PLACES))
