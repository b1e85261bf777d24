"""A Hearth and a Synapse on loopback ports of their own, with certificates of a CA made for the run."""

import base64
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from canonicaljson import encode_canonical_json
from nacl.signing import SigningKey

START_SECONDS_MAX = 60


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def openssl(*arguments: str, folder: Path) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


class Authority:
    """The CA of a run."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.certificate = folder / "ca.crt"
        folder.mkdir(parents=True, exist_ok=True)
        openssl(
            "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
            "-subj", "/CN=interop CA", "-keyout", "ca.key", "-out", "ca.crt", folder=folder,
        )

    def issue(self, name: str) -> tuple[Path, Path]:
        (self.folder / f"{name}.ext").write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
        openssl(
            "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
            "-subj", "/CN=localhost", "-keyout", f"{name}.key", "-out", f"{name}.csr", folder=self.folder,
        )
        openssl(
            "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "1",
            "-out", f"{name}.crt", "-extfile", f"{name}.ext", folder=self.folder,
        )
        return self.folder / f"{name}.crt", self.folder / f"{name}.key"


class Server:
    """A server process: started, asked whether it is there, stopped, killed, started again."""

    def __init__(self, kind: str, folder: Path, authority: Authority):
        self.kind = kind
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        self.tls_port = free_port()
        self.port = free_port()
        self.name = f"localhost:{self.tls_port}"
        self.url = f"http://127.0.0.1:{self.port}"
        self.certificate, self.key = authority.issue(kind)
        self.authority = authority
        self.log = folder / "server.log"
        self.process: subprocess.Popen | None = None

    def command(self) -> tuple[list[str], dict[str, str]]:
        raise NotImplementedError

    def start(self) -> None:
        command, environment = self.command()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                command, cwd=self.folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        deadline = time.monotonic() + START_SECONDS_MAX
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"{self.kind} ended while starting:\n{self.log_end()}")
            try:
                with urllib.request.urlopen(f"{self.url}/_matrix/client/versions", timeout=5):
                    return
            except (urllib.error.URLError, OSError):
                time.sleep(0.1)
        raise RuntimeError(f"{self.kind} did not answer:\n{self.log_end()}")

    def stop(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()

    def kill(self) -> None:
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def log_end(self) -> str:
        return self.log.read_text(errors="replace")[-4000:] if self.log.exists() else ""

    def federation(self, path: str, body: dict | None = None) -> dict:
        """An unsigned question over TLS, checked with the CA of the run."""
        context = ssl.create_default_context(cafile=str(self.authority.certificate))
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"https://{self.name}{path}", data, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=20, context=context) as answer:
            return json.load(answer)


class Hearth(Server):
    def __init__(self, folder: Path, authority: Authority, binary: str, kind: str = "hearth"):
        self.binary = binary
        super().__init__(kind, folder, authority)

    def command(self) -> tuple[list[str], dict[str, str]]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith("HEARTH_")}
        environment |= {
            "HEARTH_SERVER_NAME": self.name,
            "HEARTH_LISTEN": f"127.0.0.1:{self.port}",
            "HEARTH_DATA_DIR": str(self.folder / "data"),
            "HEARTH_TLS__LISTEN": f"127.0.0.1:{self.tls_port}",
            "HEARTH_TLS__CERTIFICATE": str(self.certificate),
            "HEARTH_TLS__KEY": str(self.key),
            "HEARTH_EGRESS__ALLOW": '["127.0.0.0/8", "::1/128"]',
            "HEARTH_EGRESS__CA_FILE": str(self.authority.certificate),
            "HEARTH_RATE_LIMITS__ENABLED": "false",
            "HEARTH_REGISTRATION__ALLOW_OPEN": "true",
            "HEARTH_PASSWORD__MEMORY": '"8 KiB"',
            "HEARTH_PASSWORD__ITERATIONS": "1",
            "HEARTH_LOG__LEVEL": os.environ.get("HEARTH_LOG__LEVEL", "info,hearth_federation=debug,hearth_rooms=debug"),
        }
        return [self.binary, "serve"], environment


class Synapse(Server):
    def __init__(self, folder: Path, authority: Authority):
        super().__init__("synapse", folder, authority)
        config = {
            "server_name": self.name,
            "signing_key_path": str(folder / "signing.key"),
            "pid_file": str(folder / "synapse.pid"),
            "media_store_path": str(folder / "media"),
            "database": {"name": "sqlite3", "args": {"database": str(folder / "synapse.db")}},
            "listeners": [
                {
                    "port": self.tls_port, "bind_addresses": ["127.0.0.1"], "type": "http", "tls": True,
                    "resources": [{"names": ["client", "federation"]}],
                },
                {
                    "port": self.port, "bind_addresses": ["127.0.0.1"], "type": "http", "tls": False,
                    "resources": [{"names": ["client"]}],
                },
            ],
            "tls_certificate_path": str(self.certificate),
            "tls_private_key_path": str(self.key),
            "federation_custom_ca_list": [str(authority.certificate)],
            "ip_range_blacklist": [],
            "federation_ip_range_blacklist": [],
            "trusted_key_servers": [],
            "suppress_key_server_warning": True,
            "report_stats": False,
            "enable_registration": True,
            "enable_registration_without_verification": True,
            "registration_shared_secret": "interop",
            "macaroon_secret_key": "interop",
            "form_secret": "interop",
            "allow_public_rooms_over_federation": True,
            "room_list_publication_rules": [{"action": "allow"}],
            "presence": {"enabled": True},
            "bcrypt_rounds": 4,
            "log_config": str(folder / "log.yaml"),
            **{
                f"rc_{name}": {"per_second": 10_000, "burst_count": 10_000}
                for name in ("message", "registration", "admin_redaction", "room_creation")
            },
            "rc_login": {
                kind: {"per_second": 10_000, "burst_count": 10_000} for kind in ("address", "account", "failed_attempts")
            },
            "rc_presence": {"per_user": {"per_second": 10_000, "burst_count": 10_000}},
            "rc_joins": {kind: {"per_second": 10_000, "burst_count": 10_000} for kind in ("local", "remote")},
            "rc_joins_per_room": {"per_second": 10_000, "burst_count": 10_000},
            "rc_invites": {
                kind: {"per_second": 10_000, "burst_count": 10_000} for kind in ("per_room", "per_user", "per_issuer")
            },
            "rc_federation": {"window_size": 1000, "sleep_limit": 10_000, "sleep_delay": 1, "reject_limit": 10_000, "concurrent": 100},
            "federation": {"destination_min_retry_interval": "1s", "destination_max_retry_interval": "5s"},
        }
        # JSON is YAML.
        (folder / "homeserver.yaml").write_text(json.dumps(config))
        log = {
            "version": 1,
            "formatters": {"plain": {"format": "%(asctime)s %(name)s %(levelname)s %(request)s %(message)s"}},
            "filters": {"context": {"()": "synapse.logging.context.LoggingContextFilter", "request": ""}},
            "handlers": {"out": {"class": "logging.StreamHandler", "formatter": "plain", "filters": ["context"]}},
            "root": {"level": "INFO", "handlers": ["out"]},
            "disable_existing_loggers": False,
        }
        (folder / "log.yaml").write_text(json.dumps(log))
        subprocess.run(
            [sys.executable, "-m", "synapse.app.homeserver", "-c", "homeserver.yaml", "--generate-keys"],
            cwd=folder, check=True, capture_output=True,
        )

    def command(self) -> tuple[list[str], dict[str, str]]:
        return [sys.executable, "-m", "synapse.app.homeserver", "-c", "homeserver.yaml"], dict(os.environ)


class Refused(Exception):
    def __init__(self, status: int, body: dict):
        super().__init__(f"{status} {body}")
        self.status = status
        self.body = body


class User:
    """A user of a server, through the client-server API."""

    def __init__(self, server: Server, name: str):
        self.server = server
        self.token = None
        self.txn = 0
        answer = self.call("POST", "v3/register", {
            "username": name, "password": "correct horse", "auth": {"type": "m.login.dummy"},
        })
        self.id = answer["user_id"]
        self.token = answer["access_token"]
        self.device = answer["device_id"]
        self.since: str | None = None

    @classmethod
    def login(cls, user: "User") -> "User":
        """The same user on a further device."""
        fresh = cls.__new__(cls)
        fresh.server, fresh.token, fresh.txn, fresh.since = user.server, None, 0, None
        answer = fresh.call("POST", "v3/login", {
            "type": "m.login.password", "identifier": {"type": "m.id.user", "user": user.id}, "password": "correct horse",
        })
        fresh.id, fresh.token, fresh.device = answer["user_id"], answer["access_token"], answer["device_id"]
        return fresh

    def call(self, method: str, path: str, body: dict | None = None) -> dict:
        data = None if method == "GET" else json.dumps(body or {}).encode()
        request = urllib.request.Request(f"{self.server.url}/_matrix/client/{path}", data, method=method)
        request.add_header("Content-Type", "application/json")
        if self.token:
            request.add_header("Authorization", f"Bearer {self.token}")
        try:
            with urllib.request.urlopen(request, timeout=90) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            text = error.read()
            try:
                parsed = json.loads(text)
            except ValueError:
                parsed = {"error": text.decode(errors="replace")}
            raise Refused(error.code, parsed) from None

    def upload(self, data: bytes, kind: str) -> str:
        request = urllib.request.Request(f"{self.server.url}/_matrix/media/v3/upload?filename=file", data, method="POST")
        request.add_header("Content-Type", kind)
        request.add_header("Authorization", f"Bearer {self.token}")
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)["content_uri"]

    def fetch(self, path: str) -> tuple[str, bytes]:
        """Content type and bytes of an answer that is no JSON."""
        request = urllib.request.Request(f"{self.server.url}/_matrix/client/{path}")
        request.add_header("Authorization", f"Bearer {self.token}")
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.headers.get_content_type(), answer.read()

    def upload_keys(self, one_time: int = 3) -> SigningKey:
        """Device keys and one-time keys, signed as a client would."""
        signer = SigningKey.generate()

        def signed(content: dict) -> dict:
            signature = unpadded(signer.sign(encode_canonical_json(content)).signature)
            return content | {"signatures": {self.id: {f"ed25519:{self.device}": signature}}}

        device = signed({
            "user_id": self.id,
            "device_id": self.device,
            "algorithms": ["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"],
            "keys": {
                f"curve25519:{self.device}": unpadded(os.urandom(32)),
                f"ed25519:{self.device}": unpadded(bytes(signer.verify_key)),
            },
        })
        keys = {f"signed_curve25519:K{number}": signed({"key": unpadded(os.urandom(32))}) for number in range(one_time)}
        self.call("POST", "v3/keys/upload", {"device_keys": device, "one_time_keys": keys})
        return signer

    def room(self, **body) -> str:
        return self.call("POST", "v3/createRoom", body)["room_id"]

    def send(self, room: str, content: dict, kind: str = "m.room.message") -> str:
        self.txn += 1
        path = f"v3/rooms/{quote(room)}/send/{kind}/t{self.txn}.{time.time_ns()}"
        return self.call("PUT", path, content)["event_id"]

    def say(self, room: str, text: str) -> str:
        return self.send(room, {"msgtype": "m.text", "body": text})

    def state(self, room: str, kind: str, content: dict, key: str = "") -> str:
        return self.call("PUT", f"v3/rooms/{quote(room)}/state/{kind}/{quote(key)}", content)["event_id"]

    def join(self, room: str, *via: Server) -> str:
        query = "&".join(f"server_name={quote(server.name)}&via={quote(server.name)}" for server in via)
        return self.call("POST", f"v3/join/{quote(room)}?{query}")["room_id"]

    def sync(self, timeout: int = 0) -> dict:
        query = {"timeout": timeout * 1000} | ({"since": self.since} if self.since else {})
        answer = self.call("GET", f"v3/sync?{urllib.parse.urlencode(query)}")
        self.since = answer["next_batch"]
        return answer

    def messages(self, room: str, limit: int = 100, start: str | None = None) -> dict:
        query = {"dir": "b", "limit": limit} | ({"from": start} if start else {})
        return self.call("GET", f"v3/rooms/{quote(room)}/messages?{urllib.parse.urlencode(query)}")

    def bodies(self, room: str, limit: int = 100) -> list[str]:
        chunk = self.messages(room, limit)["chunk"]
        return [event["content"]["body"] for event in chunk if "body" in event.get("content", {})]

    def room_state(self, room: str) -> dict:
        events = self.call("GET", f"v3/rooms/{quote(room)}/state")
        return {(event["type"], event["state_key"]): event["event_id"] for event in events}


def unpadded(data: bytes) -> str:
    return base64.b64encode(data).decode().rstrip("=")


def quote(text: str) -> str:
    return urllib.parse.quote(text, safe="")


def eventually(what: str, check, seconds: float = 20.0):
    """The value of a check once it is true; fails with its last value or error."""
    deadline = time.monotonic() + seconds
    last = None
    while time.monotonic() < deadline:
        try:
            last = check()
            if last:
                return last
        except (Refused, KeyError, IndexError) as error:
            last = error
        time.sleep(0.05)
    raise AssertionError(f"{what}: not within {seconds} s; last: {last!r}")
