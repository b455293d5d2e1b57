"""Explain a stack that does not work: machine, compose and env files, logs -> findings -> report."""

from ullage.doctor.examine import Examination, examine
from ullage.doctor.finding import Diagnosis, Evidence, Finding, Severity
from ullage.doctor.text import LANGUAGES, Language

__all__ = ["LANGUAGES", "Diagnosis", "Evidence", "Examination", "Finding", "Language", "Severity", "examine"]
