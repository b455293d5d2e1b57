"""`ullage doctor`: what is wrong with this machine or with some files, why, and what to do next."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

import typer
from typer.core import TyperGroup

from ullage.cli.invocation import invocation
from ullage.cli.output import JSON_HELP, err, print_json
from ullage.errors import InvalidRequest, NotFound, SettingsError, UllageError

if TYPE_CHECKING:
    from ullage.devices import Machine
    from ullage.doctor import Diagnosis, Language
    from ullage.doctor.catalog import Catalog
    from ullage.doctor.this_machine import Running, Seen
    from ullage.settings import Settings

WARNINGS_CODE = 10
ERRORS_CODE = 11
LOOK = "look"

Format = Literal["text", "markdown", "json"]

FILES_HELP = "compose, env or Helm values files, logs, reports; without any this machine is looked at"
SIGNATURES_HELP = "a folder of YAML files with signatures of your own"
MACHINE_HELP = "the machine that the files are for: a device file or a shipped example"
FORMAT_HELP = "text, markdown (in the shape of an incident's report) or json"

Files = Annotated[list[Path] | None, typer.Argument(metavar="FILE...", help=FILES_HELP)]
Lang = Annotated[str, typer.Option("--lang", help="en or de")]
Signatures = Annotated[Path | None, typer.Option("--signatures", metavar="DIR", help=SIGNATURES_HELP)]
DeviceFile = Annotated[str | None, typer.Option("--device-file", help=MACHINE_HELP)]


class _Group(TyperGroup):
    """`ullage doctor FILE...` is `ullage doctor look FILE...`; a file named like a command is written ./bundle."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        named = bool(args) and (args[0] in self.commands or args[0] == "--help")
        return super().parse_args(ctx, args if named else [LOOK, *args])


app = typer.Typer(cls=_Group, rich_markup_mode=None, help="What is wrong here, or in the files that are given (`ullage "
                  "doctor FILE...` is `ullage doctor look FILE...`), why, and what to do. Exit code 0: nothing above a "
                  "note, 10: warnings, 11: errors.")


@app.command(LOOK)
def look(
    context: typer.Context,
    files: Files = None,
    lang: Lang = "en",
    form: Annotated[str, typer.Option("--format", help=FORMAT_HELP)] = "text",
    as_json: Annotated[bool, typer.Option("--json", help=JSON_HELP)] = False,
    signatures: Signatures = None,
    device_file: DeviceFile = None,
    explain: Annotated[str | None, typer.Option("--explain", metavar="ID", help="say more about one finding")] = None,
) -> None:
    """Findings ranked by cause: this machine's, or those of files, which are only read."""
    from ullage.doctor.report import as_json as report_json
    from ullage.doctor.report import as_markdown, as_text

    language, how = _language(lang), _format("json" if as_json else form)
    catalog = _catalog(signatures)
    if explain is not None:
        _explain(explain, catalog, language, as_json=how == "json")
        return
    diagnosis, subject = _diagnosis(context, files or [], catalog, device_file)
    if how == "json":
        print_json(report_json(diagnosis))
    else:
        print(as_markdown(diagnosis, language, subject) if how == "markdown" else as_text(diagnosis, language), end="")
    raise typer.Exit({"error": ERRORS_CODE, "warning": WARNINGS_CODE}.get(diagnosis.severity or "", 0))


@app.command()
def bundle(
    context: typer.Context,
    files: Files = None,
    out: Annotated[Path | None, typer.Option("--out", help="the archive; else ullage-doctor-TIME.tar.gz here")] = None,
    lang: Lang = "en",
    signatures: Signatures = None,
    device_file: DeviceFile = None,
) -> None:
    """A support archive: report, machine and the given files (else our services' logs), all of it redacted."""
    from ullage.devices import machine_as_dict
    from ullage.doctor.bundle import write_bundle

    language, catalog = _language(lang), _catalog(signatures)
    target = out or Path(time.strftime("ullage-doctor-%Y%m%d-%H%M%S.tar.gz"))
    seen = _seen(context)
    diagnosis, _ = _diagnosis(context, files or [], catalog, device_file, seen=seen)
    logs = [Path(one.log) for one, _ in seen.running or () if one.log and Path(one.log).is_file()]
    facts = {**machine_as_dict(seen.machine), "driver": seen.driver.version, "cuda": seen.driver.cuda,
             "settings": _origins(context)}
    inside = write_bundle(target, diagnosis, language, files or logs, facts)
    print(f"{target}: {', '.join(inside)}")


@app.command()
def migrate(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="the blueprint's compose and env files")],
    out: Annotated[Path, typer.Option("--out", help="the folder to write into; it must be empty or not exist")],
    device_file: DeviceFile = None,
    lang: Lang = "en",
) -> None:
    """Write our compose and env file in place of the blueprint's, and say what was taken over, dropped, and why."""
    from ullage.doctor.migrate import migration, write

    language = _language(lang)
    made = migration(files, _machine(device_file))
    written = write(made, out, language)
    print(made.report(language), end="")
    err().print(f"written: {', '.join(str(path) for path in written)}", markup=False)


def _language(text: str) -> Language:
    from ullage.doctor import LANGUAGES

    for language in LANGUAGES:
        if text.lower() == language:
            return language
    raise InvalidRequest(f"--lang {text}: there are {', '.join(LANGUAGES)}")


def _format(text: str) -> Format:
    for form in get_args(Format):
        if text.lower() == form:
            return form  # type: ignore[no-any-return]
    raise InvalidRequest(f"--format {text}: there are {', '.join(get_args(Format))}")


def _catalog(own: Path | None) -> Catalog:
    from ullage.doctor.catalog import catalog

    return catalog(own)


def _explain(id_: str, catalog: Catalog, language: Language, *, as_json: bool) -> None:
    import difflib

    from ullage.doctor.report import explained

    entry = catalog.entry(id_)
    if entry is None:
        near = difflib.get_close_matches(id_, catalog.ids, n=1, cutoff=0.5)
        raise NotFound(f"no finding is called {id_}" + (f": did you mean {near[0]}?" if near else
                       ": `ullage doctor` shows the id of each in brackets"))
    print_json(entry.model_dump()) if as_json else print(explained(entry, catalog, language), end="")


def _diagnosis(context: typer.Context, files: list[Path], catalog: Catalog, device_file: str | None,
               seen: Seen | None = None) -> tuple[Diagnosis, str]:
    """(findings, of what): of the files where there are some, else of this machine."""
    from ullage.doctor import examine
    from ullage.doctor.machine_checks import machine_diagnosis

    if not files:
        if device_file is not None:
            raise SettingsError(f"--device-file {device_file} says what machine files are for: give files too")
        return machine_diagnosis(seen or _seen(context), catalog.checks), ""
    return examine(files, catalog, _machine(device_file)), ", ".join(path.name for path in files)


def _machine(device_file: str | None) -> Machine | None:
    if device_file is None:
        return None
    from ullage.devices import find_machine

    return find_machine(device_file)


def _seen(context: typer.Context) -> Seen:
    from ullage.doctor.this_machine import look as look_around
    from ullage.stack.place import place

    settings = invocation(context).load().settings
    running = _running(settings)
    fault = ""
    if running is None:
        # Beside a stack that runs, a plan would count that stack's memory as somebody else's.
        try:
            place(settings)
        except UllageError as error:
            fault = error.message
    return look_around(settings, running, fault)


def _running(settings: Settings) -> list[Running] | None:
    from ullage.doctor.this_machine import Running
    from ullage.settings.model import bracketed, reachable
    from ullage.stack.state import read_record
    from ullage.stack.status import stack_status

    found = asyncio.run(stack_status(settings.state_dir))
    if not found.running:
        return None
    record = read_record(settings.state_dir)
    certs = {one.service: one.cert for one in record.services} if record else {}
    return [Running(one.service, f"{'https' if certs.get(one.service) else 'http'}://"
                    f"{bracketed(reachable(one.host))}:{one.port}", one.service == "vectors", one.predicted_bytes,
                    one.resident_bytes, one.restarts, one.reason, one.log, certs.get(one.service))
            for one in found.services]


def _origins(context: typer.Context) -> dict[str, str]:
    """Where each setting that is not the default came from; its value may be a secret and stays away."""
    with contextlib.suppress(UllageError):
        return {name: origin for name, origin in invocation(context).load().origins.items() if origin != "default"}
    return {}
