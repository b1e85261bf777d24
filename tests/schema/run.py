#!/usr/bin/env python3
"""Requests made out of spec/social.yaml go to a real server, and every answer is held against what is described there.

    run.py [--seed N | --fresh] [--description FILE] [--examples N]

Schemathesis makes them, valid and invalid; hooks.py fills in people, page tokens and how people stand with each other, so that acts
succeed as well as fail. A status, a field or a type that is not described, a request that is refused though it is valid or taken though it
is not, fails the test. So does a run in which too little has succeeded to have seen anything.
"""

import argparse
import asyncio
import json
import os
import random
import shutil
import sys
import tempfile
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "clients"))

from cast import BASE, PASSWORD  # noqa: E402
from server import Server  # noqa: E402

DESCRIPTION = HERE.parent.parent / "spec" / "social.yaml"
SEED = 7
# Generated requests of each operation.
EXAMPLES = 24
SECONDS_MAX = 240
OTHERS = 12
# Of each operation's answers, at least so many are successes; of all, at least this share.
SUCCESSES_MIN = 10
SHARE_MIN = 0.3


def register(url: str, name: str) -> dict[str, str]:
    body = {"username": name, "password": PASSWORD, "auth": {"type": "m.login.dummy"}}
    request = urllib.request.Request(
        f"{url}/_matrix/client/v3/register", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        made = json.load(answer)
    return {"user": made["user_id"], "token": made["access_token"]}


def command(url: str, description: Path, token: str, options: argparse.Namespace) -> list[str]:
    return [
        sys.executable, "-m", "schemathesis.cli", "run", str(description),
        "--url", url + BASE, "--header", f"Authorization: Bearer {token}",
        "--phases", "examples,coverage,fuzzing", "--max-examples", str(options.examples), "--seed", str(options.seed),
        "--continue-on-failure", "--no-shrink", "--workers", "1", "--request-timeout", "60", "--suppress-health-check", "all",
        "--warnings", "off",
    ]


async def walk(url: str, folder: Path, options: argparse.Namespace) -> list[str]:
    """Runs schemathesis; what is wrong with what came of it."""
    people = [register(url, name) for name in ["caller", *(f"other{n}" for n in range(OTHERS))]]
    cast, counts = folder / "cast.json", folder / "counts.json"
    cast.write_text(json.dumps({"url": url, "people": people, "seed": options.seed}), encoding="utf-8")
    environment = dict(os.environ) | {
        "SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": str(HERE), "SCHEMA_CAST": str(cast), "SCHEMA_COUNTS": str(counts),
    }
    process = await asyncio.create_subprocess_exec(
        *command(url, options.description, people[0]["token"], options), cwd=folder, env=environment,
        stdin=asyncio.subprocess.DEVNULL,
    )
    try:
        status = await asyncio.wait_for(process.wait(), SECONDS_MAX)
    except asyncio.TimeoutError:
        process.kill()
        await process.wait()
        return [f"not done after {SECONDS_MAX} s"]
    found = [] if status == 0 else [f"schemathesis ended with {status}"]
    return found + judge(json.loads(counts.read_text(encoding="utf-8")))


def judge(counts: dict[str, dict[str, int]]) -> list[str]:
    """Prints how often what was answered; what has succeeded too rarely."""
    found, good, all_answers = [], 0, 0
    for operation, statuses in sorted(counts.items()):
        successes = sum(count for status, count in statuses.items() if status.startswith("2"))
        print(f"{operation}: " + ", ".join(f"{status}: {count}" for status, count in sorted(statuses.items())))
        if successes < SUCCESSES_MIN:
            found.append(f"{operation} has succeeded {successes} times, {SUCCESSES_MIN} are needed to have seen anything")
        good += successes
        all_answers += sum(statuses.values())
    print(f"{all_answers} requests of {len(counts)} operations, {good} successes")
    if good < SHARE_MIN * all_answers:
        found.append(f"of {all_answers} requests {good} have succeeded, {SHARE_MIN:.0%} are needed")
    return found


async def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    seeds = parser.add_mutually_exclusive_group()
    seeds.add_argument("--seed", type=int, default=SEED, help="of everything random")
    seeds.add_argument("--fresh", action="store_true", help="another seed each time")
    parser.add_argument("--examples", type=int, default=EXAMPLES, help="generated requests of each operation")
    parser.add_argument("--description", type=Path, default=DESCRIPTION, help="another description")
    options = parser.parse_args()
    if options.fresh:
        options.seed = random.SystemRandom().randrange(2**32)
    options.description = options.description.resolve()
    folder = Path(tempfile.mkdtemp(prefix="hearth-schema-"))
    # An island: what needs another server would rightly end in 502.
    settings = {"HEARTH_FEDERATION__ENABLED": "false", "HEARTH_PASSWORD__MEMORY": "64 KiB", "HEARTH_PASSWORD__ITERATIONS": "1"}
    server = Server(os.environ["HEARTH_BIN"], folder, extra=settings)
    print(f"seed {options.seed}", flush=True)
    try:
        await server.start()
        found = await walk(server.url, folder, options)
        found += server.panics()
        await server.stop()
    finally:
        if server.process and server.process.returncode is None:
            await server.kill()
        shutil.rmtree(folder, ignore_errors=True)
    for finding in found:
        print(f"FAILED  {finding}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
