"""Ingestion in bulk: read, embed and store as stages of Ray Data, over as many machines as the cluster has."""

from __future__ import annotations

from collections.abc import Callable

from ullage.settings import Settings

Prepare = Callable[[Settings], None]
"""Run first in every worker: gives its process the keys to our services."""
