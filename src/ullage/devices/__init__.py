"""What the machine has: processor, memory and its limits, GPUs, disk; or what a device file says another one has."""

from ullage.devices.device_file import examples, find_machine, machine_as_dict, machine_as_yaml, read_machine
from ullage.devices.driver import confirm_free
from ullage.devices.machine import Disk, Gpu, Holder, Machine
from ullage.devices.memory import peak_rss_bytes, reset_peak, rss_bytes
from ullage.devices.nvml import gpus
from ullage.devices.this_machine import detect

__all__ = [
    "Disk",
    "Gpu",
    "Holder",
    "Machine",
    "confirm_free",
    "detect",
    "examples",
    "find_machine",
    "gpus",
    "machine_as_dict",
    "machine_as_yaml",
    "peak_rss_bytes",
    "read_machine",
    "reset_peak",
    "rss_bytes",
]
