"""Links of the documentation lead somewhere: files and headings of this project; addresses outside where asked for."""

from __future__ import annotations

import os
import re
import urllib.request
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
PAGES = sorted([*PROJECT.glob("*.md"), *PROJECT.glob("docs/**/*.md")])
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\"")
_CODE = re.compile(r"^```.*?^```$|`[^`\n]*`", re.M | re.S)


def text_of(page: Path) -> str:
    """A page without its code."""
    return _CODE.sub("", page.read_text(encoding="utf-8"))


def links(page: Path) -> list[str]:
    return [first or second for first, second in _LINK.findall(text_of(page))]


def headings(page: Path) -> set[str]:
    """The anchors that GitHub gives a page's headings."""
    titles = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(PROJECT)))
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(page):
        if re.match(r"[a-z]+:", link):
            assert link.startswith("https://"), f"{link}: is no address that is safe to follow"
            continue
        path, _, anchor = link.partition("#")
        there = (page.parent / path).resolve() if path else page
        assert there.exists(), f"{link}: no such file"
        assert there.is_relative_to(PROJECT), f"{link}: is outside the project"
        assert not anchor or anchor in headings(there), f"{link}: no such heading"


def test_every_page_can_be_reached_from_the_readme() -> None:
    reached, waiting = set(), [PROJECT / "README.md"]
    while waiting:
        page = waiting.pop()
        if page not in reached and page.suffix == ".md":
            reached.add(page)
            waiting += [(page.parent / link.partition("#")[0]).resolve() for link in links(page) if ":" not in link]
    assert set(PAGES) <= reached


@pytest.mark.skipif("SORTIE_CHECK_URLS" not in os.environ, reason="set SORTIE_CHECK_URLS=1 to follow links outside")
@pytest.mark.parametrize("url", sorted({link for page in PAGES for link in links(page) if link.startswith("https:")}))
def test_addresses_outside_answer(url: str) -> None:
    request = urllib.request.Request(url, headers={"User-Agent": "Mozilla/5.0"})
    with urllib.request.urlopen(request, timeout=20) as answer:
        assert answer.status < 400
