"""Measure what is claimed: retrieval quality on public collections, answers on the sample questions."""
