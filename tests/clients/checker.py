"""A proxy between clients and the server that holds every answer against the specification's schemas.

`schemas.json` (made by gen_schemas.py) says for each operation and status what an answer looks like. What the client asked and what
the server answered pass through unchanged, and a server that is gone looks gone: the client's connection is cut.
"""

import asyncio
import json
import re
from collections import Counter
from pathlib import Path

import aiohttp
from aiohttp import web
from jsonschema import Draft202012Validator

SCHEMAS = Path(__file__).with_name("schemas.json")
ERROR = "errors.error"
# Headers of one connection, which mean nothing on the next one.
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length", "host"}
# A long-poll takes no longer than this.
ANSWER_SECONDS_MAX = 120
BODY_BYTES_MAX = 64 << 20
VIOLATIONS_TOLD_MAX = 20
# So many errors of one answer are told; the rest follow from them.
ERRORS_PER_ANSWER_MAX = 3


class Schemas:
    """Finds the schema of an answer."""

    def __init__(self):
        written = json.loads(SCHEMAS.read_text(encoding="utf-8"))
        self.definitions = written["$defs"]
        self.operations = [(one["method"], self._pattern(one["path"]), one) for one in written["operations"]]
        # A path with fewer parameters is the more exact one.
        self.operations.sort(key=lambda operation: operation[2]["path"].count("{"))
        self.validators = {}

    @staticmethod
    def _pattern(path: str) -> re.Pattern:
        parts = re.split(r"\{\w+\}", path)
        return re.compile("[^/]+".join(re.escape(part) for part in parts) + "$")

    def operation(self, method: str, path: str) -> dict | None:
        for known, pattern, operation in self.operations:
            if known == method and pattern.match(path):
                return operation
        return None

    def errors(self, operation: dict, status: int, body: bytes) -> list[str]:
        """What is wrong with an answer, in words."""
        answers, key = operation["answers"], str(status)
        if key in answers and answers[key] is None:
            return []
        if key not in answers and status < 400:
            return [f"the specification knows no status {status} here"]
        try:
            value = json.loads(body)
        except ValueError:
            return [f"status {status} with a body that is no JSON: {body[:80]!r}"]
        name = f"{operation['method']} {operation['path']} {key}" if key in answers else ERROR
        if name not in self.validators:
            schema = answers[key] if key in answers else {"$ref": f"#/$defs/{ERROR}"}
            self.validators[name] = Draft202012Validator({"allOf": [schema], "$defs": self.definitions})
        found = self.validators[name].iter_errors(value)
        return [f"{error.json_path}: {error.message[:300]}" for error in found][:ERRORS_PER_ANSWER_MAX]


class Checker:
    """The proxy. Clients are given `url`."""

    def __init__(self, server_url: str, port: int):
        self.server_url = server_url
        self.port = port
        self.url = f"http://127.0.0.1:{port}"
        self.schemas = Schemas()
        self.checked: Counter[str] = Counter()
        self.violations: Counter[str] = Counter()
        self.runner: web.AppRunner | None = None
        self.session: aiohttp.ClientSession | None = None

    async def start(self) -> None:
        self.session = aiohttp.ClientSession(auto_decompress=False, timeout=aiohttp.ClientTimeout(total=ANSWER_SECONDS_MAX))
        app = web.Application(client_max_size=BODY_BYTES_MAX)
        app.router.add_route("*", "/{path:.*}", self._pass_on)
        self.runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await self.runner.setup()
        await web.TCPSite(self.runner, "127.0.0.1", self.port).start()

    async def stop(self) -> None:
        if self.runner:
            await self.runner.cleanup()
            await self.session.close()

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP}
        body = await request.read()
        # The path as it came: what is percent-encoded stays so.
        url = aiohttp.client.URL(self.server_url + request.raw_path, encoded=True)
        try:
            async with self.session.request(request.method, url, headers=headers, data=body, allow_redirects=False) as answer:
                content = await answer.read()
        except (aiohttp.ClientError, asyncio.TimeoutError):
            if request.transport:
                request.transport.abort()
            return web.Response(status=502)  # nobody gets it
        self._check(request.method, request.raw_path.partition("?")[0], answer.status, content)
        kept = [(name, value) for name, value in answer.headers.items() if name.lower() not in HOP_BY_HOP]
        return web.Response(status=answer.status, body=content, headers=kept)

    def _check(self, method: str, path: str, status: int, body: bytes) -> None:
        operation = self.schemas.operation(method, path)
        if operation is None:
            return
        name = f"{method} {operation['path']}"
        self.checked[name] += 1
        for error in self.schemas.errors(operation, status, body):
            self.violations[f"{name}, status {status}: {error}"] += 1

    async def verdict(self, operations_min: int) -> None:
        """Fails if an answer was not as specified, or if hardly anything was asked."""
        told = [f"{violation} ({times} ×)" for violation, times in self.violations.most_common(VIOLATIONS_TOLD_MAX)]
        assert not told, f"{len(self.violations)} violations:\n" + "\n".join(told)
        assert len(self.checked) >= operations_min, f"only {len(self.checked)} operations were asked: {sorted(self.checked)}"
        print(f"        {self.checked.total()} answers of {len(self.checked)} operations fit their schemas", flush=True)
