"""Every flow once against a whole stack of `ullage up`, at two widths; ULLAGE_SCREENSHOTS=FOLDER takes pictures."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from processes import free_port
from stacks import SAMPLES, running_stack
from web_browser import DESKTOP, PHONE, WITH_STACK, Browser

pytestmark = pytest.mark.skipif(not os.environ.get(WITH_STACK), reason=f"starts a whole stack: set {WITH_STACK}")

HANDBOOK = SAMPLES / "handbook"
FILES = ("safety-and-emergency-plan.pdf", "fleet-maintenance-manual.pdf", "tariffs-and-billing.html")
QUESTION = "When are the evacuation sirens in the terminals tried out?"
COLOURS = 96
"""A screenshot needs no more, and is a third of the size."""


def test_every_flow_against_a_whole_stack(chromium, model_cache, tmp_path):
    port = free_port()
    with running_stack(tmp_path, ULLAGE_ENABLE_WEB="true", ULLAGE_WEB_PORT=str(port)) as stack:
        chromium.execute_cdp_cmd("Network.clearBrowserCookies", {})
        page = Browser(chromium, f"http://127.0.0.1:{port}")
        page.size(DESKTOP)
        _upload(page)
        _ask(page)
        _rerank(page)
        _restart(page, stack)
        shoot(page, "stack-desktop")
        page.click("[data-act='stack.examine']")
        page.find(".findings li")
        page.size(PHONE)
        for part in ("chat", "documents", "rerank", "stack"):
            page.click(f"nav [data-part={part}]")
            page.find(f".panel.{part}")
            time.sleep(1)  # the picture is of the part at rest
            assert page.run("return document.documentElement.scrollWidth") <= PHONE[0]
            shoot(page, f"{part}-phone")
        used = {s["service"]: (s["resident_bytes"], s["predicted_bytes"]) for s in stack.json("status")["services"]}
        assert used["web"][0] <= used["web"][1], used


def _upload(page: Browser) -> None:
    page.open("/documents")
    page.driver.find_element("css selector", "#files").send_keys("\n".join(str(HANDBOOK / name) for name in FILES))
    page.until(lambda: len(page.all(".card")) == len(FILES))
    page.until(lambda: page.run("return document.querySelector('.card img:not(.missing)').naturalWidth") > 0)
    page.find("#find").send_keys("lifejackets", "\ue007")
    page.find(".found li")
    shoot(page, "documents-desktop")


def _ask(page: Browser) -> None:
    page.click("nav [data-part=chat]")
    page.ask(QUESTION)
    page.says(".turn.assistant .prose", "Thursday")
    page.find(".chips .chip")
    page.click(".under details summary")
    page.says(".under .legend", "rerank")
    shoot(page, "chat-desktop")
    page.click(".chips .chip")
    page.find("dialog[open] .box")
    page.until(lambda: page.run("return document.querySelector('dialog img').naturalWidth") > 0)
    time.sleep(0.5)
    shoot(page, "citation-desktop")
    page.click("dialog [data-local=close]")


def _rerank(page: Browser) -> None:
    page.click("nav [data-part=rerank]")
    page.click("[data-act='rerank.take']")
    page.find(".sides li")
    page.run("document.querySelector('.rank-outcome').scrollIntoView()")
    shoot(page, "rerank-desktop")


def _restart(page: Browser, stack) -> None:
    before = pid(stack, "ranking")
    page.click("nav [data-part=stack]")
    button = "[data-act='stack.restart'][data-value=ranking]"
    page.click(button)
    page.click(button)
    page.until(lambda: pid(stack, "ranking") not in (None, before))
    page.until(lambda: all("ready" in badge.text for badge in page.all(".service-name .badge")))


def pid(stack, service: str) -> int | None:
    return next(one["pid"] for one in stack.json("status")["services"] if one["service"] == service)


def shoot(page: Browser, name: str) -> None:
    folder = os.environ.get("ULLAGE_SCREENSHOTS")
    if folder:
        path = Path(folder) / f"web-{name}.png"
        page.shot(path)
        from PIL import Image

        with Image.open(path) as image:
            image.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)
