"""The reranker: a query and passages in, one logit a passage out."""
