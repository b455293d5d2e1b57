"""What the machine has: processor, memory and its limits, GPUs, disk."""

from ullage.devices.machine import Disk, Gpu, Holder, Machine, detect, rss_bytes

__all__ = ["Disk", "Gpu", "Holder", "Machine", "detect", "rss_bytes"]
