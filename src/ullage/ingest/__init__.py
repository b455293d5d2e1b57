"""The ingestor: files in, passages with vectors in the database."""

from ullage.ingest.chunk import Piece, chunk
from ullage.ingest.document import Block, Document, Page
from ullage.ingest.readers import SUPPORTED, read

__all__ = ["SUPPORTED", "Block", "Document", "Page", "Piece", "chunk", "read"]
