"""A real browser for the tests of the page; `python tests/browser.py` installs one where there is none."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Page

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
_HOW = (
    "no browser for the tests of the page: install Chromium (Debian: apt install chromium; elsewhere: "
    ".venv/bin/playwright install --with-deps chromium-headless-shell), or name one by SORTIE_BROWSER"
)
_COLOURS = """id => {
    const canvas = document.getElementById(id);
    const data = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
    const found = {};
    for (let k = 0; k < data.length; k += 4)
        if (data[k + 3]) { const c = `${data[k]},${data[k + 1]},${data[k + 2]}`; found[c] = (found[c] ?? 0) + 1; }
    return found;
}"""


def find_browser() -> str | None:
    """Where a Chromium lies: that of SORTIE_BROWSER, of the machine, or of Playwright."""
    if named := os.environ.get("SORTIE_BROWSER"):
        return named
    on_path = next(filter(None, map(shutil.which, _NAMES)), None)
    return on_path or _of_playwright()


def _of_playwright() -> str | None:
    cache = Path(os.environ.get("PLAYWRIGHT_BROWSERS_PATH", Path.home() / ".cache" / "ms-playwright"))
    found = sorted([*cache.glob("chromium*/*/headless_shell"), *cache.glob("chromium*/*/chrome-headless-shell")])
    return str(found[-1]) if found else None


def install() -> int:
    """Install one, as far as this user may; returns the exit code."""
    if find_browser():
        return 0
    print("setup: installing a browser for the tests of the page", flush=True)
    for command in _ways():
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            print(done.stdout + done.stderr, end="", file=sys.stderr)
        if find_browser():
            return 0
    print(f"setup: {_HOW}", file=sys.stderr)
    return 1


def _ways() -> list[list[str]]:
    """Commands that may bring one: Debian's package for its administrator, what Playwright downloads for all others."""
    playwright = [[sys.executable, "-m", "playwright", "install", "--only-shell", "chromium"]]
    debian = "ID=debian" in Path("/etc/os-release").read_text().split() if Path("/etc/os-release").exists() else False
    if debian and os.geteuid() == 0:
        return [["apt-get", "update"], ["apt-get", "install", "-y", "--no-install-recommends", "chromium"], *playwright]
    return playwright


def colours(page: Page, canvas: str) -> dict[str, int]:
    """How many pixels of a canvas have each colour, as "r,g,b"."""
    found: dict[str, int] = page.evaluate(_COLOURS, canvas)
    return found


if __name__ == "__main__":
    sys.exit(install())
