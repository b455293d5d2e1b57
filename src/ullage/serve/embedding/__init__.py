"""The embedder: texts in, unit vectors out."""
