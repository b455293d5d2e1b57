"""The RAG server: retrieve, rerank, weigh the evidence, generate, check every sentence, cite."""
