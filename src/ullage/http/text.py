"""Text fields of requests. (pydantic itself refuses text that is not Unicode, such as a lone surrogate.)"""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, StringConstraints


def _not_blank(text: str) -> str:
    if not text.strip():
        raise ValueError("must hold more than white space")
    return text


FilledText = Annotated[str, StringConstraints(min_length=1), AfterValidator(_not_blank)]
"""Unicode text that is not blank."""

AnyText = Annotated[str, StringConstraints(min_length=1)]
"""Unicode text of at least one character. A blank passage among many is no reason to refuse the others."""
