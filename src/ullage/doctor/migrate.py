"""From the blueprint's compose and env files to ours: what is taken over, kept, dropped, and why.

Nothing is started and the old files are only read. `write` makes a folder with `compose.yaml`, `ullage.env` and
`MIGRATION.md`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ullage.devices import Machine, detect
from ullage.doctor import kinds
from ullage.doctor.migrate_env import Line, Mapped, mapped_settings
from ullage.doctor.migrate_models import Chosen, choose
from ullage.doctor.redact import redacted
from ullage.doctor.settings_files import Service as VendorService
from ullage.doctor.settings_files import compose_services, env_settings
from ullage.doctor.text import Language, Text
from ullage.doctor.vendor import image
from ullage.errors import InvalidRequest
from ullage.plan import Plan
from ullage.plan.profile import mebibytes
from ullage.settings import Service

OURS: dict[str, Service] = {"rerank": "ranking", "embed": "embedding", "llm": "llm", "vllm": "llm", "tei": "embedding",
                            "vision": "vision", "rag": "rag", "ingest": "ingest", "frontend": "web"}
"""Which service of ours takes the place of a family of images."""

KEPT = ("milvus", "etcd", "minio", "seaweedfs")

_DROPPED = {
    "redis": Text("tasks are kept in SQLite and survive a restart",
                  "Aufgaben liegen in SQLite und überleben einen Neustart"),
    "nvingest": Text("ingest reads documents itself, in processes of its own",
                     "ingest liest Dokumente selbst, in eigenen Prozessen"),
    "elasticsearch": Text("vectors are kept in Milvus; ingest the documents again",
                          "Vektoren liegen in Milvus; die Dokumente neu einlesen"),
    "vlm": Text("no vision language model is served here", "ein Bild-Sprach-Modell wird hier nicht bedient"),
    "speech": Text("audio is not read", "Audio wird nicht gelesen"),
    "other": Text("nothing here needs it", "hier braucht es niemand"),
    "": Text("it is not known; start it beside, should it be needed",
             "unbekannt; daneben starten, falls er gebraucht wird"),
}


@dataclass(slots=True)
class Migration:
    """`taken` maps a service of ours to the vendor's that it replaces. `kept` are bodies of services as they were."""

    sources: tuple[Path, ...]
    machine: Machine
    taken: dict[Service, list[VendorService]] = field(default_factory=dict)
    kept: dict[str, Any] = field(default_factory=dict)
    dropped: list[Line] = field(default_factory=list)
    volumes: dict[str, Any] = field(default_factory=dict)
    mapped: Mapped = field(default_factory=Mapped)
    chosen: Chosen | None = None

    @property
    def plan(self) -> Plan:
        if self.chosen is None:
            raise InvalidRequest("nothing was planned yet")
        return self.chosen.plan

    def report(self, language: Language) -> str:
        """Markdown: services, plan, environment, and what was dropped."""
        return redacted("\n".join(_report(self, language))) + "\n"


def migration(paths: Sequence[Path], machine: Machine | None = None) -> Migration:
    """What becomes of a blueprint's files on a machine (this one, when none is given).

    Raises InvalidRequest where there is nothing to take over, DoesNotFit where no plan fits.
    """
    read = [kinds.read(path) for path in paths]
    for one in read:
        if one.fault:
            raise InvalidRequest(f"{one.path} is no YAML (line {one.line}): {redacted(one.fault)}")
    env = {s.name: s.value for one in read if one.kind == "env" for s in env_settings(one.text, one.path.name)}
    found = Migration(tuple(paths), machine or detect())
    for one in read:
        for tree in one.trees if one.kind == "compose" else ():
            _sort(found, compose_services(tree, one.path.name, env), tree, one.path.parent.resolve())
    if not found.taken:
        raise InvalidRequest("no service of the blueprint is in these files: give its compose files, such as nims.yaml "
                             "and docker-compose-rag-server.yaml")
    if not any("milvus" in name for name in found.kept) and {"rag", "ingest"} & {*found.taken}:
        found.taken["vectors"] = []
    found.mapped = mapped_settings(found.taken, env)
    found.chosen = choose(found.taken, found.mapped, found.machine)
    return found


def _sort(found: Migration, services: Sequence[VendorService], tree: Mapping[str, Any], folder: Path) -> None:
    """Each service of a file to what becomes of it. Folders that are kept stay those beside the file."""
    for service in services:
        its = image(service.image)
        text = its.name.rsplit("/", 1)[-1].lower()
        if (ours := OURS.get(its.family)) is not None:
            found.taken.setdefault(ours, []).append(service)
        elif its.family == "milvus" or any(part in text for part in KEPT):
            found.kept[service.name] = _plain(service.raw, folder)
            declared = tree.get("volumes")
            found.volumes |= _plain(declared, folder) if isinstance(declared, dict) else {}
        else:
            kind = next((part for part in ("redis", "elasticsearch") if part in text), its.family)
            found.dropped.append(Line(service.name, _DROPPED.get(kind, _DROPPED[""])))


def _plain(value: Any, folder: Path) -> Any:
    """A tree of strings as YAML would write it; paths that were relative to the old file become absolute."""
    if isinstance(value, Mapping):
        return {str(key): _plain(part, folder) for key, part in value.items()}
    if isinstance(value, list):
        return [_plain(part, folder) for part in value]
    text = str(value).replace(":-./", f":-{folder}/").replace(":-.}", f":-{folder}}}")
    text = f"{folder}/{text[2:]}" if text.startswith("./") else text
    if text in ("true", "false"):
        return text == "true"
    return int(text) if text.isascii() and text.isdigit() and not text.startswith("0") and len(text) < 10 else text


def write(made: Migration, folder: Path, language: Language) -> list[Path]:
    """Write the three files. Raises InvalidRequest when the folder is not empty or cannot be written."""
    from ullage.doctor.migrate_compose import compose_text, env_text

    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise InvalidRequest(f"{folder} is not empty: name another folder with --out")
        texts = {"compose.yaml": compose_text(made, folder), "ullage.env": env_text(made),
                 "MIGRATION.md": made.report(language)}
        for name, text in texts.items():
            (folder / name).write_text(text, encoding="utf-8")
    except OSError as error:
        raise InvalidRequest(f"{folder} cannot be written: {error.strerror}") from None
    return [folder / name for name in texts]


def _report(made: Migration, language: Language) -> Iterator[str]:
    yield from ("# " + Text("Migration", "Umstellung").in_(language), "")
    yield from ("## " + Text("Services", "Dienste").in_(language), "")
    for ours, vendors in made.taken.items():
        names = ", ".join(f"{v.name} ({image(v.image).plain})" for v in vendors)
        came = Text(f"takes the place of {names}", f"tritt an die Stelle von {names}") if vendors else \
            Text("new, for no Milvus was among the files", "neu, denn unter den Dateien war kein Milvus")
        yield f"- {ours}: {came.in_(language)}"
    for name in made.kept:
        yield f"- {name}: " + Text("kept as it is", "bleibt, wie er ist").in_(language)
    for line in made.dropped:
        yield f"- {line.what}: " + Text("dropped: ", "entfällt: ").in_(language) + line.why.in_(language)
    yield from ("", f"## {Text('Plan for', 'Plan für').in_(language)} {made.machine.name}", "")
    for planned in made.plan.services:
        gpu = f" + {mebibytes(planned.gpu_ledger.total)} {planned.where}" if planned.gpu_ledger else ""
        yield f"- {planned.service}: {planned.profile_id}, {mebibytes(planned.ledger.total)}{gpu}"
    for line in made.chosen.notes if made.chosen else ():
        yield f"- {line.what}: {line.why.in_(language)}"
    yield from ("", "## " + Text("Environment that takes effect", "Umgebung, die wirkt").in_(language), "")
    yield from [f"- `{one.said}` ({one.origin}): `{one.setting}={one.value}`" for one in made.mapped.taken] or ["-"]
    yield from ("", "## " + Text("Environment that is not needed", "Umgebung ohne Bedarf").in_(language), "")
    yield from [f"- {note}" for note in made.mapped.holds] or ["-"]
    yield from ("", "## " + Text("Environment that was dropped", "Umgebung, die entfiel").in_(language), "")
    yield from [f"- {fault}" for fault in made.mapped.dropped] or ["-"]
    yield from ("", "## " + Text("Commands to run", "Auszuführende Befehle").in_(language), "", "```bash",
                *_commands(made), "```")


def _commands(made: Migration) -> Iterator[str]:
    env = [path for path in made.sources if kinds.read(path).kind == "env"] if made.kept else []
    compose = "docker compose " + "".join(f"--env-file {path.resolve()} " for path in env) + "-f compose.yaml"
    for setting, model in (made.chosen.models if made.chosen else {}).items():
        yield f"{compose} run --rm --no-deps {setting.removesuffix('_model')} models pull {model}"
    yield f"{compose} up -d --wait"
    yield "ullage doctor compose.yaml ullage.env"
