"""Files that the clients send each other, made here so that every byte is known, and what the bytes of a picture say of it."""

import struct
import zlib
from dataclasses import dataclass

# Pixels of the two pictures: larger than any thumbnail that is asked for.
PNG_SIZE = (900, 700)
GIF_SIZE = (400, 300)
GIF_FRAMES = 3


@dataclass
class Sample:
    """A file as its sender has it."""

    name: str
    content_type: str
    content: bytes
    kind: str  # its `msgtype`
    size: tuple[int, int] | None = None

    def event(self, uri: str) -> dict:
        info = {"mimetype": self.content_type, "size": len(self.content)}
        if self.size:
            info |= {"w": self.size[0], "h": self.size[1]}
        return {"msgtype": self.kind, "body": self.name, "url": uri, "info": info}


@dataclass
class Fetched:
    """A file as it came from the server."""

    name: str | None
    content_type: str
    content: bytes


def samples() -> list[Sample]:
    return [
        Sample("evening sky.png", "image/png", png(*PNG_SIZE), "m.image", PNG_SIZE),
        Sample("Übersicht – план 計画.pdf", "application/pdf", PDF, "m.file"),
        Sample("dance.gif", "image/gif", gif(*GIF_SIZE, GIF_FRAMES), "m.image", GIF_SIZE),
    ]


PDF = b"""%PDF-1.4
1 0 obj
<< /Type /Catalog /Pages 2 0 R >>
endobj
2 0 obj
<< /Type /Pages /Kids [3 0 R] /Count 1 >>
endobj
3 0 obj
<< /Type /Page /Parent 2 0 R /MediaBox [0 0 72 72] >>
endobj
trailer
<< /Root 1 0 R >>
%%EOF
""" + bytes(range(256))


def png(width: int, height: int) -> bytes:
    """A PNG with a gradient."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    rows = bytearray()
    for y in range(height):
        rows.append(0)  # no filter
        for x in range(width):
            rows += bytes((x * 255 // width, y * 255 // height, 128))
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(rows))) + chunk(b"IEND", b"")


def gif(width: int, height: int, frames: int) -> bytes:
    """A GIF whose frames have one colour each, for ever one after the other."""
    out = bytearray(b"GIF89a" + struct.pack("<HHBBB", width, height, 0xF6, 0, 0))
    for colour in range(128):
        out += bytes((colour * 2, 255 - colour * 2, 60))
    out += b"\x21\xff\x0bNETSCAPE2.0\x03\x01\x00\x00\x00"
    for frame in range(frames):
        out += b"\x21\xf9\x04\x04" + struct.pack("<H", 20) + b"\x00\x00"
        out += b"\x2c" + struct.pack("<HHHHB", 0, 0, width, height, 0) + b"\x07"
        data = uncompressed(bytes([frame * 40 % 128]) * (width * height))
        for at in range(0, len(data), 255):
            block = data[at : at + 255]
            out += bytes([len(block)]) + block
        out += b"\x00"
    return bytes(out) + b"\x3b"


def uncompressed(pixels: bytes) -> bytes:
    """Codes of LZW that never grow beyond a byte, for the table is cleared in time."""
    out = bytearray()
    for at in range(0, len(pixels), 126):
        out.append(0x80)  # clear
        out += pixels[at : at + 126]
    return bytes(out) + b"\x81"  # the end


def picture(content: bytes) -> tuple[str, int, int]:
    """Type, width and height by the first bytes of a picture."""
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return ("image/png", *struct.unpack(">II", content[16:24]))
    if content.startswith(b"GIF8"):
        return ("image/gif", *struct.unpack("<HH", content[6:10]))
    assert content.startswith(b"\xff\xd8"), f"neither PNG nor GIF nor JPEG: {content[:16]!r}"
    at = 2
    while at + 9 < len(content):
        marker, length = struct.unpack(">HH", content[at : at + 4])
        if 0xFFC0 <= marker <= 0xFFC2:
            height, width = struct.unpack(">HH", content[at + 5 : at + 9])
            return "image/jpeg", width, height
        at += 2 + length
    raise AssertionError("a JPEG without a frame")


def frames_of(content: bytes) -> int:
    """How many pictures a GIF holds: each begins with a control block of four bytes."""
    return content.count(b"\x21\xf9\x04")
