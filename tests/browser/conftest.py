"""Real Chromium against `ullage serve web`. Without Chromium and its driver the tests are skipped, with the reason."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from processes import running
from web_backend import Backend, listening
from web_browser import DESKTOP, Browser

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if CHROMIUM and DRIVER:
        return
    skip = pytest.mark.skip(reason="no Chromium here: apt-get install chromium chromium-driver")
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(skip)


@pytest.fixture(scope="session")
def backend() -> Backend:
    made = Backend()
    for name in ("safety-and-emergency-plan.pdf", "tariffs-and-billing.html", "crew-handbook.pdf"):
        made.add("multimodal_data", name)
    return made


@pytest.fixture(scope="session")
def web(backend: Backend, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The page's address, in front of the backend."""
    folder = tmp_path_factory.mktemp("web")
    with listening(backend, folder) as url, running("web", folder, ULLAGE_RAG_URL=url, ULLAGE_INGEST_URL=url,
                                                    ULLAGE_RANKING_URL=url, ULLAGE_EMBEDDING_URL=url,
                                                    ULLAGE_LLM_URL=url) as served:
        yield served.url


@pytest.fixture(scope="session")
def chromium(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars",
                 "--disable-background-networking", f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, Service(DRIVER))
    try:
        yield driver
    finally:
        driver.quit()


@pytest.fixture
def browser(chromium: Any, web: str, backend: Backend) -> Iterator[Browser]:
    """A browser that was never here before."""
    chromium.get("about:blank")
    chromium.execute_cdp_cmd("Network.clearBrowserCookies", {})
    made = Browser(chromium, web)
    made.size(DESKTOP)
    made.faults()
    before = (backend.answer, backend.passage, backend.document, backend.degraded)
    yield made
    backend.answer, backend.passage, backend.document, backend.degraded = before
