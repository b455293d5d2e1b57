"""The page itself: how soon it is there, that it fetches nothing from elsewhere, its contrast, its lock."""

from __future__ import annotations

import os

import pytest

from processes import running
from web_browser import PHONE, WITH_STACK, Browser

PARTS = ("/", "/documents", "/rerank", "/stack")
PAINT = "return performance.getEntriesByName('first-contentful-paint')[0]?.startTime"
CONTRAST = """
    const channel = v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
    const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
    const parsed = text => (text.match(/[\\d.]+/g) || []).map(Number);
    const behind = element => {
        for (let e = element; e; e = e.parentElement) {
            const found = parsed(getComputedStyle(e).backgroundColor);
            if (found.length === 3 || found[3] === 1) return found;
        }
        return [255, 255, 255];
    };
    const faults = [];
    for (const element of document.querySelectorAll('body *')) {
        const own = [...element.childNodes].some(n => n.nodeType === 3 && n.textContent.trim());
        if (!own || !element.checkVisibility({ checkOpacity: true, checkVisibilityCSS: true })) continue;
        if (element.matches('script, style, .unseen, .skip')) continue;
        const style = getComputedStyle(element);
        const [a, b] = [light(parsed(style.color)), light(behind(element))];
        const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
        const size = parseFloat(style.fontSize);
        const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
        if (ratio < (large ? 3 : 4.5)) faults.push([element.textContent.trim().slice(0, 40), element.className, ratio]);
    }
    return faults"""


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_text_has_the_contrast_that_wcag_aa_wants(browser, backend, part, theme):
    backend.degraded = ["ranking"]
    browser.open()
    browser.run("localStorage.setItem('theme', arguments[0])", theme)
    browser.ask("When are the sirens tried out?")
    browser.says(".turn.assistant .under", "passages")
    browser.open(part)
    browser.until(lambda: not browser.all(".panel:not(.hidden) .waiting"))
    try:
        assert browser.run("return document.querySelector('h1, h2') !== null")
        assert browser.run(CONTRAST) == []
    finally:
        browser.run("localStorage.removeItem('theme')")


@pytest.mark.parametrize("part", PARTS)
def test_nothing_is_fetched_from_elsewhere_and_every_control_has_a_name(browser, part):
    browser.size(PHONE)
    browser.open(part)
    browser.until(lambda: not browser.all(".panel:not(.hidden) .waiting"))
    fetched = browser.run("return performance.getEntriesByType('resource').map(entry => new URL(entry.name).host)")
    assert {*fetched} == {browser.base.removeprefix("http://")}
    unnamed = browser.run("""return [...document.querySelectorAll('button, a, input, textarea')].filter(e =>
        e.checkVisibility() && !(e.getAttribute('aria-label') || e.textContent.trim() || e.labels?.length))
        .map(e => e.outerHTML.slice(0, 120))""")
    assert unnamed == []
    assert browser.run("return document.documentElement.scrollWidth") <= PHONE[0]


def test_the_parts_are_reached_by_keyboard_and_by_going_back(browser):
    browser.open()
    browser.run("document.querySelector('nav [data-part=stack]').focus()")
    browser.driver.switch_to.active_element.send_keys("\ue007")
    browser.find(".device")
    assert browser.run("return location.pathname") == "/stack"
    assert browser.run("return document.activeElement.dataset.part") == "stack"
    browser.driver.back()
    browser.find("#question")
    assert browser.run("return document.querySelector('nav [aria-current]').dataset.part") == "chat"


@pytest.mark.skipif(not os.environ.get(WITH_STACK), reason=f"a time on a busy machine says nothing: set {WITH_STACK}")
def test_first_paint_is_measured_and_soon(browser, capsys):
    paints = []
    for _ in range(3):
        browser.open()
        paints.append(browser.until(lambda: browser.run(PAINT)))
    with capsys.disabled():
        print(f"\nfirst contentful paint: {', '.join(f'{paint:.0f} ms' for paint in paints)}")
    assert min(paints) < 1500


def test_keys_lock_the_page_until_one_is_given(chromium, tmp_path):
    with running("web", tmp_path, ULLAGE_API_KEYS="first-key,second-key") as served:
        chromium.execute_cdp_cmd("Network.clearBrowserCookies", {})
        page = Browser(chromium, served.url)
        chromium.get(served.url)
        assert chromium.current_url.endswith("/login")
        page.find("#key").send_keys("wrong", "\ue007")
        page.says(".fault", "not one of the keys")
        page.find("#key").send_keys("second-key", "\ue007")
        page.find("#question")
        page.until(lambda: page.run("return !!window.did_handshake"))
        page.says(".scope .fault", "ingest does not answer")
