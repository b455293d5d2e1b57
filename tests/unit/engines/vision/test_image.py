"""Pictures are bounded before they are unpacked, and refused in one line."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from pictures import bomb, page, saved
from ullage.engines.vision.image import LONGEST_SIDE, decode
from ullage.errors import InvalidRequest, TooLarge, UllageError

MOST = 1_000_000


def test_png_and_jpeg_are_blue_green_red():
    picture = Image.new("RGB", (8, 6), (250, 120, 10))
    assert decode(saved(picture), max_pixels=MOST)[0, 0].tolist() == [10, 120, 250]
    assert np.allclose(decode(saved(picture, "JPEG"), max_pixels=MOST)[0, 0], [10, 120, 250], atol=6)


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "RGBA", "LA", "I;16"])
def test_every_kind_of_pixel_becomes_three_bytes(mode):
    picture = Image.new("L", (8, 6), 255).convert("I;16").point(lambda v: v * 257) if mode == "I;16" else Image.new(
        mode, (8, 6), "white" if mode != "P" else 0)
    kind = "JPEG" if mode == "CMYK" else "PNG"
    found = decode(saved(picture, kind), max_pixels=MOST)
    assert found.shape == (6, 8, 3)
    assert found.dtype == np.uint8


def test_what_is_transparent_is_white():
    clear = Image.new("RGBA", (8, 6), (0, 0, 0, 0))
    clear.putpixel((0, 0), (0, 0, 255, 255))
    found = decode(saved(clear), max_pixels=MOST)
    assert found[0, 0].tolist() == [255, 0, 0]
    assert (found[1:] == 255).all()


@pytest.mark.parametrize(("data", "said"), [
    (b"", "0 bytes are no PNG or JPEG"),
    (b"%PDF-1.7 ...", "a PDF"),
    (b"GIF89a" + bytes(40), "a GIF"),
    (b"RIFF\0\0\0\0WEBPVP8 ", "a WebP"),
    (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "markup"),
    (b"\x1f\x8b" + bytes(30), "gzip"),
    (b"\x89PNG\r\n\x1a\n", "cannot be read|no PNG or JPEG"),
])
def test_what_is_no_picture_is_refused_by_what_it_looks_like(data, said):
    with pytest.raises(InvalidRequest, match=said) as refused:
        decode(data, max_pixels=MOST)
    assert "\n" not in refused.value.message


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.9])
def test_a_picture_cut_short_is_refused(kind, share):
    whole = saved(page(), kind)
    with pytest.raises(InvalidRequest, match=r"cannot be read to its end|no PNG or JPEG"):
        decode(whole[: int(len(whole) * share)], max_pixels=MOST)


def test_a_bomb_is_refused_before_it_is_unpacked():
    small = bomb(30_000, 30_000 // 25)  # 36 million pixels in a few kilobytes
    assert len(small) < 100_000
    with pytest.raises(TooLarge, match=r"over 1000000 pixels in all \(vision_max_pixels\)"):
        decode(bomb(30_000, 30_000, rows=1), max_pixels=MOST)
    tracemalloc.start()
    with pytest.raises(TooLarge, match="30000 x 1200 pixels is over 1000000"):
        decode(small, max_pixels=MOST)
    assert tracemalloc.get_traced_memory()[1] < 2 << 20
    tracemalloc.stop()


def test_a_side_may_not_be_endless():
    with pytest.raises(TooLarge, match=f"over {LONGEST_SIDE} on a side"):
        decode(saved(Image.new("L", (LONGEST_SIDE + 1, 8))), max_pixels=MOST)
    with pytest.raises(InvalidRequest, match="2 x 300 pixels shows nothing"):
        decode(saved(Image.new("L", (2, 300))), max_pixels=MOST)


@given(st.binary(max_size=300), st.sampled_from([b"", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"\xff\xd8\xff\xe0"]))
def test_rubbish_never_raises_anything_else(rubbish, head):
    with pytest.raises(UllageError):
        decode(head + rubbish, max_pixels=MOST)
