"""The people of the test: whoever is asked about, and what has to be so before a request can succeed."""

import json
import random
import urllib.parse
from dataclasses import dataclass

import requests

BASE = "/_matrix/client/unstable/chat.hearth.social"
PASSWORD = "correct horse battery staple"
# How the caller has to stand with somebody for an act to succeed; the first is brought about.
WANTED = {
    "requestFriend": ("ended", "none", "pending_in", "pending_out", "friend"),
    "acceptFriend": ("pending_in", "friend"),
    "declineFriend": ("pending_in",),
    "withdrawFriend": ("pending_out",),
    "unfriend": ("friend",),
    "blockUser": ("friend", "pending_in", "pending_out", "ended", "none"),
    "unblockUser": ("blocked",),
}


@dataclass
class Person:
    user: str
    token: str


class Cast:
    """The caller, and the others with whom she is something or other."""

    def __init__(self, url: str, caller: Person, others: list[Person], seed: int):
        self.url = url
        self.caller = caller
        self.others = others
        self.random = random.Random(seed)
        self.session = requests.Session()

    @classmethod
    def load(cls, text: str) -> "Cast":
        stored = json.loads(text)
        people = [Person(**person) for person in stored["people"]]
        return cls(stored["url"], people[0], people[1:], stored["seed"])

    def ask(self, person: Person, method: str, path: str, body: dict | None = None) -> dict:
        """A request that has to succeed; refusals are failures of the test."""
        headers = {"Authorization": f"Bearer {person.token}"}
        answer = self.session.request(method, self.url + BASE + path, json=body, headers=headers, timeout=60)
        assert answer.status_code == 200, f"{person.user}: {method} {path}: {answer.status_code} {answer.text}"
        return answer.json()

    def act(self, person: Person, other: Person, act: str) -> dict:
        return self.ask(person, "POST", f"/friends/{urllib.parse.quote(other.user)}/{act}", {})

    def state(self, other: Person) -> str:
        return self.ask(self.caller, "GET", f"/friends/{urllib.parse.quote(other.user)}")["state"]

    def bring_about(self, other: Person, wanted: str) -> None:
        """Makes the caller stand with somebody in a certain way."""
        state = self.state(other)
        if state == wanted:
            return
        if wanted == "blocked":
            self.act(self.caller, other, "block")
            return
        if state == "blocked":
            self.act(self.caller, other, "unblock")
            state = self.state(other)
        if state == "pending_in" and wanted == "friend":
            self.act(self.caller, other, "accept")
            return
        ending = {"friend": "unfriend", "pending_out": "withdraw", "pending_in": "decline"}.get(state)
        if ending and state != wanted:
            self.act(self.caller, other, ending)
        if wanted in ("pending_out", "friend"):
            self.act(self.caller, other, "request")
        if wanted == "friend":
            self.act(other, self.caller, "accept")
        if wanted == "pending_in":
            self.act(other, self.caller, "request")

    def friends(self) -> list[str]:
        """Some of those who are friends now; there is always one."""
        circle = [user["user_id"] for user in self.ask(self.caller, "GET", "/circle?limit=100")["users"]]
        if not circle:
            other = self.random.choice(self.others)
            self.bring_about(other, "friend")
            circle = [other.user]
        return self.random.sample(circle, self.random.randint(1, min(3, len(circle))))

    def token(self, path: str, query: dict) -> str | None:
        """What leads to the second page of a list, if it has one."""
        kept = {name: value for name, value in query.items() if name in ("list", "search", "state")}
        return self.ask(self.caller, "GET", f"{path}?{urllib.parse.urlencode({**kept, 'limit': 1})}").get("next_batch")
