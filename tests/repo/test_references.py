"""The bibliography: cited in full, complete, and under one style of keys."""

import re
from functools import cache
from pathlib import Path

import pytest

BOOK = Path(__file__).parents[2] / "book"
PAGES = sorted(BOOK.glob("*.md"))
# Where each type of entry says in what it appeared.
VENUES = {
    "article": "journal",
    "inproceedings": "booktitle",
    "incollection": "booktitle",
    "misc": "howpublished",
}


@cache
def entries() -> dict[str, dict[str, str]]:
    """The bibliography's entries by key, each its fields and, as `type`, its kind."""
    bibliography = (BOOK / "references.bib").read_text(encoding="utf-8")
    found = {}
    for kind, key, body in re.findall(r"^@(\w+)\{([^,\s]+),\n(.*?)^\}$", bibliography, re.M | re.S):
        fields = re.findall(r"^  (\w+) += \{(.*)\},?$", body, re.M)
        assert len(fields) == len(body.splitlines()), f"{key}: a line that is no field"
        found[key] = {"type": kind, **dict(fields)}
    assert len(found) == bibliography.count("@"), "an entry that this test cannot read"
    return found


def prose(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def test_every_entry_is_cited() -> None:
    """The printed bibliography lists what a page cites; an entry that none cites goes."""
    groups = [g for page in PAGES for g in re.findall(r"\{cite:[pt]\}`([^`]+)`", prose(page))]
    cited = {key.strip() for group in groups for key in group.split(",")}
    assert set(entries()) - cited == set()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_citations_are_in_the_text_or_in_brackets(page: Path) -> None:
    """`cite:t` where the authors are part of the sentence, else `cite:p`; no third form."""
    roles = set(re.findall(r"\{(cite[^}]*)\}`", prose(page)))
    assert roles <= {"cite:t", "cite:p"}


@pytest.mark.parametrize("key", entries())
def test_entry_is_complete(key: str) -> None:
    """Authors, title, venue, year, and an address or identifier that leads there."""
    entry = entries()[key]
    assert {"author", "title", "year", VENUES[entry["type"]]} <= set(entry)
    assert {"url", "doi"} & set(entry)
    assert all(value.strip() for value in entry.values())
    assert entry.get("url", "https://").startswith("https://")
    assert entry.get("doi", "10.").startswith("10.")


@pytest.mark.parametrize("key", entries())
def test_key_names_first_author_and_year(key: str) -> None:
    """A key is the first author's surname, the year and one word: adebayo2018sanity."""
    entry = entries()[key]
    surname = re.sub(r"\\.|[^A-Za-z]", "", entry["author"].split(",")[0]).lower()
    assert re.fullmatch(surname + entry["year"] + "[a-z]+", key)


@pytest.mark.parametrize("key", entries())
def test_capitals_in_titles_are_kept(key: str) -> None:
    """The style sets titles in lower case: acronyms and names such as HiResCAM need braces."""
    bare = re.sub(r"\{[^{}]*\}", "", entries()[key]["title"])
    assert re.findall(r"\b\w+[A-Z]\w*|\b\w-\w+[A-Z]\w*", bare) == []
