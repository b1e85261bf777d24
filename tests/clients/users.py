"""Two kinds of users with one face: matrix-nio in this process, matrix-js-sdk in a Node process (js_user.mjs)."""

import asyncio
import io
import json
import os
from base64 import b64decode, b64encode
from pathlib import Path

import aiohttp
import nio
from aiohttp import content_disposition_filename, parse_content_disposition

from files import Fetched

WAIT_SECONDS_MAX = 60
SEND_TRIES_MAX = 200


class Seen:
    """What a client was shown live: each timeline event of each room in the order it came, doubles included."""

    def __init__(self):
        self.events: dict[str, list[dict]] = {}
        self.memberships: dict[str, str] = {}
        self.changed = asyncio.Condition()

    async def add(self, room: str, event: dict) -> None:
        async with self.changed:
            self.events.setdefault(room, []).append(event)
            self.changed.notify_all()

    async def membership(self, room: str, membership: str) -> None:
        async with self.changed:
            self.memberships[room] = membership
            self.changed.notify_all()

    async def until(self, condition, what: str):
        """Waits until `condition()` gives something true; fails with `what` when that takes too long."""
        try:
            async with asyncio.timeout(WAIT_SECONDS_MAX):
                async with self.changed:
                    await self.changed.wait_for(condition)
                    return condition()
        except TimeoutError:
            raise AssertionError(f"waited {WAIT_SECONDS_MAX} s in vain: {what}") from None

    def bodies(self, room: str) -> list[str]:
        return [e["content"]["body"] for e in self.events.get(room, []) if is_plain_message(e)]

    def find(self, room: str, event_id: str) -> dict | None:
        return next((e for e in self.events.get(room, []) if e["event_id"] == event_id), None)


def is_plain_message(event: dict) -> bool:
    """A message that says something of its own: no edit, not redacted."""
    content = event.get("content", {})
    edit = content.get("m.relates_to", {}).get("rel_type") == "m.replace"
    return event["type"] == "m.room.message" and "body" in content and not edit


class Refused(Exception):
    """The server answered with an error."""


class NioUser:
    """matrix-nio, as it comes."""

    library = "matrix-nio"

    def __init__(self, url: str, name: str):
        self.name = name
        self.url = url
        self.seen = Seen()
        self.client = nio.AsyncClient(url, name, config=nio.AsyncClientConfig(encryption_enabled=False))
        self.live: asyncio.Task | None = None

    async def register(self, password: str) -> str:
        answer = self._good(await self.client.register(self.name, password, device_name="nio"), nio.RegisterResponse)
        await self.client.close()
        return answer.user_id

    async def login(self, password: str) -> str:
        self.client = nio.AsyncClient(self.url, self.name, config=nio.AsyncClientConfig(encryption_enabled=False))
        answer = self._good(await self.client.login(password, device_name="nio"), nio.LoginResponse)
        self.user_id = answer.user_id
        return answer.user_id

    async def start(self, limit: int) -> None:
        self.filter = {"room": {"timeline": {"limit": limit}, "state": {"lazy_load_members": True}}}
        await self._take(self._good(await self.client.sync(timeout=0, sync_filter=self.filter, full_state=True), nio.SyncResponse))
        self.live = asyncio.create_task(self._follow())

    async def _follow(self) -> None:
        while True:
            try:
                answer = await self.client.sync(timeout=30_000, sync_filter=self.filter)
                await self._take(self._good(answer, nio.SyncResponse))
            except (aiohttp.ClientError, OSError, asyncio.TimeoutError):
                await asyncio.sleep(0.1)  # the server is away; an application would try again too

    async def _take(self, answer) -> None:
        for room in answer.rooms.invite:
            await self.seen.membership(room, "invite")
        for room, update in answer.rooms.join.items():
            events = [event.source for event in update.timeline.events]
            if update.timeline.limited and room in self.seen.events:
                events = await self._gap(room, update.timeline.prev_batch) + events
            for event in events:
                await self.seen.add(room, event)

    async def _gap(self, room: str, token: str) -> list[dict]:
        """What a limited timeline left out, back to the newest event that was seen."""
        known = {event["event_id"] for event in self.seen.events[room]}
        missed: list[dict] = []
        while True:
            answer = await self.client.room_messages(room, token, direction=nio.MessageDirection.back, limit=100)
            for event in self._good(answer, nio.RoomMessagesResponse).chunk:
                if event.source["event_id"] in known:
                    return missed[::-1]
                missed.append(event.source)
            if not answer.end:
                return missed[::-1]
            token = answer.end

    async def whoami(self) -> dict:
        answer = self._good(await self.client.whoami(), nio.WhoamiResponse)
        return {"user_id": answer.user_id, "device_id": answer.device_id}

    async def create(self, **options) -> str:
        return self._good(await self.client.room_create(**options), nio.RoomCreateResponse).room_id

    async def invite(self, room: str, user: str) -> None:
        self._good(await self.client.room_invite(room, user), nio.RoomInviteResponse)

    async def join(self, room: str) -> None:
        self._good(await self.client.join(room), nio.JoinResponse)

    async def send(self, room: str, content: dict, txn: str, type: str = "m.room.message") -> str:
        """Sends until the server has acknowledged it, always with the same transaction id."""
        for _ in range(SEND_TRIES_MAX):
            try:
                answer = await self.client.room_send(room, type, content, tx_id=txn)
                return self._good(answer, nio.RoomSendResponse).event_id
            except (aiohttp.ClientError, OSError, asyncio.TimeoutError):
                await asyncio.sleep(0.1)
        raise AssertionError(f"{self.name}: message {txn} was not accepted in {SEND_TRIES_MAX} tries")

    async def upload(self, name: str, content_type: str, content: bytes) -> str:
        answer, _ = await self.client.upload(
            lambda *_: io.BytesIO(content), content_type=content_type, filename=name, filesize=len(content)
        )
        return self._good(answer, nio.UploadResponse).content_uri

    async def download(self, uri: str) -> Fetched:
        answer = self._good(await self.client.download(mxc=uri), nio.MemoryDownloadResponse)
        return Fetched(answer.filename, answer.content_type, answer.body)

    async def thumbnail(self, uri: str, width: int, height: int, method: str) -> Fetched:
        server, _, media = uri.removeprefix("mxc://").partition("/")
        answer = await self.client.thumbnail(server, media, width, height, nio.ResizingMethod(method))
        answer = self._good(answer, nio.ThumbnailResponse)
        return Fetched(answer.filename, answer.content_type, answer.body)

    async def redact(self, room: str, event: str, reason: str) -> str:
        return self._good(await self.client.room_redact(room, event, reason=reason), nio.RoomRedactResponse).event_id

    async def read(self, room: str, event: str) -> None:
        answer = await self.client.room_read_markers(room, fully_read_event=event, read_event=event)
        self._good(answer, nio.RoomReadMarkersResponse)

    async def unread(self, room: str) -> dict:
        found = self.client.rooms[room]
        return {"total": found.unread_notifications, "highlight": found.unread_highlights}

    async def members(self, room: str) -> list[str]:
        answer = self._good(await self.client.joined_members(room), nio.JoinedMembersResponse)
        return sorted(member.user_id for member in answer.members)

    async def history(self, room: str, page: int) -> list[dict]:
        """Everything in the room, oldest first, paged back from now."""
        events, token = [], self.client.next_batch
        for _ in range(1000):
            answer = await self.client.room_messages(room, token, direction=nio.MessageDirection.back, limit=page)
            answer = self._good(answer, nio.RoomMessagesResponse)
            events += [event.source for event in answer.chunk]
            if not answer.end or answer.end == token:
                return events[::-1]
            token = answer.end
        raise AssertionError("paging back did not end after 1000 pages")

    async def logout(self) -> None:
        await self._stop_following()
        self._good(await self.client.logout(), nio.LogoutResponse)

    async def _stop_following(self) -> None:
        if self.live:
            self.live.cancel()
            await asyncio.gather(self.live, return_exceptions=True)
            self.live = None

    async def close(self) -> None:
        await self._stop_following()
        await self.client.close()

    def token(self) -> str:
        return self.client.access_token

    @staticmethod
    def _good(answer, kind):
        if not isinstance(answer, kind):
            raise Refused(f"wanted {kind.__name__}, got {answer}")
        return answer


class JsUser:
    """matrix-js-sdk, as it comes, in a Node process of its own."""

    library = "matrix-js-sdk"

    def __init__(self, url: str, name: str, log: Path):
        self.name = name
        self.url = url
        self.log = log
        self.seen = Seen()
        self.process = None
        self.waiting: dict[int, asyncio.Future] = {}
        self.next_id = 0

    async def _call(self, command: str, **arguments) -> dict:
        if self.process is None:
            await self._spawn()
        self.next_id += 1
        answer = asyncio.get_running_loop().create_future()
        self.waiting[self.next_id] = answer
        line = json.dumps({"id": self.next_id, "command": command, **arguments}) + "\n"
        self.process.stdin.write(line.encode())
        try:
            return await asyncio.wait_for(answer, WAIT_SECONDS_MAX)
        except asyncio.TimeoutError:
            raise AssertionError(f"{self.name}: matrix-js-sdk did not finish `{command}`") from None

    async def _spawn(self) -> None:
        node = os.environ.get("HEARTH_TEST_NODE", "node")
        with self.log.open("ab") as log:
            self.process = await asyncio.create_subprocess_exec(
                node, str(Path(__file__).with_name("js_user.mjs")),
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=log, limit=64 * 1024 * 1024,
            )
        self.reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        async for raw in self.process.stdout:
            line = json.loads(raw)
            if "id" not in line:
                await self._note(line)
            elif "error" in line:
                self.waiting.pop(line["id"]).set_exception(Refused(f"{self.name}: {line}"))
            else:
                self.waiting.pop(line["id"]).set_result(line["answer"])
        for answer in self.waiting.values():
            answer.set_exception(Refused(f"{self.name}: the Node process ended, see {self.log}"))

    async def _note(self, note: dict) -> None:
        if note["note"] == "timeline":
            await self.seen.add(note["room"], note["event"])
        elif note["note"] == "membership":
            await self.seen.membership(note["room"], note["membership"])
        elif note["note"] == "failure":
            raise Refused(f"{self.name}: {note['error']}")

    async def register(self, password: str) -> str:
        return (await self._call("register", url=self.url, user=self.name, password=password))["user_id"]

    async def login(self, password: str) -> str:
        answer = await self._call("login", url=self.url, user=self.name, password=password)
        self.user_id, self.access_token = answer["user_id"], answer["access_token"]
        return self.user_id

    async def start(self, limit: int) -> None:
        await self._call("start", limit=limit)

    async def whoami(self) -> dict:
        return await self._call("whoami")

    async def create(self, **options) -> str:
        return (await self._call("create", options=options))["room_id"]

    async def invite(self, room: str, user: str) -> None:
        await self._call("invite", room=room, user=user)

    async def join(self, room: str) -> None:
        await self._call("join", room=room)

    async def send(self, room: str, content: dict, txn: str, type: str = "m.room.message") -> str:
        answer = await self._call("send", room=room, type=type, content=content, txn=txn)
        for _ in range(SEND_TRIES_MAX):
            if "failed" not in answer:
                return answer["event_id"]
            await asyncio.sleep(0.1)
            answer = await self._call("resend", room=room, txn=txn)
        raise AssertionError(f"{self.name}: message {txn} was not accepted in {SEND_TRIES_MAX} tries: {answer}")

    async def upload(self, name: str, content_type: str, content: bytes) -> str:
        base64 = b64encode(content).decode()
        return (await self._call("upload", name=name, type=content_type, base64=base64))["uri"]

    async def download(self, uri: str) -> Fetched:
        return self._fetched(await self._call("download", uri=uri))

    async def thumbnail(self, uri: str, width: int, height: int, method: str, animated: bool = False) -> Fetched:
        size = {"width": width, "height": height, "method": method, "animated": animated}
        return self._fetched(await self._call("download", uri=uri, size=size))

    @staticmethod
    def _fetched(answer: dict) -> Fetched:
        # aiohttp reads the header for matrix-nio, so it does here.
        kind, parameters = parse_content_disposition(answer["disposition"])
        name = content_disposition_filename(parameters) if kind else None
        return Fetched(name, answer["type"], b64decode(answer["base64"]))

    async def redact(self, room: str, event: str, reason: str) -> str:
        return (await self._call("redact", room=room, event=event, reason=reason))["event_id"]

    async def read(self, room: str, event: str) -> None:
        await self._call("read", room=room, event=event)

    async def unread(self, room: str) -> dict:
        return await self._call("unread", room=room)

    async def members(self, room: str) -> list[str]:
        return (await self._call("members", room=room))["joined"]

    async def shown(self, room: str, event: str) -> dict:
        return await self._call("shown", room=room, event=event)

    async def direct(self) -> dict:
        return await self._call("direct")

    async def set_direct(self, content: dict) -> None:
        await self._call("set_direct", content=content)

    async def history(self, room: str, page: int) -> list[dict]:
        return (await self._call("history", room=room, page=page))["events"]

    async def logout(self) -> None:
        await self._call("logout")

    def token(self) -> str:
        return self.access_token

    async def close(self) -> None:
        if self.process and self.process.returncode is None:
            self.process.stdin.close()
            await self.process.wait()
