"""One window of a real browser on the web page, in the words of the tests."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

DESKTOP, PHONE = (1280, 860), (390, 844)
SIZES = pytest.mark.parametrize("size", [DESKTOP, PHONE], ids=["desktop", "phone"])
WAIT_S = 30
WITH_STACK = "ULLAGE_BROWSER_STACK"
"""Set by `make browser`: what needs a whole stack, or a machine for itself, runs too."""


@dataclass
class Browser:
    """One window on one page."""

    driver: Any
    base: str

    def open(self, path: str = "/") -> None:
        self.driver.get(self.base + path)
        self.until(lambda: self.run("return !!document.querySelector('.page') && !!window.did_handshake"))

    def size(self, size: tuple[int, int]) -> None:
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {
            "width": size[0], "height": size[1], "deviceScaleFactor": 1, "mobile": False})

    def until(self, true: Callable[[], Any]) -> Any:
        return WebDriverWait(self.driver, WAIT_S, 0.05, ignored_exceptions=(Exception,)).until(lambda _: true())

    def find(self, selector: str) -> WebElement:
        return self.until(lambda: next(e for e in self.driver.find_elements(By.CSS_SELECTOR, selector)
                                       if e.is_displayed()))

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def text(self, selector: str) -> str:
        return self.until(lambda: self.find(selector).text)

    def click(self, selector: str) -> None:
        self.until(lambda: self.find(selector).click() or True)

    def says(self, selector: str, part: str) -> None:
        self.until(lambda: part in self.find(selector).text)

    def ask(self, question: str) -> None:
        field = self.find("#question")
        field.send_keys(question, "\ue007")

    def run(self, script: str, *values: Any) -> Any:
        return self.driver.execute_script(script, *values)

    def shot(self, path: Path) -> None:
        path.write_bytes(self.driver.get_screenshot_as_png())

    def faults(self) -> list[str]:
        """What the browser wrote to its console as an error since the last look."""
        return [line["message"] for line in self.driver.get_log("browser") if line["level"] == "SEVERE"]
