"""Typed settings, where each value came from, and the refusal of what nobody would honour."""

from ullage.settings.load import Effective, load
from ullage.settings.model import ALL_SERVICES, LOOPBACK, SERVICES, VISION_TASKS, Service, Settings, VisionTask

__all__ = ["ALL_SERVICES", "LOOPBACK", "SERVICES", "VISION_TASKS", "Effective", "Service", "Settings", "VisionTask",
           "load"]
