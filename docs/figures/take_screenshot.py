"""Takes a picture of the view of a recorded run: `python docs/figures/take_screenshot.py RUN SECONDS OUT.png`."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from playwright.sync_api import sync_playwright

from sortie_view.playback import Playback
from sortie_view.recording import Recording

sys.path.append(str(Path(__file__).parents[2] / "tests"))
from browser import find_browser

SIZE = {"width": 1240, "height": 720}
PORT = 18765


def main(run: str, seconds: str, out: str) -> None:
    """Show the run at a mission time, and save what the browser shows."""
    playback = Playback(Recording(Path(run)), PORT)
    threading.Thread(target=playback.run, daemon=True).start()
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=find_browser(), args=["--no-sandbox"])
        page = browser.new_page(viewport=SIZE, device_scale_factor=1.5)
        page.goto(playback.server.page_url)
        page.wait_for_function(f"parseFloat(document.getElementById('time').textContent) >= {seconds}")
        page.screenshot(path=out)
        browser.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
