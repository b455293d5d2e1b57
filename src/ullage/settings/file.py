"""The settings file: YAML, one `name: value` a line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from ullage.errors import SettingsError
from ullage.settings.foreign import one_line


class _OneValueEach(yaml.SafeLoader):
    """Refuses a name that is given twice: YAML itself would let the last one win without a word."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key.value, str) and key.value in seen:
                raise yaml.constructor.ConstructorError(None, None, f"{key.value} is given twice", key.start_mark)
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)


def read_file(path: Path) -> dict[str, Any]:
    """The values of a file by name. Raises SettingsError."""
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_OneValueEach)  # noqa: S506 - a safe loader
    except FileNotFoundError:
        raise SettingsError(f"settings file {path} does not exist: give a YAML file of `name: value` lines") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"settings file {path} cannot be read: {error}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark is not None else ""
        problem = getattr(error, "problem", None) or getattr(error, "reason", None) or "not YAML"
        raise _broken(path, where, str(problem)) from None
    except (ValueError, TypeError, RecursionError) as error:
        # YAML reads 2001-99-99 as a date, digits without end as a number, and nests as deep as it is told to.
        raise _broken(path, "", str(error)) from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise SettingsError(f"settings file {path} holds a {type(content).__name__}: write `name: value` lines")
    return {str(name): value for name, value in content.items()}


def _broken(path: Path, where: str, problem: str) -> SettingsError:
    return SettingsError(f"settings file {path}{where}: {one_line(problem)}; write one `name: value` a line")
