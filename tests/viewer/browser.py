"""A real browser: Debian's chromium, without a window, and what the tests ask of it."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from axe_core_python.base import AXE_SCRIPT
from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement

from tests.system_packages import needs_package
from tests.viewer.served import until

_FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--lang=en-US",
)
_AXE = "const [settle] = [...arguments].slice(-1); axe.run(document).then((found) => settle(found.violations))"


class Browser:
    """One browser, one tab."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def open(self, address: str, width: int = 1280, height: int = 900, dark: bool = False) -> None:
        """Show an address, in a window of this size."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self.command("Emulation.setDeviceMetricsOverride", **size)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.command("Emulation.setEmulatedMedia", features=[scheme])
        self.command("Emulation.setTimezoneOverride", timezoneId="UTC")
        self.driver.get(address)

    def command(self, name: str, **arguments: Any) -> Any:
        return self.driver.execute_cdp_cmd(name, arguments)

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def see(self, selector: str, text: str = "") -> WebElement:
        """Wait for an element that is shown, with this text somewhere in it."""

        def shown() -> WebElement | None:
            with suppress(StaleElementReferenceException):
                return next((one for one in self.all(selector) if one.is_displayed() and text in one.text), None)
            return None

        found: WebElement = until(shown)
        return found

    def text(self, selector: str) -> str:
        return self.see(selector).text

    def press(self, *keys: str) -> None:
        """Keys, one after the other, for whatever has the focus."""
        ActionChains(self.driver).send_keys(*keys).perform()

    def focused(self) -> WebElement:
        return self.driver.switch_to.active_element

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def complaints(self) -> list[str]:
        """What stands in the console since the last time."""
        return [line["message"] for line in self.driver.get_log("browser")]

    def barriers(self) -> list[str]:
        """What axe finds that keeps somebody out."""
        self.driver.execute_script(AXE_SCRIPT)
        violations = self.driver.execute_async_script(_AXE)
        return [f"{one['id']}: {node['html'][:200]}" for one in violations for node in one["nodes"]]

    def settle(self) -> None:
        """Bring what moves to its end."""
        self.run("for (const one of document.getAnimations()) if (one.effect.getTiming().iterations < 9) one.finish()")

    def leave(self) -> None:
        """Let go of the page, whose server is about to end."""
        self.driver.get("about:blank")

    def overflows(self) -> bool:
        """Whether the page is wider than its window."""
        return bool(self.run("return document.documentElement.scrollWidth > document.documentElement.clientWidth"))


@contextmanager
def browsing() -> Iterator[Browser]:
    """A browser with nothing of anybody's in it."""
    binary = needs_package("chromium", "/usr/bin/chromium")
    chromedriver = needs_package("chromium-driver", "/usr/bin/chromedriver")
    profile = tempfile.mkdtemp(prefix="framecap-browser-")
    options = webdriver.ChromeOptions()
    options.binary_location = str(binary)
    for flag in (*_FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(str(chromedriver)))
    try:
        driver.set_script_timeout(30)
        yield Browser(driver)
    finally:
        driver.quit()
        shutil.rmtree(profile, ignore_errors=True)
