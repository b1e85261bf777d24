"""Somebody with matrix-nio, who knows nothing of friends: driven over lines of JSON by other.mjs.

A line in is `{"id", "command", …}`, a line out `{"id", "answer"}` or `{"id", "error"}`. Commands are waited for one by one.
"""

import asyncio
import json
import sys
import traceback
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "clients"))

import nio  # noqa: E402
from users import NioUser  # noqa: E402

LINE_BYTES_MAX = 1024 * 1024


class Stranger(NioUser):
    """Keeps what invites say, and sees rooms end."""

    def __init__(self, url: str, name: str):
        super().__init__(url, name)
        self.invites: dict[str, dict] = {}
        self.serial = 0

    async def _take(self, answer) -> None:
        for room, update in answer.rooms.invite.items():
            for event in update.invite_state:
                if isinstance(event, nio.InviteMemberEvent) and event.state_key == self.user_id:
                    self.invites[room] = {"room": room, "inviter": event.sender, "content": event.content}
        await super()._take(answer)
        for room in answer.rooms.join:
            await self.seen.membership(room, "join")
        for room in answer.rooms.leave:
            await self.seen.membership(room, "leave")

    async def begin(self, password: str) -> dict:
        await self.register(password)
        await self.login(password)
        await self.start(limit=50)
        return {"user_id": self.user_id}

    async def invited(self, inviter: str) -> dict:
        def waiting():
            for room, membership in self.seen.memberships.items():
                if membership == "invite" and self.invites.get(room, {}).get("inviter") == inviter:
                    return self.invites[room]
            return None

        return await self.seen.until(waiting, f"{self.name} is invited by {inviter}")

    async def out(self, room: str) -> None:
        await self.seen.until(lambda: self.seen.memberships.get(room) == "leave", f"{self.name} is no longer in {room}")

    async def member(self, room: str, user: str, membership: str) -> None:
        def is_so() -> bool:
            changes = [event for event in self.seen.events.get(room, []) if event["type"] == "m.room.member"]
            changes = [event["content"]["membership"] for event in changes if event["state_key"] == user]
            return changes[-1:] == [membership]

        await self.seen.until(is_so, f"{self.name} sees that {user} is {membership} in {room}")

    async def leave(self, room: str) -> None:
        self._good(await self.client.room_leave(room), nio.RoomLeaveResponse)

    async def asks(self, user: str) -> str:
        """The way in which every client begins a direct chat."""
        return await self.create(is_direct=True, preset=nio.RoomPreset.trusted_private_chat, invite=[user])

    async def says(self, room: str, text: str) -> None:
        self.serial += 1
        await self.send(room, {"msgtype": "m.text", "body": text}, f"nio-{self.serial}")

    async def reads(self, room: str, text: str) -> None:
        await self.seen.until(lambda: text in self.seen.bodies(room), f"{self.name} reads `{text}` in {room}")

    async def direct(self) -> dict:
        answer = await self.client.list_direct_rooms()
        return answer.rooms if isinstance(answer, nio.DirectRoomsResponse) else {}


COMMANDS = ("begin", "invited", "out", "member", "join", "leave", "asks", "says", "reads", "direct", "close")


async def main() -> None:
    url, name = sys.argv[1:]
    user = Stranger(url, name)
    lines = asyncio.StreamReader(limit=LINE_BYTES_MAX)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    async for line in lines:
        call = json.loads(line)
        identity, command = call.pop("id"), call.pop("command")
        try:
            assert command in COMMANDS, command
            answer = {"id": identity, "answer": await getattr(user, command)(**call)}
        except Exception:
            answer = {"id": identity, "error": traceback.format_exc()}
        print(json.dumps(answer), flush=True)
        if command == "close":
            return
    await user.close()


asyncio.run(main())
