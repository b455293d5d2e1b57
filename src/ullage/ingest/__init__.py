"""The ingestor: files in, passages with vectors in the database.

Nothing here loads the chunker: a reader's process imports this package and has no room for a tokenizer it never needs.
"""

from ullage.ingest.document import Block, Document, Page
from ullage.ingest.readers import SUPPORTED, read

__all__ = ["SUPPORTED", "Block", "Document", "Page", "read"]
