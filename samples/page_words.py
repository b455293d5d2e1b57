"""What stands on the pages of the page test set: made-up sentences, names and tables in two languages, from a seed."""

from __future__ import annotations

import random

WORDS = {
    "en": {
        "who": "The crew|The harbour master|Our workshop|The night shift|A certified inspector|The purchasing office|"
               "Every branch manager|The control room|The supplier|The safety officer",
        "does": "checks|records|replaces|orders|approves|measures|cleans|reports|compares|stores",
        "what": "the cooling pumps|all fire doors|the delivery notes|the spare filters|two control valves|"
                "the weekly readings|the mooring lines|the lubricating oil|the emergency lamps|the cabin heaters",
        "when": "before every departure|on the first Monday of a month|within 14 days|after 250 operating hours|"
                "as soon as the alarm sounds|once the form is signed|during the winter lay-up|at the end of each shift",
        "why": "because the insurer asks for it|so that faults are found early|unless the weather forbids it|"
               "which has saved 12 per cent of the cost|although the manual says otherwise|and keeps a copy on board",
        "page": "Page", "table": "Table", "figure": "Figure", "title": "Report on the|Notes on the|Plan for the",
    },
    "de": {
        "who": "Die Besatzung|Der Hafenmeister|Unsere Werkstatt|Die Nachtschicht|Ein geprüfter Gutachter|"
               "Die Einkaufsabteilung|Jede Filialleiterin|Die Leitwarte|Der Lieferant|Die Sicherheitsbeauftragte",
        "does": "prüft|erfasst|ersetzt|bestellt|genehmigt|misst|reinigt|meldet|vergleicht|lagert",
        "what": "die Kühlpumpen|alle Brandschutztüren|die Lieferscheine|die Ersatzfilter|zwei Regelventile|"
                "die wöchentlichen Messwerte|die Festmacherleinen|das Schmieröl|die Notleuchten|die Kabinenheizungen",
        "when": "vor jeder Abfahrt|am ersten Montag des Monats|innerhalb von 14 Tagen|nach 250 Betriebsstunden|"
                "sobald der Alarm ertönt|nach Unterschrift des Formulars|während der Winterliegezeit|"
                "am Ende jeder Schicht",
        "why": "weil der Versicherer es verlangt|damit Fehler früh auffallen|sofern das Wetter es zulässt|"
               "was 12 Prozent der Kosten spart|obwohl das Handbuch es anders sagt|und behält eine Kopie an Bord",
        "page": "Seite", "table": "Tabelle", "figure": "Abbildung", "title": "Bericht über|Hinweise für|Plan für",
    },
}
HEADS = {
    "en": ["Item", "Stock", "Unit price", "Supplier", "Checked", "Location", "Remarks"],
    "de": ["Artikel", "Bestand", "Stückpreis", "Lieferant", "Geprüft", "Lagerort", "Bemerkung"],
}
ITEMS = {
    "en": "Impeller|Shaft seal|Oil filter|Fan belt|Gate valve|Fuse 16 A|Gasket DN 50|Brake pad|Lamp E27|Hose clamp|"
          "Bearing 6204|Spark plug|Cable gland|Pressure gauge|Relay 24 V|Non-return valve",
    "de": "Laufrad|Wellendichtung|Ölfilter|Keilriemen|Absperrschieber|Sicherung 16 A|Flachdichtung DN 50|Bremsbelag|"
          "Lampe E27|Schlauchschelle|Kugellager 6204|Zündkerze|Kabelverschraubung|Manometer|Relais 24 V|"
          "Rückschlagklappe",
}
SUPPLIERS = "Norwin GmbH|Bright & Lowe|Hansen AS|Vessby|Okonjo Ltd|Brückner KG|Iverson|Tallmann"
PLACES = {"en": "Shelf A3|Bay 12|Yard|Cage 2|Locker 7", "de": "Regal A3|Halle 12|Hof|Käfig 2|Schrank 7"}
REMARKS = {
    "en": "order in time|out of production|only in pairs|keep dry and dark|see notice 14|",
    "de": "rechtzeitig bestellen|läuft aus|nur paarweise|trocken und dunkel lagern|siehe Merkblatt 14|",
}


class Writer:
    """Sentences and cells in one language from one seed."""

    first_seed = 0

    def __init__(self, seed: int, language: str) -> None:
        self.rng = random.Random(self.first_seed + seed)
        self.language = language

    def one(self, of: str) -> str:
        return self.rng.choice(of.split("|"))

    def sentence(self) -> str:
        words = WORDS[self.language]
        parts = [self.one(words[part]) for part in ("who", "does", "what", "when")]
        if self.rng.random() < 0.6:
            parts.append(self.one(words["why"]))
        # A number of its own, so that no two sentences of a page are alike.
        number = self.rng.randint(100, 9999)
        return f"{' '.join(parts)} ({'No.' if self.language == 'en' else 'Nr.'} {number})."

    def paragraph(self, sentences: int) -> str:
        return " ".join(self.sentence() for _ in range(sentences))

    def title(self) -> str:
        words = WORDS[self.language]
        return f"{self.one(words['title'])} {self.one(words['what']).removeprefix('the ')}"

    def amount(self) -> str:
        value = self.rng.uniform(1, 4000)
        shown = f"{value:,.2f}"
        return shown if self.language == "en" else shown.translate(str.maketrans(",.", ".,"))

    def table(self, rows: int, columns: int) -> list[list[str]]:
        names = self.rng.sample(ITEMS[self.language].split("|"), min(rows, 16))
        body = [self._row(name) for name in names]
        chosen = [0, *sorted(self.rng.sample(range(1, 7), columns - 1))]
        table = [HEADS[self.language], *body]
        return [[row[column] for column in chosen] for row in table]

    def _row(self, name: str) -> list[str]:
        yes = {"en": "yes|no", "de": "ja|nein"}[self.language]
        return [name, str(self.rng.randint(0, 950)), self.amount(), self.one(SUPPLIERS), self.one(yes),
                self.one(PLACES[self.language]), self.one(REMARKS[self.language])]
