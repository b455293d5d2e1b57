"""What the machine has: processor, memory and its limits, GPUs, disk."""

from ullage.devices.machine import Gpu, Machine, detect, rss_bytes

__all__ = ["Gpu", "Machine", "detect", "rss_bytes"]
