"""Frames as a client would send them, legal or not; written apart from the code under test."""

import os
from itertools import cycle

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA


def frame(
    opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, mask: bytes | None = None
) -> bytes:
    """One masked frame with the shortest length."""
    key = os.urandom(4) if mask is None else mask
    masked = bytes(byte ^ key_byte for byte, key_byte in zip(payload, cycle(key), strict=False))
    return header(opcode, len(payload), fin=fin, rsv=rsv) + key + masked


def header(
    opcode: int, length: int, *, fin: bool = True, rsv: int = 0, masked: bool = True, form: int | None = None
) -> bytes:
    """The first bytes of a frame, without the mask. `form` forces 7, 16 or 64 bits of length."""
    first = fin << 7 | rsv << 4 | opcode
    mask_bit = masked << 7
    if form is None:
        form = 7 if length < 126 else 16 if length < 65536 else 64
    if form == 7:
        return bytes((first, mask_bit | length))
    if form == 16:
        return bytes((first, mask_bit | 126)) + length.to_bytes(2, "big")
    return bytes((first, mask_bit | 127)) + length.to_bytes(8, "big")


def fragments(opcode: int, *parts: bytes) -> bytes:
    """One message in as many frames as there are parts."""
    last = len(parts) - 1
    return b"".join(
        frame(opcode if number == 0 else CONTINUATION, part, fin=number == last)
        for number, part in enumerate(parts)
    )


def close_payload(code: int, reason: bytes = b"") -> bytes:
    return code.to_bytes(2, "big") + reason
