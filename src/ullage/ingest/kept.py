"""What is kept of files: their bytes and the pictures of their pages, as long as somebody needs them."""

from __future__ import annotations

import time

from ullage.store import Ledger, ObjectFolder, PageFolder, VectorStore

KEEP_LOST_S = 7 * 24 * 3600
"""The bytes of failed and cancelled files are kept this long, so that they can be tried again."""


class Kept:
    """Bytes are needed by files that are not finished, and by lost ones for a while; `originals`: by every document of
    a collection too, so that its pages can be shown. Blocking: call it through `asyncio.to_thread`.

    Raises DependencyDown where a store does not answer: then nothing more is removed.
    """

    def __init__(
        self, store: VectorStore, ledger: Ledger, uploads: ObjectFolder, pages: PageFolder, *, originals: bool
    ) -> None:
        self.uploads = uploads
        self.originals = originals
        self._store = store
        self._ledger = ledger
        self._pages = pages

    def forget(self, sha256: str) -> None:
        """Remove these bytes, and the pictures of their pages, unless somebody needs them."""
        if not sha256 or self._awaited(sha256):
            return
        listed = self._listed(sha256)
        if not (listed and self.originals):
            self.uploads.remove(sha256)
        if not listed:
            self._pages.remove(sha256)

    def sweep(self) -> None:
        """Remove all that nobody needs: bytes, and pictures of pages that no collection holds any more.

        Listed in this order, what comes in or is finished meanwhile stays.
        """
        uploads, pages = self.uploads.hashes(), self._pages.hashes()
        wanted = self._ledger.open_hashes()
        wanted |= {document.content_hash for collection in self._store.collections()
                   for document in self._store.documents(collection.name)}
        for sha256 in pages:
            if sha256 not in wanted:
                self._pages.remove(sha256)
        for sha256 in uploads:
            if not self.originals or sha256 not in wanted:
                self.forget(sha256)

    def _awaited(self, sha256: str) -> bool:
        return self._ledger.uses(sha256, time.time() - KEEP_LOST_S) > 0

    def _listed(self, sha256: str) -> bool:
        return any(self._store.with_content(collection.name, sha256) for collection in self._store.collections())
