"""The words of a report around its findings."""

from __future__ import annotations

from ullage.doctor.finding import Severity
from ullage.doctor.text import Text

TITLE = Text("Diagnostic summary", "Diagnose")
ENVIRONMENT = Text("Environment", "Umgebung")
WORKS = Text("What works", "Was funktioniert")
PROBLEM = Text("Problem", "Problem")
OBSERVATIONS = Text("Observations", "Beobachtungen")
CAUSES = Text("Causes", "Ursachen")
NEXT_STEPS = Text("Next steps", "Nächste Schritte")
COMMANDS = Text("Commands to run", "Auszuführende Befehle")

NOTHING_WRONG = Text("Nothing is wrong, as far as can be seen.", "Soweit zu sehen, ist nichts falsch.")
NOTHING_KNOWN = Text("Nothing is told of it.", "Darüber ist nichts bekannt.")
NONE = Text("none", "keine")
SYMPTOMS = Text("symptoms of it", "Symptome davon")
SYMPTOM = Text("symptom", "Symptom")
SOURCE = Text("source", "Quelle")
CAUSE = Text("cause", "Ursache")
REMEDY = Text("remedy", "Abhilfe")
EVIDENCE = Text("evidence", "Beleg")
SEEN = Text("seen {count} times", "{count}-mal gesehen")
AND_MORE = Text("and {count} more", "und {count} weitere")
EXPLAINS = Text("explains", "erklärt")
PATTERNS = Text("found by", "erkannt an")
FOUND = Text("{errors} errors, {warnings} warnings, {infos} notes",
             "{errors} Fehler, {warnings} Warnungen, {infos} Hinweise")

SEVERITY: dict[Severity, Text] = {
    "error": Text("error", "Fehler"), "warning": Text("warning", "Warnung"), "info": Text("note", "Hinweis"),
}
