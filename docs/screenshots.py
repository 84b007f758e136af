"""The shipped clip in; docs/images/viewer-*.jpg, the live page over its frames, out (`python docs/screenshots.py`).

Needs what the browser tests need, and looks best with Debian's fonts-inter and fonts-urw-base35.
"""

from __future__ import annotations

import base64
import tempfile
from pathlib import Path

from framecap.config import Config, StoreConfig, TimelineConfig
from framecap.stores import open_store
from framecap.viewer.serve import serving
from tests import command
from tests.viewer.browser import Browser, browsing
from tests.viewer.served import until

ROOT = Path(__file__).parents[1]
DESK, PHONE = (1280, 800), (390, 780)
FRAME = "clip/2020/06/08/14/clip-20200608T141623.000000Z-00000108.jpg"


def main() -> None:
    """Make them."""
    with tempfile.TemporaryDirectory() as folder:
        done = command.run("run", ROOT / "samples" / "clip.mp4", cwd=Path(folder), timeout=300)
        assert done.returncode == 0, done.stderr
        config = Config(
            store=StoreConfig(frames=f"{folder}/frames"),
            timeline=TimelineConfig(index=f"{folder}/index"),
        )
        with serving(config, open_store(config.store)) as address, browsing() as browser:
            browser.command("Emulation.setScrollbarsHidden", hidden=True)
            browser.open(f"{address}/search?q=dog", *DESK)
            until(lambda: len(browser.all(".hit")) > 5)
            take(browser, f"{address}/", "live", DESK, ".strip li:nth-child(8)")
            take(browser, f"{address}/frame?key={FRAME}", "frame", DESK, ".word", press=".word:nth-child(3)", dark=True)
            take(browser, f"{address}/timeline?camera=clip", "timeline", DESK, ".hit")
            take(browser, f"{address}/frame?key={FRAME}", "phone-frame", PHONE, ".word", press=".word:nth-child(7)")
            browser.leave()


def take(
    browser: Browser, address: str, name: str, size: tuple[int, int], wait: str, press: str = "", dark: bool = False
) -> None:
    """One image, when what is waited for is there; of its first screen."""
    browser.open(address, *size, dark=dark)
    browser.see(wait)
    if press:
        browser.see(press).click()
        browser.see(".heat.shown")
    until(lambda: browser.run("return [...document.images].every((one) => one.complete || one.loading === 'lazy')"))
    browser.settle()
    browser.run("document.activeElement.blur()")
    shot = browser.command("Page.captureScreenshot", format="jpeg", quality=82)
    (ROOT / "docs" / "images" / f"viewer-{name}.jpg").write_bytes(base64.b64decode(shot["data"]))


if __name__ == "__main__":
    main()
