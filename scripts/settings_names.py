"""Write the table of docs/settings-names.md again: every foreign name and what becomes of it."""

from __future__ import annotations

from pathlib import Path

from ullage.settings.names import table

DOCUMENT = Path(__file__).parents[1] / "docs" / "settings-names.md"

if __name__ == "__main__":
    words = DOCUMENT.read_text(encoding="utf-8").split("| name |")[0]
    DOCUMENT.write_text(words + table(), encoding="utf-8")
