"""The real binary under test: started on a free loopback port with a data folder of its own, killed, started again."""

import asyncio
import os
import shlex
import signal
import socket
import urllib.error
import urllib.request
from pathlib import Path

START_SECONDS_MAX = 60


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def settings(port: int, data: Path) -> dict[str, str]:
    """Everything that a test sets; the rest are the defaults that a user gets."""
    return {
        "HEARTH_SERVER_NAME": "localhost",
        "HEARTH_LISTEN": f"127.0.0.1:{port}",
        "HEARTH_DATA_DIR": str(data),
        "HEARTH_LOG__FORMAT": "text",
        # The clients send as fast as they are answered; limits have tests of their own.
        "HEARTH_RATE_LIMITS__ENABLED": "false",
    }


class Server:
    """One server process. `command` and `url` are given only to try these tests against another homeserver.

    `extra` are settings beyond those of `settings`, as variables of the environment.
    """

    def __init__(
        self, binary: str, folder: Path, command: str | None = None, url: str | None = None, extra: dict[str, str] | None = None
    ):
        self.binary = binary
        self.extra = extra or {}
        self.folder = folder
        self.data = folder / "data"
        self.log_path = folder / "server.log"
        self.port = free_port()
        self.url = url or f"http://127.0.0.1:{self.port}"
        self.command = shlex.split(command) if command else [binary, "serve"]
        self.process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        with self.log_path.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                *self.command, cwd=self.folder, env=self._environment(), stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log
            )
        await self._answers()

    def _environment(self) -> dict[str, str]:
        # `localhost` only takes loopback traffic; nothing of the caller's own HEARTH_… settings may leak in.
        environment = {name: value for name, value in os.environ.items() if not name.startswith("HEARTH_")}
        return environment | settings(self.port, self.data) | self.extra

    async def run(self, *arguments: str) -> tuple[int, str]:
        """A command of the program on this server: its exit status, and what it said."""
        command = await asyncio.create_subprocess_exec(
            self.binary, *arguments, cwd=self.folder, env=self._environment(), stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )
        said, _ = await command.communicate()
        return command.returncode, said.decode()

    async def _answers(self) -> None:
        deadline = asyncio.get_running_loop().time() + START_SECONDS_MAX
        while asyncio.get_running_loop().time() < deadline:
            if self.process.returncode is not None:
                raise RuntimeError(f"the server ended with {self.process.returncode} while starting:\n{self.log_end()}")
            if await asyncio.to_thread(self._versions):
                return
            await asyncio.sleep(0.02)
        raise RuntimeError(f"the server did not answer within {START_SECONDS_MAX} s:\n{self.log_end()}")

    def _versions(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/_matrix/client/versions", timeout=5) as answer:
                return answer.status == 200
        except (urllib.error.URLError, OSError):
            return False

    async def kill(self) -> None:
        """kill -9: no chance to write anything."""
        self.process.send_signal(signal.SIGKILL)
        await self.process.wait()

    async def stop(self) -> int:
        """The friendly way: SIGTERM; the answer is the exit status."""
        if self.process is None or self.process.returncode is not None:
            return self.process.returncode if self.process else 0
        self.process.terminate()
        try:
            return await asyncio.wait_for(self.process.wait(), 30)
        except asyncio.TimeoutError:
            await self.kill()
            raise RuntimeError(f"the server did not stop within 30 s of SIGTERM:\n{self.log_end()}") from None

    def log_end(self, lines: int = 40) -> str:
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])

    def panics(self) -> list[str]:
        return [line for line in self.log_path.read_text(errors="replace").splitlines() if "panicked at" in line]
