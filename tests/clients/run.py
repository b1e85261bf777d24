#!/usr/bin/env python3
"""Two real Matrix clients, unpatched, talk over a real server that is killed in the middle.

matrix-nio (alice, carol) and matrix-js-sdk (bob) register, log in, make a group and a direct chat, invite, join, exchange
200 messages with live sync while the server is killed with -9 and started again, edit, react, redact, page back over
everything, send each other pictures and a document, mark read, see unread counts and log out. Every answer is held against the
specification's schemas (checker.py). Each step is a named check; the last line counts them.
"""

import argparse
import asyncio
import os
import shutil
import sys
import tempfile
import time
import traceback
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from checker import Checker
from files import GIF_FRAMES, Sample, frames_of, picture, samples
from server import Server, free_port
from users import JsUser, NioUser, is_plain_message

MESSAGES = 200
# So many operations of the client-server API are asked at least, or the check of the answers has seen too little.
OPERATIONS_MIN = 45
PASSWORD = "correct horse battery staple"


class Report:
    def __init__(self):
        self.passed = 0
        self.failed = 0

    async def check(self, name: str, step):
        """Runs one step. A failed step ends the run, for the later ones stand on it."""
        began = time.monotonic()
        try:
            result = await step
        except Exception:
            self.failed += 1
            print(f"FAILED  {name}\n{traceback.format_exc()}", flush=True)
            raise SystemExit(1) from None
        self.passed += 1
        print(f"ok      {name} ({time.monotonic() - began:.1f} s)", flush=True)
        return result


def same(got, wanted, what: str) -> None:
    assert got == wanted, f"{what}\n  wanted: {wanted}\n  got:    {got}"


def each_once_in_order(bodies: list[str], wanted: dict[str, list[str]], where: str) -> None:
    """Every message exactly once, and those of one sender in the order in which she sent them."""
    doubled = sorted({body for body in bodies if bodies.count(body) > 1})
    every = [body for mine in wanted.values() for body in mine]
    lost = [body for body in every if body not in bodies]
    strange = [body for body in bodies if body not in every]
    assert not (doubled or lost or strange), f"{where}: lost {lost}, doubled {doubled}, not sent by anyone {strange}"
    for sender, mine in wanted.items():
        same([body for body in bodies if body in mine], mine, f"{where}: order of {sender}'s messages")


class Story:
    def __init__(self, server: Server, url: str, folder: Path, suffix: str):
        self.server = server
        self.url = url
        self.alice = NioUser(url, f"alice{suffix}")
        self.carol = NioUser(url, f"carol{suffix}")
        self.bob = JsUser(url, f"bob{suffix}", folder / "bob.log")
        self.users = [self.alice, self.bob, self.carol]
        self.devices: list = []
        self.sent: dict[str, dict[str, list[str]]] = {}
        self.ids: dict[str, str] = {}
        self.acknowledged = 0

    async def register(self) -> None:
        for user in self.users:
            same((await user.register(PASSWORD)), f"@{user.name}:localhost", "user id after registering")

    async def login(self) -> None:
        for user in self.users:
            same(await user.login(PASSWORD), f"@{user.name}:localhost", "user id after logging in")
            same((await user.whoami())["user_id"], user.user_id, f"whoami of {user.library}")

    async def start(self) -> None:
        for user in self.users:
            await user.start(limit=30)

    async def group(self) -> None:
        self.group_room = await self.alice.create(name="The hearth", topic="Everybody's fire")
        for other in (self.bob, self.carol):
            await self.alice.invite(self.group_room, other.user_id)
            await self.invited(other, self.group_room)
            await other.join(self.group_room)
        wanted = sorted(user.user_id for user in self.users)
        for user in (self.alice, self.bob):
            await eventually(
                lambda user=user: user.members(self.group_room), lambda got: got == wanted,
                f"{user.library} shows the members of the group {wanted}",
            )

    async def direct(self) -> None:
        self.direct_room = await self.bob.create(
            is_direct=True, preset="trusted_private_chat", invite=[self.alice.user_id]
        )
        await self.bob.set_direct({self.alice.user_id: [self.direct_room]})
        await self.invited(self.alice, self.direct_room)
        await self.alice.join(self.direct_room)
        same(await self.alice.members(self.direct_room), sorted([self.alice.user_id, self.bob.user_id]), "direct chat")
        await eventually(self.bob.direct, lambda d: d == {self.alice.user_id: [self.direct_room]}, "m.direct of bob")

    @staticmethod
    async def invited(user, room: str) -> None:
        await user.seen.until(
            lambda: user.seen.memberships.get(room) == "invite", f"{user.name} ({user.library}) sees the invite to {room}"
        )

    async def talk(self, kill_at: int | None) -> None:
        """Both send as fast as they are answered, three of four messages into the group, the rest into the direct chat."""
        senders = [self.write(user, MESSAGES // 2) for user in (self.alice, self.bob)]
        if kill_at is not None:
            senders.append(self.kill_and_restart(kill_at))
        await asyncio.gather(*senders)
        for room in (self.group_room, self.direct_room):
            for user in (self.alice, self.bob):
                await self.saw_all(user, room)
        await self.saw_all(self.carol, self.group_room)

    async def write(self, user, count: int) -> None:
        for n in range(count):
            room = self.direct_room if n % 4 == 3 else self.group_room
            body = f"{user.name} says {n}"
            self.sent.setdefault(room, {}).setdefault(user.name, []).append(body)
            self.ids[body] = await user.send(room, {"msgtype": "m.text", "body": body}, txn=f"{user.name}-{n}")
            self.acknowledged += 1

    async def kill_and_restart(self, at: int) -> None:
        while self.acknowledged < at:
            await asyncio.sleep(0.001)
        await self.server.kill()
        self.killed_at = self.acknowledged
        await self.server.start()

    async def saw_all(self, user, room: str) -> None:
        wanted = self.sent[room]
        every = {body for mine in wanted.values() for body in mine}
        try:
            await user.seen.until(lambda: every <= set(user.seen.bodies(room)), "")
        except AssertionError:
            pass  # the check below says what is missing
        each_once_in_order(user.seen.bodies(room), wanted, f"live sync of {user.name} ({user.library}) in {room}")
        for event in user.seen.events[room]:
            body = event["content"].get("body")
            if is_plain_message(event) and body in self.ids:
                same(event["event_id"], self.ids[body], f"event id of `{body}`, acknowledged and in sync")

    async def edit(self) -> None:
        await self.edit_by(self.alice, self.bob, self.late(self.alice))
        await self.edit_by(self.bob, self.alice, self.late(self.bob))
        target = self.ids[self.late(self.alice)]
        history = {event["event_id"]: event for event in await self.alice.history(self.group_room, 100)}
        bundled = history[target]["unsigned"]["m.relations"]["m.replace"]
        same(bundled["content"]["m.new_content"]["body"], "edited", "the edit that comes along with the edited event")

    @staticmethod
    def late(user) -> str:
        """A message near the end, which both libraries still have in their timelines: the last one into the group."""
        return f"{user.name} says {MESSAGES // 2 - 2}"

    async def edit_by(self, writer, reader, body: str) -> None:
        target = self.ids[body]
        content = {
            "msgtype": "m.text", "body": "* edited", "m.new_content": {"msgtype": "m.text", "body": "edited"},
            "m.relates_to": {"rel_type": "m.replace", "event_id": target},
        }
        edit = await writer.send(self.group_room, content, txn=f"edit-{writer.name}")
        await reader.seen.until(lambda: reader.seen.find(self.group_room, edit), f"{reader.name} sees the edit of `{body}`")
        await eventually(
            lambda: self.bob.shown(self.group_room, target), lambda shown: shown.get("body") == "edited",
            f"matrix-js-sdk shows the edited text of `{body}`",
        )

    async def react(self) -> None:
        target = self.ids[self.late(self.bob)]
        content = {"m.relates_to": {"rel_type": "m.annotation", "event_id": target, "key": "🔥"}}
        for user in (self.alice, self.bob):
            await user.send(self.group_room, content, txn=f"react-{user.name}", type="m.reaction")
        await eventually(
            lambda: self.bob.shown(self.group_room, target), lambda shown: shown.get("reactions") == {"🔥": 2},
            "matrix-js-sdk counts both reactions",
        )
        await self.alice.seen.until(
            lambda: sum(e["type"] == "m.reaction" for e in self.alice.seen.events[self.group_room]) == 2,
            "matrix-nio sees both reactions",
        )

    async def redact(self) -> None:
        # One by each: a message that has just been sent, so that both libraries have it in their timelines.
        for writer, reader in ((self.alice, self.bob), (self.bob, self.alice)):
            body = f"{writer.name} regrets this"
            event = await writer.send(self.group_room, {"msgtype": "m.text", "body": body}, txn=f"regret-{writer.name}")
            await reader.seen.until(lambda: reader.seen.find(self.group_room, event), f"{reader.name} sees `{body}`")
            redaction = await writer.redact(self.group_room, event, reason="said too much")
            await reader.seen.until(
                lambda: reader.seen.find(self.group_room, redaction), f"{reader.name} sees the redaction by {writer.name}"
            )
            await eventually(
                lambda: self.bob.shown(self.group_room, event), lambda shown: shown.get("redacted"), "matrix-js-sdk shows it redacted"
            )
            history = {e["event_id"]: e for e in await self.alice.history(self.group_room, 100)}
            same(history[event]["content"], {}, f"content of the redacted `{body}` in the history")
            assert "redacted_because" in history[event].get("unsigned", {}), "a redacted event says why"

    async def files(self) -> None:
        """Each sends each kind of file; the other finds it by the message and fetches it, with thumbnails of pictures."""
        for writer, reader in ((self.alice, self.bob), (self.bob, self.alice)):
            for sample in samples():
                await self.file(writer, reader, sample)

    async def file(self, writer, reader, sample: Sample) -> None:
        uri = await writer.upload(sample.name, sample.content_type, sample.content)
        event = await writer.send(self.direct_room, sample.event(uri), txn=f"{writer.name}-{sample.name}")
        what = f"`{sample.name}` of {writer.name} as {reader.library} fetches it"
        await reader.seen.until(lambda: reader.seen.find(self.direct_room, event), f"{reader.name} sees the message with {what}")
        content = reader.seen.find(self.direct_room, event)["content"]
        same(content["info"]["mimetype"], sample.content_type, f"type in the message with {what}")
        fetched = await reader.download(content["url"])
        same(fetched.content_type, sample.content_type, f"type of {what}")
        same(fetched.name, sample.name, f"name of {what}")
        assert fetched.content == sample.content, f"{what}: {len(fetched.content)} other bytes"
        if sample.size:
            await self.thumbnails(reader, uri, sample, what)

    async def thumbnails(self, reader, uri: str, sample: Sample, what: str) -> None:
        for width, height, method in ((320, 240, "scale"), (96, 96, "crop")):
            small = await reader.thumbnail(uri, width, height, method)
            found = picture(small.content)
            same(found[0], small.content_type, f"type of a thumbnail of {what}")
            assert width <= found[1] < sample.size[0] and height <= found[2] < sample.size[1], f"{found}: thumbnail of {what}"
            assert method == "scale" or found[1:] == (width, height), f"{found}: cropped thumbnail of {what}"
        if sample.content_type == "image/gif" and reader is self.bob:
            moving = await reader.thumbnail(uri, 96, 96, "crop", animated=True)
            same(picture(moving.content), ("image/gif", 96, 96), f"moving thumbnail of {what}")
            same(frames_of(moving.content), GIF_FRAMES, f"frames of the moving thumbnail of {what}")

    async def page_back(self) -> None:
        """New devices, which know only the newest events of each room, page back to its creation."""
        for user in (NioUser(self.url, self.alice.name), JsUser(self.url, self.bob.name, self.bob.log)):
            self.devices.append(user)
            await user.login(PASSWORD)
            await user.start(limit=10)
            for room, wanted in self.sent.items():
                events = await user.history(room, page=17)
                ids = [event["event_id"] for event in events]
                same(len(ids), len(set(ids)), f"number of different events when {user.library} pages back")
                same(events[0]["type"], "m.room.create", f"the oldest event that {user.library} pages back to")
                # The raw event says what was sent; an edit stands beside it.
                bodies = [event["content"]["body"] for event in events if is_plain_message(event)]
                each_once_in_order(bodies, wanted, f"history of {room} as {user.library} pages back over it")
            await user.logout()

    async def read_and_count(self) -> None:
        last = self.alice.seen.events[self.group_room][-1]["event_id"]
        for user in self.users:
            await user.seen.until(lambda: user.seen.find(self.group_room, last), f"{user.name} has the last event")
            await user.read(self.group_room, last)
        for user in self.users:
            await self.counts(user, {"total": 0, "highlight": 0}, "after reading everything")
        for n in range(5):
            await self.alice.send(self.group_room, {"msgtype": "m.text", "body": f"unread {n}"}, txn=f"unread-{n}")
        mention = {"msgtype": "m.text", "body": "bob: look", "m.mentions": {"user_ids": [self.bob.user_id]}}
        newest = await self.alice.send(self.group_room, mention, txn="unread-mention")
        await self.counts(self.bob, {"total": 6, "highlight": 1}, "after five messages and a mention")
        await self.counts(self.carol, {"total": 6, "highlight": 0}, "after six messages without a mention of her")
        await self.counts(self.alice, {"total": 0, "highlight": 0}, "after her own messages")
        await self.bob.read(self.group_room, newest)
        await self.counts(self.bob, {"total": 0, "highlight": 0}, "after reading again")
        await self.counts(self.carol, {"total": 6, "highlight": 0}, "bob's reading does not change carol's counts")

    async def counts(self, user, wanted: dict, when: str) -> None:
        await eventually(
            lambda: user.unread(self.group_room), lambda got: got == wanted, f"unread counts of {user.name} {when}: {wanted}"
        )

    async def logout(self) -> None:
        for user in self.users:
            token = user.token()
            same(await asyncio.to_thread(status, self.url, token), 200, f"whoami of {user.name} before logging out")
            await user.logout()
            same(await asyncio.to_thread(status, self.url, token), 401, f"whoami of {user.name} with the token after logging out")

    async def tour(self) -> None:
        """Reads everything else that alice may read, so that these answers are held against their schemas, too."""
        me, room = quote(self.alice.user_id), quote(self.group_room)
        event = quote(self.ids[self.late(self.alice)])
        paths = [
            "v3/devices", "v3/account/3pid", "v3/joined_rooms", "v3/publicRooms", "v3/pushrules/global/", "v3/voip/turnServer",
            "v3/login", "v3/thirdparty/protocols", "v3/initialSync", f"v3/profile/{me}", f"v3/profile/{me}/displayname",
            f"v3/presence/{me}/status", f"v3/user/{me}/account_data/m.direct", f"v3/user/{me}/rooms/{room}/tags",
            f"v1/room_summary/{room}", f"v3/rooms/{room}/state", f"v3/rooms/{room}/state/m.room.name/", f"v3/rooms/{room}/aliases",
            f"v3/rooms/{room}/initialSync", f"v3/rooms/{room}/event/{event}", f"v3/rooms/{room}/context/{event}",
            f"v1/rooms/{room}/relations/{event}", f"v1/rooms/{room}/threads", f"v1/rooms/{room}/hierarchy",
            f"v1/rooms/{room}/timestamp_to_event?ts=0&dir=f", f"v3/directory/list/room/{room}", "v3/room_keys/version",
            "v1/media/config", f"v1/mutual_rooms?user_id={quote(self.bob.user_id)}", "v3/nothing-of-this-name",
        ]
        for path in paths:
            answer = await asyncio.to_thread(status, self.url, self.alice.token(), path)
            assert answer < 500, f"{path}: {answer}"

    async def close(self) -> None:
        await asyncio.gather(*(user.close() for user in self.users + self.devices), return_exceptions=True)


def quote(part: str) -> str:
    return urllib.parse.quote(part, safe="")


def status(url: str, token: str, path: str = "v3/account/whoami") -> int:
    request = urllib.request.Request(f"{url}/_matrix/client/{path}", headers={"Authorization": f"Bearer {token}"})
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


async def eventually(ask, good, what: str, seconds: float = 20) -> None:
    """Asks the client again until its picture is right: it is brought up to date by its own sync."""
    deadline = time.monotonic() + seconds
    while not good(got := await ask()):
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {seconds} s in vain: {what}; last seen: {got}")
        await asyncio.sleep(0.05)


async def stopped(server: Server) -> None:
    exit_status = await server.stop()
    assert exit_status == 0, f"exit status after SIGTERM is {exit_status}:\n{server.log_end()}"
    assert not server.panics(), f"the server panicked: {server.panics()}"


async def tell(options, folder: Path, report: Report) -> None:
    server = Server(options.binary, folder, options.command, options.url)
    # Everything that the clients ask passes the checker.
    checker = Checker(server.url, free_port())
    story = Story(server, checker.url, folder, options.suffix)
    check = report.check
    try:
        await check("the server starts", server.start())
        await checker.start()
        await check("register", story.register())
        await check("log in", story.login())
        await check("sync for the first time", story.start())
        await check("make a group, invite, join", story.group())
        await check("make a direct chat, invite, join", story.direct())
        kill_at = None if options.no_kill else MESSAGES // 2
        name = f"exchange {MESSAGES} messages with live sync" + ("" if options.no_kill else ", kill -9 and restart in the middle")
        await check(name, story.talk(kill_at))
        await check("edit", story.edit())
        await check("react", story.react())
        await check("redact", story.redact())
        await check("page back over everything", story.page_back())
        await check("send and fetch pictures and documents, with thumbnails", story.files())
        await check("mark read and see unread counts", story.read_and_count())
        await check("read everything else", story.tour())
        await check("log out", story.logout())
        await check("every answer was as the specification's schemas say", checker.verdict(OPERATIONS_MIN))
        await check("the server stops on SIGTERM without a panic", stopped(server))
    finally:
        await story.close()
        await checker.stop()
        if server.process and server.process.returncode is None:
            await server.kill()


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default=os.environ.get("HEARTH_BIN", "hearth"), help="the server (default $HEARTH_BIN)")
    parser.add_argument("--keep", action="store_true", help="keep the data folder and the logs")
    parser.add_argument("--no-kill", action="store_true", help="leave out the kill -9 in the middle")
    parser.add_argument("--command", help="start this instead of Hearth (to try the tests against another homeserver)")
    parser.add_argument("--url", help="where that other homeserver listens")
    parser.add_argument("--suffix", default="", help="appended to user names, for a server that has been used before")
    return parser.parse_args()


def main() -> int:
    options, report = arguments(), Report()
    folder = Path(tempfile.mkdtemp(prefix="hearth-clients-"))
    try:
        asyncio.run(tell(options, folder, report))
    except SystemExit:
        pass
    finally:
        if options.keep or report.failed:
            print(f"logs and data: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    print(f"{report.passed} passed, {report.failed} failed")
    return 1 if report.failed or not report.passed else 0


if __name__ == "__main__":
    sys.exit(main())
