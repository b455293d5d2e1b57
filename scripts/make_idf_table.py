"""Count how rare English terms are, over free documentation: makes src/ullage/models/data/idf-en.tsv.gz.

    python scripts/make_idf_table.py [--folder DIR]

Runs on Debian with apt-get and dpkg-deb, downloads about 1.1 GB into DIR (default: a temporary folder; packages found
there are not fetched again). Only packages of Debian's main section count, which are free by its guidelines. A table
holds counts, no text. The same packages give the same bytes; the versions used are written to idf-en.sources.tsv.

A passage is 180 running words of one file. A package counts for at most 2500 passages, so that no manual sets the
vocabulary alone; a dictionary, the broadest text there is, for at most 10000. Test collections of information
retrieval are not among the sources.
"""

from __future__ import annotations

import argparse
import bz2
import gzip
import hashlib
import html
import lzma
import math
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "src"))

from ullage.models.lexical import IDF_FILE, STOP_WORDS, analyze  # noqa: E402

DATA = ROOT / "src" / "ullage" / "models" / "data"
SOURCES_FILE = "idf-en.sources.tsv"

PACKAGES = """
anarchism dict-devil dict-elements dict-foldoc dict-gcide dict-jargon dict-wn fortunes miscfiles
debian-history gnucash-docs gnome-user-docs gimp-help-en libreoffice-help-en-us inkscape scribus-data
darktable kmymoney-common lilypond-doc-html gramps homebank-data freedombox-doc-en dia-common lyx-common
labplot-data calibre gnumeric-doc debian-handbook installation-guide-amd64 debian-reference-en debian-faq
debian-policy developers-reference aptitude-doc-en manpages manpages-dev bash-doc git-doc autoconf-doc
perl-doc python3.11-doc postgresql-doc-15 apache2-doc bind9-doc exim4-doc-html postfix-doc shorewall-doc
python-django-doc sqlite3-doc linux-doc-6.1 rust-doc mit-scheme-doc wireshark-doc kstars-data kalzium-data
step gnumed-doc dcmtk-doc gdcm-doc phylip-doc garlic-doc gamgi-doc python-biopython-doc python-cogent-doc
python-nipy-doc python-nibabel-doc python-nipype-doc python-brian-doc ncbi-tools-bin ncbi-data samtools
r-bioc-deseq2 r-cran-epi r-cran-epir r-cran-surveillance r-cran-ape r-cran-phangorn r-cran-vegan r-cran-lme4
r-cran-spatstat r-doc-html octave-doc maxima-doc gnuplot-doc pari-doc singular-doc gap-doc gmsh-doc yade-doc
grass-doc python-scipy-doc python-sklearn-doc python-skimage-doc python-astropy-doc python-statsmodels-doc
python-sympy-doc python-mdanalysis-doc mpb-doc psi4-data gromacs-data kicad-doc-en ngspice-doc
geographiclib-doc gri-html-doc fityk libigraph-doc freeciv-data nethack-common wsjtx-doc sumo-doc
""".split()

PASSAGE_WORDS = 180
SHORTEST_PASSAGE_WORDS = 60
PASSAGES_PER_PACKAGE = 2500
PASSAGES_PER_DICTIONARY = 10_000
DICTIONARIES = {"dict-gcide", "dict-wn", "dict-foldoc"}
PASSAGES_PER_FILE = 40
LARGEST_FILE_BYTES = 64 << 20
LEAST_STOP_WORDS = 0.15  # share of the words: below it, text is not English prose
LEAST_LETTERS = 0.75  # share of the words that are only letters
LARGEST_TABLE_BYTES = 250_000
LONGEST_TERM = 24
COMMON = 50  # passages

UNPACK = {".gz": gzip.decompress, ".dz": gzip.decompress, ".bz2": bz2.decompress, ".xz": lzma.decompress}
MARKUP = {".html", ".htm", ".xhtml", ".docbook", ".page", ".xml", ".shtml"}
PLAIN = {".txt", ".text", ".rst", ".md", ".rmd", ".info", ".dict", ".texi", ".tex", ".rnw", ".ruleset", ""}
MANUAL_PAGE = re.compile(r"/man/man\d/")
SKIPPED = re.compile(r"/_sources/|/locale/|/(changelog|copyright|NEWS|search\w*\.|genindex|\w*index-\w)", re.IGNORECASE)

UNSEEN_MARKUP = re.compile(rb"<(script|style|nav|pre|head|code|programlisting|screen)\b.*?</\1\s*>", re.DOTALL | re.I)
TAG = re.compile(rb"<!--.*?-->|<[^<>]*>", re.DOTALL)
ROFF = re.compile(r"^[.'].{0,3}\b|^[.']\\\".*$|\\f[A-Z(\[]|\\\(..|\\[&|^%,/]|\\s[-+]?\d", re.MULTILINE)
WORD = re.compile(r"[A-Za-z']+[,.;:)?!\"]*$|\(?[A-Za-z']+\)?$")


@dataclass(frozen=True)
class Source:
    """What one package gave: document frequencies over `passages` passages."""

    package: str
    version: str
    passages: int
    frequencies: Counter[str]


def fetch(folder: Path) -> list[Path]:
    """Package files in the order of PACKAGES; downloads those that are not in `folder`."""
    missing = [name for name in PACKAGES if not list(folder.glob(f"{name}_*.deb"))]
    if missing:
        subprocess.run(["apt-get", "download", *missing], cwd=folder, check=True)
    return [sorted(folder.glob(f"{name}_*.deb"))[-1] for name in PACKAGES]


def count(archive: Path) -> Source:
    """Unpack one package and count its passages. Raises ValueError if it is not in Debian main."""
    shown = subprocess.run(
        ["dpkg-deb", "--show", "--showformat=${Package}\t${Version}\t${Section}", archive],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    package, version, section = shown.split("\t")
    if "/" in section:
        raise ValueError(f"{package} is in {section}, not in Debian main")
    most = PASSAGES_PER_DICTIONARY if package in DICTIONARIES else PASSAGES_PER_PACKAGE
    frequencies: Counter[str] = Counter()
    seen: set[frozenset[str]] = set()
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["dpkg-deb", "--extract", archive, folder], check=True)
        for passage in passages_of_package(Path(folder), most):
            terms = frozenset(analyze(passage))
            if terms not in seen:
                seen.add(terms)
                frequencies.update(terms)
            if len(seen) == most:
                break
    return Source(package, version, len(seen), frequencies)


def passages_of_package(folder: Path, most: int) -> Iterator[str]:
    """Passages of all readable files, files in an order that depends on their names alone.

    Files share out twice `most` among them: some passages are turned down as repeats.
    """
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink() and readable(path, folder)]
    files.sort(key=lambda path: hashlib.sha256(str(path.relative_to(folder)).encode()).digest())
    share = max(PASSAGES_PER_FILE, math.ceil(2 * most / max(1, len(files))))
    for path in files:
        found = list(passages_of_text(text_of(path)))
        step = max(1.0, len(found) / share)
        yield from (found[int(i * step)] for i in range(min(len(found), share)))


def readable(path: Path, folder: Path) -> bool:
    name = "/" + str(path.relative_to(folder))
    suffix = suffix_of(path)
    if SKIPPED.search(name) or path.stat().st_size > LARGEST_FILE_BYTES:
        return False
    return bool(suffix in MARKUP | PLAIN or suffix.startswith(".info") or MANUAL_PAGE.search(name))


def suffix_of(path: Path) -> str:
    """Suffix that tells the format, in lower case, that of the compression left out."""
    return (path.with_suffix("") if path.suffix in UNPACK else path).suffix.lower()


def text_of(path: Path) -> str:
    """Readable text of one file; empty if it is not text."""
    content = path.read_bytes()
    try:
        content = UNPACK.get(path.suffix, bytes)(content)
    except (OSError, EOFError, lzma.LZMAError):
        return ""
    if b"\0" in content[:4096]:
        return ""
    if suffix_of(path) in MARKUP:
        content = TAG.sub(b" ", UNSEEN_MARKUP.sub(b" ", content))
    text = content.decode("utf-8", errors="replace")
    if suffix_of(path) in MARKUP:
        return html.unescape(text)
    return ROFF.sub(" ", text) if MANUAL_PAGE.search(str(path)) else text


def passages_of_text(text: str) -> Iterator[str]:
    found = text.split()
    for start in range(0, len(found), PASSAGE_WORDS):
        window = found[start : start + PASSAGE_WORDS]
        if len(window) >= SHORTEST_PASSAGE_WORDS and is_english_prose(window):
            yield " ".join(window)


def is_english_prose(window: list[str]) -> bool:
    letters = sum(1 for word in window if WORD.match(word))
    stops = sum(1 for word in window if word.lower() in STOP_WORDS)
    return letters >= LEAST_LETTERS * len(window) and stops >= LEAST_STOP_WORDS * len(window)


def kept_terms(frequencies: Counter[str]) -> Counter[str]:
    """Terms worth a line: words; numbers, codes and foreign letters only where they are common."""
    return Counter(
        {
            term: df
            for term, df in frequencies.items()
            if len(term) <= LONGEST_TERM and term.isalnum() and (df >= COMMON or (term.isascii() and term.isalpha()))
        }
    )


def table(frequencies: Counter[str], passages: int, least: int) -> bytes:
    """File content: comments, then a line `df<TAB>terms` for each df of at least `least`. Same input, same bytes."""
    by_df: dict[int, list[str]] = {}
    for term, df in frequencies.items():
        if df >= least:
            by_df.setdefault(df, []).append(term)
    lines = [
        "# Document frequencies of English stems (ullage.models.lexical.analyze); made by scripts/make_idf_table.py",
        f"# sources: {SOURCES_FILE}",
        f"# passages: {passages}",
        f"# least df: {least}",
    ]
    lines += [f"{df}\t{' '.join(sorted(by_df[df]))}" for df in sorted(by_df, reverse=True)]
    return gzip.compress("".join(line + "\n" for line in lines).encode(), compresslevel=9, mtime=0)


def largest_table(frequencies: Counter[str], passages: int) -> bytes:
    """The table with the smallest least df whose file is not larger than LARGEST_TABLE_BYTES."""
    for least in range(2, passages):
        content = table(frequencies, passages, least)
        if len(content) <= LARGEST_TABLE_BYTES:
            return content
    raise ValueError("no table is small enough")


def main() -> None:
    parser = argparse.ArgumentParser(description="Make the table of document frequencies.")
    parser.add_argument("--folder", type=Path, help="where packages are kept (default: a temporary folder)")
    parser.add_argument("--out", type=Path, default=DATA, help="where the table goes")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary, ProcessPoolExecutor() as pool:
        folder = arguments.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        sources = []
        for source in pool.map(count, fetch(folder)):
            sources.append(source)
            print(f"{source.passages:6} passages  {source.package} {source.version}", flush=True)
    frequencies: Counter[str] = Counter()
    for source in sources:
        frequencies.update(source.frequencies)
    passages = sum(source.passages for source in sources)
    content = largest_table(kept_terms(frequencies), passages)
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / IDF_FILE).write_bytes(content)
    rows = [f"{source.package}\t{source.version}\t{source.passages}\n" for source in sources]
    (arguments.out / SOURCES_FILE).write_text("# Debian package, version, passages counted\n" + "".join(rows))
    print(f"{passages} passages, {len(content)} bytes")


if __name__ == "__main__":
    main()
