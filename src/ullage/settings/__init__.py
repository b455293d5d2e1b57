"""Typed settings, where each value came from, and the refusal of what nobody would honour."""

from ullage.settings.load import Effective, load
from ullage.settings.model import SERVICES, Service, Settings

__all__ = ["SERVICES", "Effective", "Service", "Settings", "load"]
