#!/usr/bin/env python3
"""Encrypted chats: two unpatched clients verify each other and write while the server is killed with -9; a new device reads all.

matrix-js-sdk with its Rust crypto runs encrypted.mjs; this program starts, kills and restarts the server, and holds every answer against the
specification's schemas (checker.py). `--long`: 500 messages, ten kills.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
import time
from pathlib import Path

from checker import Checker
from server import Server, free_port

HERE = Path(__file__).resolve().parent
SECONDS_MAX = 1_200
# So many operations of the client-server API are asked at least, or the check of the answers has seen too little.
OPERATIONS_MIN = 20


async def story(server: Server, url: str, messages: int, kills: int, log: Path) -> int:
    node = os.environ.get("HEARTH_TEST_NODE", "node")
    arguments = [url, str(time.time_ns())[-9:], str(messages), str(kills)]
    with log.open("wb") as stderr:
        process = await asyncio.create_subprocess_exec(
            node, str(HERE / "encrypted.mjs"), *arguments, stdout=asyncio.subprocess.PIPE, stderr=stderr
        )
    passed, done = 0, False
    async for raw in process.stdout:
        line = json.loads(raw)
        if "ok" in line:
            passed += 1
            print(f"ok      {line['ok']}", flush=True)
        elif "restart" in line:
            await server.kill()
            await server.start()
        done = done or line.get("done", False)
    status = await process.wait()
    if not done:
        print(f"FAILED  the story ended with {status} after {passed} checks:\n{log.read_text()[-6000:]}", flush=True)
        return 1
    print(f"{passed} checks passed", flush=True)
    return 0


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--long", action="store_true", help="500 messages and ten kills")
    parser.add_argument("--binary", default=os.environ.get("HEARTH_BIN"), help="the server")
    arguments = parser.parse_args()
    if not arguments.binary:
        target = os.environ.get("CARGO_TARGET_DIR", str(Path.home() / ".cache/hearth/target"))
        arguments.binary = f"{target}/release/hearth"
    messages, kills = (500, 10) if arguments.long else (40, 2)
    with tempfile.TemporaryDirectory(prefix="hearth-encrypted-") as folder:
        server = Server(arguments.binary, Path(folder))
        # Everything that the clients ask passes the checker.
        checker = Checker(server.url, free_port())
        await server.start()
        await checker.start()
        try:
            status = await asyncio.wait_for(
                story(server, checker.url, messages, kills, Path(folder) / "clients.log"), SECONDS_MAX
            )
            if status == 0:
                await checker.verdict(OPERATIONS_MIN)
        finally:
            await checker.stop()
            await server.stop()
        if server.panics():
            print(f"FAILED  the server panicked:\n{server.log_end()}")
            return 1
        return status


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
