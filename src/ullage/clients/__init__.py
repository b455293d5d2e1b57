"""How one service calls another over the wire."""

from ullage.clients.embedding import EmbedderInfo, EmbeddingClient

__all__ = ["EmbedderInfo", "EmbeddingClient"]
