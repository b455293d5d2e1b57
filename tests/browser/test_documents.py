"""Uploading, watching, cancelling, retrying, deleting, searching, looking."""

from __future__ import annotations

from web_browser import SIZES


def upload(browser, folder, *names):
    for name in names:
        (folder / name).write_bytes(b"%PDF-1.4 " + name.encode())
    browser.find(".drop")
    browser.driver.find_element("css selector", "#files").send_keys("\n".join(str(folder / name) for name in names))


@SIZES
def test_files_are_uploaded_and_a_fault_is_told_with_its_reason(browser, backend, tmp_path, size):
    browser.size(size)
    browser.open("/documents")
    good = f"good-{size[0]}.pdf"
    upload(browser, tmp_path, good, f"bad-{size[0]}.pdf")
    browser.until(lambda: any(good in card.text for card in browser.all(".card")))
    browser.says(".work .failed .reason", "page 3 cannot be read")
    browser.until(lambda: browser.run("return document.querySelector('.card img').naturalWidth") > 0)
    browser.click(".work .failed [data-act='documents.retry']")
    browser.until(lambda: not browser.all(".work .failed"))
    browser.until(lambda: f"{size[0]}.pdf" in backend.collections["multimodal_data"])
    assert browser.run("return document.documentElement.scrollWidth") <= size[0]


@SIZES
def test_a_file_that_is_read_can_be_cancelled(browser, backend, tmp_path, size):
    browser.size(size)
    browser.open("/documents")
    name = f"slow-{size[0]}.pdf"
    upload(browser, tmp_path, name)
    browser.says(".work .running", "4 of 12 pages")
    browser.click(f"[aria-label='Cancel {name}']")
    browser.says(".work .cancelled", "Cancelled")
    browser.click(f"[aria-label='Hide {name}']")
    browser.until(lambda: not browser.all(f"[aria-label='Hide {name}']"))


def test_dropped_files_make_the_collection_they_go_to(browser, backend):
    browser.open("/documents")
    browser.find("#new-collection").send_keys("harbour")
    browser.click("[data-act='documents.create'] button")
    browser.says(".drop", "into harbour")
    del backend.collections["harbour"]
    browser.run("""const data = new DataTransfer(); data.items.add(new File(["x"], "dropped.pdf"));
        document.querySelector('[data-drop]').dispatchEvent(
            new DragEvent('drop', {dataTransfer: data, bubbles: true}))""")
    browser.until(lambda: "dropped.pdf" in backend.collections.get("harbour", {}))
    browser.says(".cards", "dropped.pdf")
    browser.click("[data-act='documents.drop-collection']")
    browser.click("[data-act='documents.drop-collection']")
    browser.until(lambda: "harbour" not in backend.collections)


def test_a_document_is_deleted_only_at_the_second_click(browser, backend):
    backend.add("multimodal_data", "old.pdf")
    browser.open("/documents")
    button = "[data-act='documents.delete'][data-value='old.pdf']"
    browser.click(button)
    assert browser.text(button) == "Delete?"
    assert "old.pdf" in backend.collections["multimodal_data"]
    browser.click(button)
    browser.until(lambda: "old.pdf" not in backend.collections["multimodal_data"])


def test_searching_and_looking(browser):
    browser.open("/documents")
    browser.find("#find").send_keys("siren", "\ue007")
    browser.says(".found", "every first Thursday")
    browser.click(".found li button")
    browser.find("dialog[open] .box")
    browser.click("dialog [data-local=close]")
    browser.click("[data-value='1/tariffs-and-billing.html']")
    browser.says("dialog figcaption", "pages of html files cannot be shown")
