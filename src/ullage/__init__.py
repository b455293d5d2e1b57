"""ullage: a RAG stack whose models are fitted into a stated number of bytes before they are loaded."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ullage.version import __version__

if TYPE_CHECKING:
    from ullage.serve.embedding.embedder import Embedder
    from ullage.serve.ranking.reranker import Ranked, Reranker

__all__ = ["Embedder", "Ranked", "Reranker", "__version__"]


def __getattr__(name: str) -> Any:
    """Load the in-process services on first use, so that `import ullage` stays cheap."""
    if name in ("Reranker", "Ranked"):
        from ullage.serve.ranking import reranker

        return getattr(reranker, name)
    if name == "Embedder":
        from ullage.serve.embedding.embedder import Embedder

        return Embedder
    raise AttributeError(f"module 'ullage' has no attribute {name!r}")
