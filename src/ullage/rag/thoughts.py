"""What a reasoning model says aloud: its text without what stands between <think> and </think>."""

from __future__ import annotations

OPEN, CLOSE = "<think>", "</think>"


class Aloud:
    """Fed piece by piece; a tag may be torn between pieces."""

    def __init__(self) -> None:
        self._held = ""
        self._thinking = False

    def hear(self, piece: str) -> str:
        self._held += piece
        said = ""
        while self._held:
            tag = CLOSE if self._thinking else OPEN
            at = self._held.find(tag)
            if at < 0:
                keep = _torn(self._held, tag)
                said += "" if self._thinking else self._held[: len(self._held) - keep]
                self._held = self._held[len(self._held) - keep :]
                break
            said += "" if self._thinking else self._held[:at]
            self._held = self._held[at + len(tag) :]
            self._thinking = not self._thinking
        return said

    def end(self) -> str:
        said, self._held = ("" if self._thinking else self._held), ""
        return said


def _torn(text: str, tag: str) -> int:
    """How many characters at the end of `text` may be the beginning of `tag`."""
    return next((n for n in range(min(len(tag) - 1, len(text)), 0, -1) if tag.startswith(text[-n:])), 0)
