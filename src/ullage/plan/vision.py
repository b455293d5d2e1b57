"""Predicted resident memory of the vision process on a CPU.

All models share one arena, which takes the activations of the one that needs most; the detector's grow with the pixels
it is given. Every constant was measured with the versions in constraints.txt.
"""

from __future__ import annotations

from ullage.models.card import Card
from ullage.plan.footprint import SERVER_BYTES
from ullage.plan.profile import Ledger, Profile
from ullage.settings import Settings

MIB = 1 << 20

DETECTOR_PIXELS = (1_100_000, 800_000, 500_000)
"""Largest inputs of the text detector, best first. An A4 page of 1,100,000 pixels has 106 dpi: letters of 10 points are
15 pixels high. Below 500,000 small print is lost."""

LIBRARIES_BYTES = 24 * MIB
"""OpenCV and Pillow, as far as they are touched."""

WEIGHTS_SHARE = 1.35
"""Resident bytes for each byte of the files: convolutions are stored a second time in blocks."""

BYTES_PER_PIXEL = 270
"""Activations of the text detector: 213 to 217 for 0.4 to 1.7 million pixels in an arena of its own, and a quarter more
for what lines of text leave in pieces."""

LEAST_ARENA_BYTES = 96 * MIB
"""The layout model takes 67 MiB, a longest line of text 47, the table model 43."""

PICTURE_BYTES = 10
"""For one pixel of the picture that is unpacked: twice four bytes of one with a transparent channel, then three bytes
each as it came, without its grain, and turned. Measured: 9.1 for a transparent picture of 17.6 million pixels."""

BODIES_BYTES = 48 * MIB
"""Requests in flight, as text and as files."""


def vision_profiles() -> list[Profile]:
    return [Profile("cpu", "fp32", 1, 1, pixels=pixels) for pixels in DETECTOR_PIXELS]


def arena_bytes(profile: Profile) -> int:
    """The bound of the arena."""
    return max(LEAST_ARENA_BYTES, profile.pixels * BYTES_PER_PIXEL)


def vision_ledger(card: Card, profile: Profile, settings: Settings) -> Ledger:
    """`card` has no other files than the tasks of this process need."""
    return Ledger(
        fixed=SERVER_BYTES + LIBRARIES_BYTES,
        weights=int(card.weights_bytes * WEIGHTS_SHARE),
        activations=arena_bytes(profile) + settings.vision_max_pixels * PICTURE_BYTES,
        slack=BODIES_BYTES,
    )
