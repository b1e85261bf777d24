"""Friends and private groups across servers: two Hearths, and Hearth with Synapse, whose users have ordinary clients."""

import threading
import time

from servers import Refused, Server, User, eventually, quote

BASE = "unstable/chat.hearth.social"
MESSAGE = "It is me, from the choir"


class Side:
    """Somebody who befriends, whatever the client."""

    def __init__(self, server: Server, name: str):
        self.user = User(server, f"{name}{time.time_ns()}")
        self.id = self.user.id
        # What its syncs have shown so far: of each room the section and, of an invite, the state.
        self.rooms: dict[str, tuple[str, list[dict]]] = {}
        # A sync from the beginning shows nothing that was left, so later ones go on from here.
        self.look()

    def look(self) -> dict[str, tuple[str, list[dict]]]:
        for section, rooms in self.user.sync().get("rooms", {}).items():
            for room, found in rooms.items():
                self.rooms[room] = section, found.get("invite_state", {}).get("events", [])
        return self.rooms

    def membership(self, room: str, of: "Side") -> str | None:
        path = f"v3/rooms/{quote(room)}/state/m.room.member/{quote(of.id)}"
        try:
            return self.user.call("GET", path)["membership"]
        except Refused:
            return None

    def is_out(self, room: str) -> bool:
        """Whether it was shown and is neither joined nor invited any more."""
        return self.look().get(room, ("", []))[0] == "leave"

    def is_invited(self, room: str) -> bool:
        return self.look().get(room, ("", []))[0] == "invite"

    def reads(self, room: str, text: str) -> None:
        eventually(f"{self.id} reads `{text}`", lambda: text in self.user.bodies(room))


class Hearthling(Side):
    """Whose server knows of friends."""

    def ask(self, other: Side) -> dict:
        return self.user.call("GET", f"{BASE}/friends/{quote(other.id)}")

    def act(self, other: Side, act: str, body: dict | None = None) -> dict:
        return self.user.call("POST", f"{BASE}/friends/{quote(other.id)}/{act}", body)

    def stands(self, other: Side, state: str, ending: str | None = None) -> dict:
        def check() -> dict | None:
            found = self.ask(other)
            return found if found["state"] == state and found.get("ending") == ending else (_ for _ in ()).throw(KeyError(str(found)))

        return eventually(f"{self.id} is `{state}` with {other.id}", check)

    def request(self, other: Side) -> str:
        return self.act(other, "request", {"message": MESSAGE})["room_id"]

    def sees_request(self, other: Side) -> str:
        found = self.stands(other, "pending_in")
        return found["room_id"]

    def accept(self, other: Side) -> None:
        assert self.act(other, "accept")["state"] == "friend"

    def decline(self, other: Side, room: str) -> None:
        self.act(other, "decline")

    def withdraw(self, other: Side, room: str) -> None:
        self.act(other, "withdraw")

    def unfriend(self, other: Side, room: str) -> None:
        self.act(other, "unfriend")

    def is_friend(self, other: Side, room: str) -> None:
        assert self.stands(other, "friend")["room_id"] == room
        direct = f"v3/user/{quote(self.id)}/account_data/m.direct"
        eventually("m.direct", lambda: room in self.user.call("GET", direct).get(other.id, []))

    def is_over(self, other: Side, room: str, ending: str) -> None:
        """The own side of an end, whoever ended it: the server leaves what the other has left."""
        self.stands(other, "ended", ending)
        eventually("the room is a past one", lambda: room in self.ask(other)["past_rooms"])
        eventually("its user is out", lambda: self.is_out(room))

    def opens(self, *others: Side) -> dict:
        return self.user.call("POST", f"{BASE}/private_groups", {"members": [other.id for other in others]})


class Stranger(Side):
    """Whose server does not: requests are invites to direct chats, joining and leaving answer them."""

    def request(self, other: Side) -> str:
        # With `trusted_private_chat` both have the same power, and an invite cannot be taken back.
        return self.user.room(preset="private_chat", is_direct=True, invite=[other.id])

    def invite(self, other: Side) -> tuple[str, dict] | None:
        for room, (section, state) in self.look().items():
            for event in state if section == "invite" else []:
                if event["type"] == "m.room.member" and event["state_key"] == self.id and event["sender"] == other.id:
                    return room, event["content"]
        return None

    def sees_request(self, other: Side) -> str:
        room, content = eventually(f"{self.id} is invited", lambda: self.invite(other))
        assert content["is_direct"] is True, content
        assert content["reason"] == MESSAGE, content
        return room

    def accept(self, other: Side) -> None:
        self.user.join(self.invite(other)[0], other.user.server)

    def decline(self, other: Side, room: str) -> None:
        self.user.call("POST", f"v3/rooms/{quote(room)}/leave")

    unfriend = decline

    def withdraw(self, other: Side, room: str) -> None:
        self.user.call("POST", f"v3/rooms/{quote(room)}/kick", {"user_id": other.id})

    def is_friend(self, other: Side, room: str) -> None:
        eventually("the other is in the room", lambda: self.membership(room, other) == "join")

    def is_over(self, other: Side, room: str, ending: str) -> None:
        """It sees the other go; an invite that was taken back is gone."""
        eventually("the other is gone", lambda: self.is_out(room) or self.membership(room, other) == "leave")


def befriend(one: Side, other: Side) -> str:
    room = one.request(other)
    assert other.sees_request(one) == room
    other.accept(one)
    one.is_friend(other, room)
    other.is_friend(one, room)
    return room


def talk(one: Side, other: Side, room: str, words: str) -> None:
    for speaker, listener in ((one, other), (other, one)):
        text = f"{words} from {speaker.id}"
        speaker.user.say(room, text)
        listener.reads(room, text)


def life_of_friends(one: Side, other: Side) -> None:
    """Asked, accepted, unfriended from either side, befriended again: new records each time, and the old ones stay."""
    rooms = []
    for asks, answers, ends in ((one, other, one), (other, one, other), (one, other, other)):
        room = befriend(asks, answers)
        assert room not in rooms, f"the old room {room} again"
        rooms.append(room)
        talk(one, other, room, f"time {len(rooms)}")
        ends.unfriend(other if ends is one else one, room)
        one.is_over(other, room, "unfriended")
        other.is_over(one, room, "unfriended")
        for reader in (one, other):
            reader.reads(room, f"time {len(rooms)} from {one.id}")


def declined_and_withdrawn(one: Side, other: Side) -> None:
    for asks, answers in ((one, other), (other, one)):
        room = asks.request(answers)
        assert answers.sees_request(asks) == room
        answers.decline(asks, room)
        asks.is_over(answers, room, "declined")
        answers.is_over(asks, room, "declined")
        room = asks.request(answers)
        assert answers.sees_request(asks) == room
        asks.withdraw(answers, room)
        answers.is_over(asks, room, "withdrawn")
        try:
            answers.user.join(room, asks.user.server)
            raise AssertionError("came in although the request was withdrawn")
        except Refused as refused:
            # Synapse says so of a server that does not let it in.
            assert refused.status in (403, 404, 502), refused


def crossed(one: Hearthling, other: Hearthling) -> None:
    """Both ask at the same time: they are friends, in one room."""
    asking = [
        threading.Thread(target=asks.request, args=(answers,)) for asks, answers in ((one, other), (other, one))
    ]
    for thread in asking:
        thread.start()
    for thread in asking:
        thread.join()
    room = one.stands(other, "friend")["room_id"]
    eventually("both have the same room", lambda: other.stands(one, "friend")["room_id"] == one.ask(other)["room_id"])
    talk(one, other, one.ask(other)["room_id"], "crossed")
    assert other.ask(one)["room_id"] == one.ask(other)["room_id"], room


def opened_again(maker: Hearthling, others: list[Side]) -> None:
    """One room for the exact set, whoever opens it; another set is another room."""
    made = maker.opens(*others)
    assert made["created"], made
    room = made["group"]["room_id"]
    again = maker.opens(*others)
    assert not again["created"] and again["group"]["room_id"] == room, again
    for other in others:
        eventually("the invite arrives", lambda: other.is_invited(room))
        if isinstance(other, Hearthling):
            found = other.opens(maker, *[third for third in others if third is not other])
            assert not found["created"] and found["group"]["room_id"] == room, found
        else:
            other.user.join(room, maker.user.server)
        eventually("the join arrives", lambda: maker.membership(room, other) == "join")
    talk(maker, others[0], room, "in the group")
    again = maker.opens(*others)
    assert not again["created"] and again["group"]["room_id"] == room, again
    others[-1].user.call("POST", f"v3/rooms/{quote(room)}/leave")
    eventually("the leave arrives", lambda: maker.membership(room, others[-1]) == "leave")
    fresh = maker.opens(*others)
    assert fresh["created"] and fresh["group"]["room_id"] != room, fresh

