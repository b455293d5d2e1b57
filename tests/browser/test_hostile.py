"""Twenty documents that carry scripts, links and pictures: none takes effect, in answers, passages or names."""

from __future__ import annotations

from hostile_pages import HOSTILE

OWNED = "return [window.owned || 0, document.title, location.pathname]"


def live(browser):
    """Elements of the page that a document could have brought in and that would do something."""
    return browser.run("""const root = document.querySelector('.page');
        const bad = [...root.querySelectorAll(
            'script, iframe, object, embed, link, base, meta, style, svg a, form[action]')];
        const away = [...root.querySelectorAll('a[href], img[src], [src], [href]')].filter(e => {
            const to = e.getAttribute('href') || e.getAttribute('src') || '';
            return !(to.startsWith('/') && !to.startsWith('//')) && !to.startsWith('#'); });
        const handlers = [...root.querySelectorAll('*')].filter(e => [...e.attributes].some(a => /^on/i.test(a.name)));
        return [...bad, ...away, ...handlers].map(e => e.outerHTML.slice(0, 200))""")


def test_no_script_in_a_document_takes_effect(browser, backend):
    """In an answer, its chips and passages, the dialog of a citation, and in all of them after a reload."""
    browser.open()
    for place, text in enumerate(HOSTILE):
        backend.answer, backend.passage = f"Before {text} after [1].", text
        backend.document = f"{text[:80]}.pdf".replace("/", "_")
        browser.ask("What does it say?")
        last = f".turn:nth-child({2 * place + 3})"
        browser.says(f"{last} .under", "passages")
        assert "after" in browser.text(f"{last} .prose")
        browser.click(f"{last} .chips .chip")
        browser.until(lambda: browser.text("dialog[open] h2"))
        browser.click("dialog [data-local=close]")
        assert live(browser) == [], text
        assert browser.run(OWNED) == [0, "ullage", "/"], text
    browser.open()
    browser.until(lambda: len(browser.all(".turn.assistant .prose")) == len(HOSTILE))
    assert live(browser) == []
    assert browser.run(OWNED) == [0, "ullage", "/"]


def test_hostile_names_of_documents_stay_names(browser, backend):
    for name in HOSTILE:
        backend.add("handbook", f"{name[:100]}.pdf")
    browser.open("/documents")
    browser.click("[data-act='documents.choose'][data-value='handbook']")
    browser.until(lambda: len(browser.all(".card")) == len(HOSTILE))
    assert live(browser) == []
    assert browser.run(OWNED) == [0, "ullage", "/documents"]
    backend.collections["handbook"].clear()
