"""Hearth and Synapse, in both directions; where it matters a second Hearth. Each part is a function named part_…; arguments select parts by name."""

import base64
import os
import shutil
import sys
import tempfile
import time
import traceback
from pathlib import Path

import friends
from servers import Authority, Hearth, Refused, Server, Synapse, User, eventually, quote


class World:
    def __init__(self, folder: Path):
        authority = Authority(folder / "ca")
        self.hearth = Hearth(folder / "hearth", authority, os.environ["HEARTH_BIN"])
        self.second = Hearth(folder / "second", authority, os.environ["HEARTH_BIN"], "second")
        self.synapse = Synapse(folder / "synapse", authority)
        self.synapse.start()
        self.hearth.start()
        self.anna = User(self.hearth, "anna")
        self.ben = User(self.synapse, "ben")

    def directions(self):
        """(a user of the one server, a user of the other), both ways."""
        return [(self.anna, self.ben), (self.ben, self.anna)]

    def pairs(self):
        """(a user of Hearth, a user of another server): of a second Hearth, then of Synapse; always new ones."""
        if self.second.process is None:
            self.second.start()
        yield friends.Hearthling(self.hearth, "one"), friends.Hearthling(self.second, "two")
        yield friends.Hearthling(self.hearth, "one"), friends.Stranger(self.synapse, "two")

    def stop(self) -> None:
        for server in (self.hearth, self.second, self.synapse):
            server.stop()


def ask_notary(notary: Server, about: Server) -> list[dict]:
    keys = about.federation("/_matrix/key/v2/server")["verify_keys"]
    criteria = {about.name: {key: {"minimum_valid_until_ts": int(time.time() * 1000)} for key in keys}}
    return notary.federation("/_matrix/key/v2/query", {"server_keys": criteria})["server_keys"]


def part_keys(world: World) -> None:
    """Each tells the other's keys as a notary, signed by both."""
    for notary, about in ((world.hearth, world.synapse), (world.synapse, world.hearth)):
        documents = ask_notary(notary, about)
        assert len(documents) == 1, documents
        assert documents[0]["server_name"] == about.name
        assert set(documents[0]["signatures"]) == {notary.name, about.name}, documents[0]["signatures"]


def part_version(world: World) -> None:
    assert world.hearth.federation("/_matrix/federation/v1/version")["server"]["name"] == "Hearth"


def part_profile(world: World) -> None:
    """Profiles of the other server's users."""
    for own, other in world.directions():
        other.call("PUT", f"v3/profile/{quote(other.id)}/displayname", {"displayname": f"Name of {other.id}"})
        profile = own.call("GET", f"v3/profile/{quote(other.id)}")
        assert profile["displayname"] == f"Name of {other.id}", profile


def part_directory(world: World) -> None:
    """The other server's room directory, and an alias that leads into it."""
    for own, other in world.directions():
        name = f"Public room of {other.server.kind}"
        room = other.room(preset="public_chat", visibility="public", name=name, room_alias_name=f"pub{time.time_ns()}")
        page = own.call("GET", f"v3/publicRooms?server={quote(other.server.name)}")
        assert room in [found["room_id"] for found in page["chunk"]], page
        search = own.call("POST", f"v3/publicRooms?server={quote(other.server.name)}", {"filter": {"generic_search_term": name}})
        assert [found["name"] for found in search["chunk"]] == [name], search


def shared_room(owner: User, guest: User, **body) -> str:
    """A room of the owner's into which the guest has come over federation."""
    room = owner.room(preset="public_chat", **body)
    assert guest.join(room, owner.server) == room
    eventually("the join arrives", lambda: ("m.room.member", guest.id) in owner.room_state(room))
    return room


def chat(one: User, other: User, room: str, count: int = 10) -> None:
    said = []
    for number in range(count):
        speaker, listener = ((one, other), (other, one))[number % 2]
        said.append(speaker.say(room, f"{number} from {speaker.id}"))
        eventually("a message arrives", lambda: said[-1] in [
            event["event_id"] for event in listener.messages(room, 20)["chunk"]
        ])


def same_state(one: User, other: User, room: str) -> None:
    def check():
        left, right = one.room_state(room), other.room_state(room)
        return left == right or (_ for _ in ()).throw(KeyError(set(left.items()) ^ set(right.items())))

    eventually("both servers have the same state", check)


def part_join(world: World) -> None:
    """A public room of the other server is joined, and both talk; in several room versions."""
    for version in ("6", "10", "11", "12"):
        for owner, guest in world.directions():
            room = shared_room(owner, guest, room_version=version)
            chat(owner, guest, room, 6)
            same_state(owner, guest, room)


def part_alias(world: World) -> None:
    """By alias."""
    for owner, guest in world.directions():
        alias = f"alias{time.time_ns()}"
        room = owner.room(preset="public_chat", room_alias_name=alias)
        assert guest.join(f"#{alias}:{owner.server.name}") == room
        chat(owner, guest, room, 2)


def part_invite(world: World) -> None:
    """Invited, seen, accepted; another invite declined."""
    for owner, guest in world.directions():
        room = owner.room(preset="private_chat")
        owner.call("POST", f"v3/rooms/{quote(room)}/invite", {"user_id": guest.id})
        eventually("the invite arrives", lambda: room in guest.sync().get("rooms", {}).get("invite", {}))
        guest.join(room)
        chat(owner, guest, room, 4)
        same_state(owner, guest, room)
        other = owner.room(preset="private_chat")
        owner.call("POST", f"v3/rooms/{quote(other)}/invite", {"user_id": guest.id})
        eventually("the invite arrives", lambda: other in guest.sync().get("rooms", {}).get("invite", {}))
        guest.call("POST", f"v3/rooms/{quote(other)}/leave")
        eventually("the refusal arrives", lambda: membership(owner, other, guest) == "leave")


def membership(asker: User, room: str, of: User) -> str | None:
    try:
        content = asker.call("GET", f"v3/rooms/{quote(room)}/state/m.room.member/{quote(of.id)}")
    except Refused:
        return None
    return content["membership"]


def part_leave_kick_ban(world: World) -> None:
    for owner, guest in world.directions():
        room = shared_room(owner, guest)
        guest.call("POST", f"v3/rooms/{quote(room)}/leave")
        eventually("the leave arrives", lambda: membership(owner, room, guest) == "leave")
        guest.join(room, owner.server)
        eventually("the join arrives", lambda: membership(owner, room, guest) == "join")
        owner.call("POST", f"v3/rooms/{quote(room)}/kick", {"user_id": guest.id})
        eventually("the kick arrives", lambda: room in guest.sync().get("rooms", {}).get("leave", {}))
        guest.join(room, owner.server)
        eventually("the join arrives", lambda: membership(owner, room, guest) == "join")
        owner.call("POST", f"v3/rooms/{quote(room)}/ban", {"user_id": guest.id})
        eventually("the ban arrives", lambda: room in guest.sync().get("rooms", {}).get("leave", {}))
        try:
            guest.join(room, owner.server)
            raise AssertionError("a banned user came in")
        except Refused as refused:
            assert refused.status == 403, refused


def part_knock(world: World) -> None:
    for owner, guest in world.directions():
        room = owner.room(preset="private_chat", room_version="11")
        owner.state(room, "m.room.join_rules", {"join_rule": "knock"})
        guest.call("POST", f"v3/knock/{quote(room)}?server_name={quote(owner.server.name)}&via={quote(owner.server.name)}")
        eventually("the knock arrives", lambda: membership(owner, room, guest) == "knock")
        owner.call("POST", f"v3/rooms/{quote(room)}/invite", {"user_id": guest.id})
        eventually("the invite arrives", lambda: room in guest.sync().get("rooms", {}).get("invite", {}))
        guest.join(room, owner.server)
        chat(owner, guest, room, 2)


def part_edits_reactions_redactions(world: World) -> None:
    for owner, guest in world.directions():
        room = shared_room(owner, guest)
        original = owner.say(room, "original")
        eventually("the message arrives", lambda: "original" in guest.bodies(room))
        edit = owner.send(room, {
            "msgtype": "m.text", "body": "* edited", "m.new_content": {"msgtype": "m.text", "body": "edited"},
            "m.relates_to": {"rel_type": "m.replace", "event_id": original},
        })
        reaction = guest.send(
            room, {"m.relates_to": {"rel_type": "m.annotation", "event_id": original, "key": "+"}}, "m.reaction"
        )

        def related(asker: User, kind: str) -> list[str]:
            found = asker.call("GET", f"v1/rooms/{quote(room)}/relations/{quote(original)}/{kind}")
            return [event["event_id"] for event in found["chunk"]]

        eventually("the edit arrives", lambda: edit in related(guest, "m.replace"))
        eventually("the reaction arrives", lambda: reaction in related(owner, "m.annotation"))
        owner.call("PUT", f"v3/rooms/{quote(room)}/redact/{quote(original)}/r{time.time_ns()}", {"reason": "gone"})
        path = f"v3/rooms/{quote(room)}/event/{quote(original)}"
        eventually("the redaction arrives", lambda: guest.call("GET", path)["content"] == {})


def part_typing_receipts(world: World) -> None:
    for owner, guest in world.directions():
        room = shared_room(owner, guest)
        event = owner.say(room, "read me")
        eventually("the message arrives", lambda: "read me" in guest.bodies(room))
        owner.sync()

        def ephemeral(kind: str):
            events = owner.sync(1)["rooms"].get("join", {}).get(room, {}).get("ephemeral", {}).get("events", [])
            return [found["content"] for found in events if found["type"] == kind]

        guest.call("PUT", f"v3/rooms/{quote(room)}/typing/{quote(guest.id)}", {"typing": True, "timeout": 20_000})
        eventually("typing arrives", lambda: [1 for found in ephemeral("m.typing") if guest.id in found["user_ids"]])
        guest.call("POST", f"v3/rooms/{quote(room)}/receipt/m.read/{quote(event)}")
        eventually("the receipt arrives", lambda: [
            1 for found in ephemeral("m.receipt") if guest.id in found.get(event, {}).get("m.read", {})
        ])


def part_presence(world: World) -> None:
    """Who shares a room is seen to be there, with what she says of herself, and to be gone."""
    for owner, guest in world.directions():
        shared_room(owner, guest)
        owner.sync()

        def seen() -> dict:
            events = owner.sync(1).get("presence", {}).get("events", [])
            for event in events:
                if event["sender"] == guest.id:
                    shown.update({"status_msg": None} | event["content"])
            return shown

        for presence, words in (("online", f"busy {time.time_ns()}"), ("unavailable", f"away {time.time_ns()}")):
            shown: dict = {}
            path = f"v3/presence/{quote(guest.id)}/status"
            guest.call("PUT", path, {"presence": presence, "status_msg": words})
            eventually(f"`{presence}` arrives", lambda: seen().get("presence") == presence and shown["status_msg"] == words)


# The smallest image that is one.
DOT = base64.b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")


def part_media(world: World) -> None:
    """A file and an image of the other server, as they were, and a thumbnail."""
    for owner, guest in world.directions():
        for data, kind in ((os.urandom(3 << 20), "application/octet-stream"), (DOT, "image/png")):
            media = owner.upload(data, kind).removeprefix("mxc://")
            found_kind, found = guest.fetch(f"v1/media/download/{media}")
            assert found == data and found_kind == kind, (found_kind, len(found))
            kind_of_named, _ = guest.fetch(f"v1/media/download/{media}/other-name.bin")
            assert kind_of_named == kind, kind_of_named
        kind, thumbnail = guest.fetch(f"v1/media/thumbnail/{media}?width=32&height=32&method=scale")
        assert kind.startswith("image/") and thumbnail, kind


def part_spaces(world: World) -> None:
    """The tree of a space whose rooms are on both servers, from either side; what nobody may know of is not in it."""
    for owner, guest in world.directions():
        root = owner.room(preset="public_chat", creation_content={"type": "m.space"}, name="root")
        inner = guest.room(preset="public_chat", creation_content={"type": "m.space"}, name="inner")
        leaf = guest.room(preset="public_chat", name="leaf")
        hidden = guest.room(preset="private_chat", name="hidden")
        for user, space, child in ((owner, root, inner), (guest, inner, leaf), (guest, inner, hidden)):
            user.state(space, "m.space.child", {"via": [guest.server.name]}, child)

        def tree(user: User) -> list[str]:
            return [room["room_id"] for room in user.call("GET", f"v1/rooms/{quote(root)}/hierarchy")["rooms"]]

        assert sorted(tree(owner)) == sorted([root, inner, leaf]), tree(owner)
        guest.join(root, owner.server)
        eventually("the join arrives", lambda: membership(owner, root, guest) == "join")
        assert sorted(tree(guest)) == sorted([root, inner, leaf, hidden]), tree(guest)


def part_backfill(world: World) -> None:
    """500 messages from before the join."""
    for owner, guest in world.directions():
        room = owner.room(preset="public_chat")
        said = [owner.say(room, f"old {number}") for number in range(500)]
        guest.join(room, owner.server)
        seen, start = [], None
        for _ in range(100):
            page = guest.messages(room, 50, start)
            seen += [event["event_id"] for event in page["chunk"]]
            start = page.get("end")
            if not start:
                break
        missing = [event for event in said if event not in seen]
        assert not missing, f"{len(missing)} of 500 are missing"


def part_backlog(world: World) -> None:
    """One server is down while the other talks; then both have everything."""
    for owner, guest in world.directions():
        room = shared_room(owner, guest)
        guest.server.stop()
        said = [owner.say(room, f"while you were away {number}") for number in range(60)]
        guest.server.start()
        said.append(owner.say(room, "are you back?"))
        eventually("the backlog arrives", lambda: set(said) <= {
            event["event_id"] for event in guest.messages(room, 100)["chunk"]
        }, 60)
        chat(owner, guest, room, 2)
        same_state(owner, guest, room)


def part_restart(world: World) -> None:
    """Both are restarted in the middle of a conversation."""
    room = shared_room(world.anna, world.ben)
    chat(world.anna, world.ben, room, 4)
    for server in (world.hearth, world.synapse):
        server.kill()
        server.start()
        chat(world.anna, world.ben, room, 4)
    same_state(world.anna, world.ben, room)


def part_encryption(world: World) -> None:
    """Device keys, one-time keys and messages to devices of the other server's users; changes of their devices."""
    for own, other in world.directions():
        other.upload_keys()
        room = shared_room(own, other)
        found = own.call("POST", "v3/keys/query", {"device_keys": {other.id: []}})
        assert other.device in found["device_keys"].get(other.id, {}), found
        claim = {"one_time_keys": {other.id: {other.device: "signed_curve25519"}}}
        claimed = [own.call("POST", "v3/keys/claim", claim)["one_time_keys"][other.id][other.device] for _ in range(2)]
        assert claimed[0].keys() != claimed[1].keys(), claimed
        other.sync()
        sent = [f"{number} {time.time_ns()}" for number in range(20)]
        for number, text in enumerate(sent):
            messages = {other.id: {other.device: {"text": text}}}
            own.call("PUT", f"v3/sendToDevice/interop.test/{number}.{time.time_ns()}", {"messages": messages})
        received: list[str] = []

        def arrived() -> bool:
            events = other.sync(1).get("to_device", {}).get("events", [])
            received.extend(event["content"]["text"] for event in events if event["type"] == "interop.test")
            return len(received) >= len(sent)

        eventually("messages to a device arrive", arrived)
        assert received == sent, received
        own.sync()
        fresh = User.login(other)
        fresh.upload_keys()
        eventually("a new device is told of", lambda: other.id in own.sync(1).get("device_lists", {}).get("changed", []))

        def is_known() -> bool:
            found = own.call("POST", "v3/keys/query", {"device_keys": {other.id: []}})["device_keys"][other.id]
            return {other.device, fresh.device} <= found.keys()

        # It is told of when it logs in, and its keys are a moment later.
        eventually("the new device's keys", is_known)
        chat(own, other, room, 2)


def part_restricted(world: World) -> None:
    """Whoever is in the space may come into the room."""
    for owner, guest in world.directions():
        space = owner.room(preset="public_chat", creation_content={"type": "m.space"}, room_version="11")
        allow = [{"type": "m.room_membership", "room_id": space}]
        room = owner.room(preset="private_chat", room_version="11", initial_state=[
            {"type": "m.room.join_rules", "state_key": "", "content": {"join_rule": "restricted", "allow": allow}},
        ])
        try:
            guest.join(room, owner.server)
            raise AssertionError("came in without being in the space")
        except Refused as refused:
            assert refused.status in (400, 403), refused
        guest.join(space, owner.server)
        guest.join(room, owner.server)
        chat(owner, guest, room, 2)


def part_upgrade(world: World) -> None:
    for owner, guest in world.directions():
        room = shared_room(owner, guest, room_version="10")
        new = owner.call("POST", f"v3/rooms/{quote(room)}/upgrade", {"new_version": "11"})["replacement_room"]
        eventually("the tombstone arrives", lambda: ("m.room.tombstone", "") in guest.room_state(room))
        guest.join(new, owner.server)
        chat(owner, guest, new, 2)


def part_friends(world: World) -> None:
    """Asked, accepted, ended, befriended again."""
    for one, other in world.pairs():
        friends.life_of_friends(one, other)


def part_requests(world: World) -> None:
    """Declined and withdrawn, from either side; both at once between two Hearths."""
    for one, other in world.pairs():
        friends.declined_and_withdrawn(one, other)
        if isinstance(other, friends.Hearthling):
            friends.crossed(one, other)


def part_private_groups(world: World) -> None:
    """One room for one exact set of users, across servers."""
    for one, other in world.pairs():
        friends.befriend(one, other)
        friends.opened_again(one, [other])
    (one, two), (_, three) = world.pairs()
    for other in (two, three):
        friends.befriend(one, other)
    friends.opened_again(one, [two, three])


def main() -> int:
    wanted = sys.argv[1:]
    parts = {name.removeprefix("part_"): part for name, part in globals().items() if name.startswith("part_")}
    unknown = set(wanted) - set(parts)
    if unknown:
        print(f"no such part: {sorted(unknown)}; there are {sorted(parts)}")
        return 2
    folder = Path(tempfile.mkdtemp(prefix="hearth-interop-"))
    failed = []
    world = World(folder)
    try:
        for name in wanted or parts:
            began = time.monotonic()
            try:
                parts[name](world)
                print(f"ok      {name} ({time.monotonic() - began:.1f} s)", flush=True)
            except Exception:
                failed.append(name)
                print(f"FAILED  {name} ({time.monotonic() - began:.1f} s)", flush=True)
                traceback.print_exc()
    finally:
        world.stop()
    print(f"{len(wanted or parts) - len(failed)} passed, {len(failed)} failed")
    if failed:
        print(f"logs are kept in {folder}")
        return 1
    shutil.rmtree(folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
