"""Searching a collection: by meaning (dense), by words (BM25), or both."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import structlog

from ullage.errors import InvalidRequest, SettingsError
from ullage.store.filters import filter_expression
from ullage.store.fusion import RRF_K, FoundRow, by_number, fuse
from ullage.store.lexical import query_weights
from ullage.store.passage import Hit
from ullage.store.rows import Rows
from ullage.store.schema import CHUNK_FIELDS

log = structlog.get_logger("ullage.store")


class Searches(Rows):
    """Filters are in the contract's grammar (`filter_grammar`)."""

    _told_dense = False

    def search_dense(
        self, collection: str, vector: npt.NDArray[np.float32], k: int, *, filter: str = ""
    ) -> list[Hit]:
        """Nearest by cosine; `score` is the cosine. `filter` is in the contract's grammar (`filter_grammar`)."""
        return [hit.read() for hit in self.find_dense(collection, vector, k, filter=filter)]

    def find_dense(
        self, collection: str, vector: npt.NDArray[np.float32], k: int, *, filter: str = ""
    ) -> list[FoundRow]:
        """What `search_dense` gives, not yet read."""
        query = np.asarray(vector, np.float32).reshape(-1)
        return self._search(collection, "dense", query, "COSINE", k, self._expression(collection, filter))

    def search_lexical(self, collection: str, query: str, k: int, *, filter: str = "") -> list[Hit]:
        """Best by shared words; `score` is BM25's. Nothing when the query holds only stop words.

        Those that hold a number or name the query asks for have a rank among themselves too (`by_number`).
        Raises SettingsError where the database cannot do it.
        """
        return [hit.read() for hit in self.find_lexical(collection, query, k, filter=filter)]

    def find_lexical(self, collection: str, query: str, k: int, *, filter: str = "") -> list[FoundRow]:
        """What `search_lexical` gives, not yet read."""
        able = self.abilities()
        if not able.sparse:
            raise SettingsError(able.without_words(self.uri))
        weights = query_weights(query)
        wanted = self._expression(collection, filter)
        return by_number(query, self._search(collection, "lexical", weights, "IP", k, wanted)) if weights else []

    def search_hybrid(
        self,
        collection: str,
        query: str,
        vector: npt.NDArray[np.float32],
        k: int,
        *,
        rrf: int = RRF_K,
        filter: str = "",
    ) -> list[Hit]:
        """Both searches fused by reciprocal rank; `score` is the sum of 1 / (rrf + rank).

        Where the database has no lexical search the dense one counts alone; the log says so once.
        """
        found = self.find_dense(collection, vector, k, filter=filter)
        able = self.abilities()
        if able.sparse:
            found += self.find_lexical(collection, query, k, filter=filter)
        elif not self._told_dense:
            self._told_dense = True
            log.warning(able.without_words(self.uri))
        return [hit.read() for hit in fuse(found, k, rrf)]

    def _expression(self, collection: str, filter: str) -> str:
        """Raises InvalidRequest with the place of the fault."""
        return filter_expression(filter, self.schema(collection)) if filter.strip() else ""

    def _search(self, collection: str, kind: str, query: Any, metric: str, k: int, wanted: str) -> list[FoundRow]:
        try:
            found = self._call(
                collection,
                lambda c: c.search(
                    collection,
                    data=[query],
                    filter=wanted,
                    anns_field="dense" if kind == "dense" else "sparse",
                    limit=k,
                    search_params={"metric_type": metric},
                    output_fields=CHUNK_FIELDS,
                    timeout=self._timeout_s,
                    **self._sight,
                ),
            )[0]
        except InvalidRequest:
            record = self.collection(collection)
            if kind == "dense" and record.dimension != len(query):
                raise SettingsError(f"Collection {collection} holds vectors of {record.dimension} dimensions made by "
                                    f"{record.embedder}, the query has {len(query)}: set embedding_model to that "
                                    "embedder, or ingest again") from None
            if kind == "lexical" and not record.lexical:
                raise SettingsError(f"Collection {collection} was made by a database without sparse vectors: export "
                                    "it and import it under another name to search it by words") from None
            raise
        return [
            FoundRow(key, score, {kind: rank}, item["entity"])
            for rank, (key, score, item) in enumerate(zip(found.ids, found.distances, found, strict=True), start=1)
        ]
