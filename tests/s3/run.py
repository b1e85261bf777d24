#!/usr/bin/env python3
"""The real server keeps its media in an object store: a moto server on loopback, behind a gate that can be shut or break what passes.

Files go in and out whole and in part, the same bytes are kept once, commands remove them from the bucket. While the store is away, answers
with errors, or breaks off, clients get a proper error, nothing false is served, and what was acknowledged is there again afterwards.
"""

import argparse
import asyncio
import hashlib
import http.client
import json
import os
import random
import shutil
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

import boto3
from botocore.config import Config

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "clients"))

from files import picture, png  # noqa: E402
from gate import Gate  # noqa: E402
from server import Server, free_port  # noqa: E402

BUCKET = "hearth"
PREFIX = "media"
PART = 8 << 20
ANSWER_SECONDS_MAX = 120
MOTO_SECONDS_MAX = 180


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes
    # The connection ended before the announced end of the body.
    is_broken: bool

    def json(self) -> dict:
        return json.loads(self.body)


def same(got, wanted, what: str) -> None:
    assert got == wanted, f"{what}: {got!r} instead of {wanted!r}"


def noise(seed: int, length: int) -> bytes:
    return random.Random(seed).randbytes(length)


class Moto:
    """The object store. What it holds is gone when it stops."""

    def __init__(self, folder: Path):
        self.port = free_port()
        self.log = folder / "moto.log"
        self.process: asyncio.subprocess.Process | None = None
        self.s3 = boto3.client(
            "s3", endpoint_url=f"http://127.0.0.1:{self.port}", region_name="us-east-1", aws_access_key_id="an id",
            aws_secret_access_key="a secret", config=Config(retries={"max_attempts": 1}, s3={"addressing_style": "path"}),
        )

    async def start(self) -> None:
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port), stdout=log, stderr=log
            )
        deadline = time.monotonic() + MOTO_SECONDS_MAX
        while True:
            try:
                await asyncio.to_thread(self.s3.create_bucket, Bucket=BUCKET)
                return
            except Exception:
                if time.monotonic() > deadline or self.process.returncode is not None:
                    raise
                await asyncio.sleep(0.1)

    async def stop(self) -> None:
        if self.process and self.process.returncode is None:
            self.process.kill()
            await self.process.wait()

    def objects(self) -> dict[str, int]:
        listed = self.s3.list_objects_v2(Bucket=BUCKET)
        return {found["Key"]: found["Size"] for found in listed.get("Contents", [])}

    def content(self, key: str) -> bytes:
        return self.s3.get_object(Bucket=BUCKET, Key=key)["Body"].read()

    def put(self, key: str, content: bytes) -> None:
        self.s3.put_object(Bucket=BUCKET, Key=key, Body=content)

    def delete(self, key: str) -> None:
        self.s3.delete_object(Bucket=BUCKET, Key=key)

    def unfinished(self) -> int:
        return len(self.s3.list_multipart_uploads(Bucket=BUCKET).get("Uploads", []))


def key_of(content: bytes) -> str:
    name = hashlib.sha256(content).hexdigest()
    return f"{PREFIX}/{name[:2]}/{name}"


class Story:
    def __init__(self, server: Server, moto: Moto, gate: Gate):
        self.server, self.moto, self.gate = server, moto, gate
        self.token = ""
        # What was acknowledged and not removed.
        self.kept: dict[str, bytes] = {}

    async def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Answer:
        return await asyncio.to_thread(self._ask, method, path, body, headers)

    def _ask(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=ANSWER_SECONDS_MAX)
        if self.token:
            headers["Authorization"] = f"Bearer {self.token}"
        try:
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            answer = connection.getresponse()
            told = {name.lower(): value for name, value in answer.getheaders()}
            try:
                return Answer(answer.status, told, answer.read(), False)
            except http.client.IncompleteRead as broken:
                return Answer(answer.status, told, broken.partial, True)
            except ConnectionError:
                return Answer(answer.status, told, b"", True)
        finally:
            connection.close()

    async def register(self) -> None:
        body = json.dumps({"username": "anna", "password": "a long enough password", "auth": {"type": "m.login.dummy"}})
        answer = await self.ask("POST", "/_matrix/client/v3/register", body.encode())
        self.token = answer.json()["access_token"]

    async def try_upload(self, content: bytes, kind: str = "application/octet-stream") -> Answer:
        return await self.ask("POST", "/_matrix/media/v3/upload?filename=a.bin", content, Content_Type=kind)

    async def upload(self, content: bytes, kind: str = "application/octet-stream") -> str:
        answer = await self.try_upload(content, kind)
        same(answer.status, 200, f"status of an upload ({answer.body[:200]!r})")
        uri = answer.json()["content_uri"]
        self.kept[uri] = content
        return uri

    async def download(self, uri: str, **headers: str) -> Answer:
        return await self.ask("GET", f"/_matrix/client/v1/media/download/{uri.removeprefix('mxc://')}", **headers)

    async def all_is_there(self) -> None:
        for uri, content in self.kept.items():
            answer = await self.download(uri)
            same((answer.status, answer.is_broken), (200, False), f"{uri} ({answer.body[:200]!r})")
            assert answer.body == content, f"{uri} has other bytes"

    def refused(self, answer: Answer, what: str) -> None:
        """A proper error: JSON with a code, and nothing of what is behind it."""
        assert answer.status in (500, 502, 503), f"{what}: status {answer.status}"
        error = answer.json()
        assert error["errcode"] == "M_UNKNOWN" and error["error"], f"{what}: {error}"
        for secret in ("moto", str(self.gate.port), "InternalError", BUCKET):
            assert secret not in answer.body.decode(), f"{what} tells of `{secret}`: {error}"

    async def command(self, *arguments: str) -> str:
        status, said = await self.server.run(*arguments)
        same(status, 0, f"exit status of {arguments} ({said})")
        return said

    async def in_and_out(self) -> None:
        # None at all, one piece, one part, and several parts of the object store.
        for seed, length in enumerate((0, 100_000, PART, 2 * PART + 12_345)):
            content = noise(seed, length)
            await self.upload(content)
            assert self.moto.content(key_of(content)) == content, f"the object of {length} bytes"
        await self.all_is_there()
        left = [path for path in (self.server.data / "media").rglob("*") if path.is_file()]
        same(left, [], "files in the data folder")

    async def parts(self) -> None:
        uri, content = next((uri, content) for uri, content in self.kept.items() if len(content) > PART)
        length = len(content)
        for first, last in ((0, 0), (PART - 10, PART + 10), (262_144, 262_144 * 3), (length - 5, length + 5)):
            answer = await self.download(uri, Range=f"bytes={first}-{last}")
            same(answer.status, 206, f"status of bytes {first} to {last}")
            same(answer.headers["content-range"], f"bytes {first}-{min(last, length - 1)}/{length}", "Content-Range")
            assert answer.body == content[first : last + 1], f"bytes {first} to {last}"
        same((await self.download(uri, Range=f"bytes={length}-")).status, 416, "status of a range behind the end")

    async def once(self) -> None:
        before = len(self.moto.objects())
        content = noise(100, 200_000)
        first = await self.upload(content)
        second = await self.upload(content)
        assert first != second
        same(len(self.moto.objects()), before + 1, "objects")
        await self.command("media", "delete", first)
        del self.kept[first]
        assert key_of(content) in self.moto.objects(), "the second still needs the object"
        await self.command("media", "delete", second)
        del self.kept[second]
        assert key_of(content) not in self.moto.objects(), "nobody needs the object any more"

    async def thumbnail(self) -> None:
        uri = await self.upload(png(800, 600), "image/png")
        path = f"/_matrix/client/v1/media/thumbnail/{uri.removeprefix('mxc://')}?width=320&height=240&method=scale"
        before = len(self.moto.objects())
        small = await self.ask("GET", path)
        same(small.status, 200, f"status of a thumbnail ({small.body[:200]!r})")
        same(picture(small.body)[1:], (320, 240), "its size")
        same(self.moto.content(key_of(small.body)), small.body, "its object")
        again = await self.ask("GET", path)
        same(again.body, small.body, "the thumbnail the second time")
        same(len(self.moto.objects()), before + 1, "objects: it is made once")

    async def sweep(self) -> None:
        orphan = f"{PREFIX}/ab/abcd{'0' * 60}"
        others = [f"{PREFIX}/ab/README", "elsewhere/abcd", f"{PREFIX}-2/ab/abcd{'0' * 60}"]
        for key in [orphan, *others]:
            self.moto.put(key, b"left behind")
        said = await self.command("media", "sweep")
        # The word is the same for all places where bytes are.
        assert " 1 files on the disk" in said, said
        left = self.moto.objects()
        assert orphan not in left, "the sweep did not reclaim what nobody knows"
        for key in others:
            assert key in left, f"{key} is none of ours, but is gone"
            self.moto.delete(key)
        await self.all_is_there()

    async def away(self, mode: str) -> None:
        self.gate.set(mode)
        uri, _ = next(iter(item for item in self.kept.items() if len(item[1]) == 100_000))
        began = time.monotonic()
        self.refused(await self.download(uri), f"a download while the store is `{mode}`")
        before = self.moto.objects()
        listed = await self.command("media", "list")
        for length in (50_000, PART + 1):
            self.refused(await self.try_upload(noise(200, length)), f"an upload of {length} while the store is `{mode}`")
        assert time.monotonic() - began < ANSWER_SECONDS_MAX, "clients wait for too long"
        same((await self.ask("GET", "/_matrix/client/versions")).status, 200, "status of everything else")
        status, said = await self.server.run("media", "sweep")
        assert status != 0 and "could not sweep" in said, f"a sweep says {status} {said}"
        self.gate.set("pass")
        same(self.moto.objects(), before, "objects")
        same(await self.command("media", "list"), listed, "files that are listed")
        await self.all_is_there()

    async def cut(self) -> None:
        """Answers and requests that break off: what comes is right or visibly broken, never half."""
        uri, content = next((uri, content) for uri, content in self.kept.items() if len(content) > PART)
        for cut_after in (10, 5_000, 3_000_000):
            self.gate.set("cut", cut_after)
            answer = await self.download(uri)
            if answer.status == 200 and not answer.is_broken:
                assert answer.body == content, f"cut after {cut_after}: a whole answer with other bytes"
            elif answer.status == 200:
                assert content.startswith(answer.body), f"cut after {cut_after}: other bytes"
            else:
                self.refused(answer, f"a download cut after {cut_after}")
        self.gate.set("pass")
        for cut_after in (10, 100_000, PART + 200_000):
            content = noise(cut_after, 2 * PART)
            self.gate.set("deaf", cut_after)
            answer = await self.try_upload(content)
            self.gate.set("pass")
            if answer.status == 200:
                self.kept[answer.json()["content_uri"]] = content
            else:
                self.refused(answer, f"an upload cut after {cut_after}")
        await self.all_is_there()

    async def false_bytes(self) -> None:
        content = noise(300, 600_000)
        uri = await self.upload(content)
        self.moto.put(key_of(content), content[:300_000] + b"\x00" + content[300_001:])
        answer = await self.download(uri)
        assert answer.is_broken and content.startswith(answer.body), "a damaged object was served"
        self.moto.put(key_of(content), content[:100])
        answer = await self.download(uri)
        assert answer.is_broken or answer.status >= 500, f"half an object was served: {answer.status}, {len(answer.body)} bytes"
        self.moto.delete(key_of(content))
        self.refused(await self.download(uri), "a download of an object that is gone")
        # The same bytes once more, and the old name works again.
        await self.upload(content)
        await self.all_is_there()

    async def killed(self) -> None:
        content = noise(400, 6 * PART)
        uploading = asyncio.create_task(self.try_upload(content))
        while not self.moto.unfinished():
            await asyncio.sleep(0.01)
            assert not uploading.done(), "the upload was over before the kill"
        await self.server.kill()
        try:
            answer = await uploading
            assert answer.is_broken, f"a killed server answered with {answer.status}"
        except (ConnectionError, http.client.HTTPException):
            pass
        await self.server.start()
        assert key_of(content) not in self.moto.objects(), "half an upload became an object"
        same(list((self.server.data / "media" / "incoming").iterdir()), [], "files on their way in")
        await self.command("media", "sweep")
        await self.all_is_there()
        await self.upload(content)
        await self.all_is_there()

    async def forgotten(self) -> None:
        """The store comes back empty: all downloads are refused, and what is uploaded anew is there again, also under its old name."""
        await self.moto.stop()
        await self.moto.start()
        for uri in self.kept:
            if self.kept[uri]:
                self.refused(await self.download(uri), f"{uri} of an empty store")
        for content in list(self.kept.values()):
            await self.upload(content)
        await self.all_is_there()

    async def backup(self) -> None:
        folder = self.server.folder / "backup"
        await self.command("backup", "create", str(folder))
        said = await self.command("backup", "verify", str(folder))
        assert "is a good backup" in said, said
        assert not (folder / "media").exists(), "media are in the object store, not in the backup"

    async def stop(self) -> None:
        same(await self.server.stop(), 0, "exit status")
        assert not self.server.panics(), self.server.panics()
        await self.command("fsck")


async def tell(options, folder: Path) -> int:
    moto = Moto(folder)
    gate = Gate(free_port(), moto.port)
    settings = {
        "ENDPOINT": f"http://127.0.0.1:{gate.port}", "REGION": "us-east-1", "BUCKET": BUCKET, "PREFIX": PREFIX,
        "ACCESS_KEY": "an id", "SECRET_KEY": "a secret",
    }
    extra = {f"HEARTH_MEDIA__S3__{name}": value for name, value in settings.items()}
    server = Server(options.binary, folder, extra=extra)
    story = Story(server, moto, gate)
    steps = [
        ("the object store starts", moto.start()),
        ("the gate opens", gate.start()),
        ("the server starts", server.start()),
        ("register", story.register()),
        ("files go in and out whole", story.in_and_out()),
        ("files come in part", story.parts()),
        ("the same bytes are kept once, and go with their last user", story.once()),
        ("a thumbnail is made once", story.thumbnail()),
        ("a sweep removes what nobody knows, and nothing else", story.sweep()),
        ("the object store is away", story.away("shut")),
        ("the object store answers with errors", story.away("error")),
        ("requests and answers break off", story.cut()),
        ("objects that are damaged, cut or gone are not served", story.false_bytes()),
        ("kill -9 in the middle of an upload", story.killed()),
        ("the object store has forgotten everything", story.forgotten()),
        ("a backup leaves the files where they are", story.backup()),
        ("the server stops, and its store is clean", story.stop()),
    ]
    passed = failed = 0
    try:
        for name, step in steps:
            began = time.monotonic()
            if failed:
                step.close()
                continue
            try:
                await step
                passed += 1
                print(f"ok      {name} ({time.monotonic() - began:.1f} s)", flush=True)
            except Exception:
                failed += 1
                print(f"FAILED  {name}\n{traceback.format_exc()}", flush=True)
    finally:
        await gate.stop()
        if server.process and server.process.returncode is None:
            await server.kill()
        await moto.stop()
    print(f"{passed} passed, {failed} failed")
    return failed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default=os.environ.get("HEARTH_BIN", "hearth"), help="the server (default $HEARTH_BIN)")
    parser.add_argument("--keep", action="store_true", help="keep the data folder and the logs")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="hearth-s3-"))
    failed = 1
    try:
        failed = asyncio.run(tell(options, folder))
    finally:
        if options.keep or failed:
            print(f"logs and data: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
