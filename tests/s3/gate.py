"""A gate between the server and the object store that can be shut, lie, or break what passes."""

import asyncio
import contextlib

PIECE = 64 << 10


class Gate:
    """Passes TCP connections on. `mode` says what becomes of them:

    `pass` all is passed on; `shut` connections end at once; `error` each request is answered with 500; `cut` an answer breaks off after
    `cut_after` bytes; `deaf` a request breaks off after `cut_after` bytes.
    """

    def __init__(self, port: int, target: int):
        self.port = port
        self.target = target
        self.mode = "pass"
        self.cut_after = 0
        self.server: asyncio.Server | None = None
        self.open: set[asyncio.StreamWriter] = set()

    async def start(self) -> None:
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)

    def set(self, mode: str, cut_after: int = 0) -> None:
        """From now on; connections that are kept from before end, so that none escapes."""
        self.mode, self.cut_after = mode, cut_after
        for writer in list(self.open):
            writer.transport.abort()

    async def stop(self) -> None:
        self.set("shut")
        if self.server:
            self.server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open.add(writer)
        try:
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                if self.mode == "error":
                    await self._refuse(reader, writer)
                elif self.mode != "shut":
                    await self._pass(reader, writer)
        finally:
            self.open.discard(writer)
            writer.transport.abort()

    async def _refuse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
        lengths = [line.split(":")[1] for line in head.splitlines() if line.startswith("content-length:")]
        await reader.readexactly(int(lengths[0]) if lengths else 0)
        body = b"<Error><Code>InternalError</Code><Message>as asked for</Message></Error>"
        writer.write(b"HTTP/1.1 500 Internal Server Error\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there_reader, there_writer = await asyncio.open_connection("127.0.0.1", self.target)
        self.open.add(there_writer)
        request = self.cut_after if self.mode == "deaf" else None
        answer = self.cut_after if self.mode == "cut" else None
        ways = [
            asyncio.create_task(self._copy(reader, there_writer, request)),
            asyncio.create_task(self._copy(there_reader, writer, answer)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            self.open.discard(there_writer)
            there_writer.transport.abort()

    @staticmethod
    async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, left: int | None) -> None:
        while piece := await reader.read(PIECE):
            if left is not None:
                piece = piece[:left]
                left -= len(piece)
            writer.write(piece)
            await writer.drain()
            if left == 0:
                return
