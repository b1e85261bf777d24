"""Loaded by schemathesis: puts real people, tokens and states into generated requests, and counts what is answered.

Only parts that are meant to be valid are filled in; what is meant to be refused stays as it was generated.
"""

import atexit
import json
import os
from collections import Counter
from pathlib import Path

import schemathesis
from cast import WANTED, Cast
from schemathesis.core.parameters import ParameterLocation
from schemathesis.generation import GenerationMode

# Users of whom this server knows nothing.
STRANGERS = ("@nobody:localhost", "@somebody:elsewhere.example")

cast = Cast.load(Path(os.environ["SCHEMA_CAST"]).read_text(encoding="utf-8"))
counts: dict[str, Counter] = {}


def is_valid(case, location: ParameterLocation) -> bool:
    component = case.meta.components.get(location) if case.meta else None
    return component is None or component.mode == GenerationMode.POSITIVE


def people(count: int) -> list[str]:
    """Mostly friends; else anybody, to see refusals too."""
    if cast.random.random() < 0.8:
        return cast.friends()
    return [cast.random.choice([*STRANGERS, *(other.user for other in cast.others)]) for _ in range(count)]


def fill_path(case, operation: str) -> None:
    if cast.random.random() < 0.15:
        user = cast.random.choice([*STRANGERS, cast.caller.user])
    else:
        other = cast.random.choice(cast.others)
        wanted = WANTED.get(operation)
        # One in four is asked as it happens to be.
        if wanted and cast.random.random() < 0.75:
            cast.bring_about(other, cast.random.choice(wanted))
        user = other.user
    case.path_parameters = {**case.path_parameters, "userId": user}


def fill_query(case, path: str) -> None:
    query = dict(case.query)
    query.pop("from", None)
    if "from" in case.query and (token := cast.token(path, query)):
        query["from"] = token
    case.query = query


def fill_body(case) -> None:
    body = dict(case.body)
    for field in ("members", "invite"):
        if body.get(field):
            body[field] = people(len(body[field]))
    case.body = body


@schemathesis.hook
def before_call(context, case, kwargs):
    operation = case.operation.definition.raw["operationId"]
    if "userId" in (case.path_parameters or {}) and is_valid(case, ParameterLocation.PATH):
        fill_path(case, operation)
    if "from" in (case.query or {}) and is_valid(case, ParameterLocation.QUERY):
        fill_query(case, case.operation.path)
    if isinstance(case.body, dict) and is_valid(case, ParameterLocation.BODY):
        fill_body(case)


@schemathesis.hook
def after_call(context, case, response):
    operation = case.operation.definition.raw["operationId"]
    counts.setdefault(operation, Counter())[response.status_code] += 1


@atexit.register
def tell():
    Path(os.environ["SCHEMA_COUNTS"]).write_text(json.dumps(counts), encoding="utf-8")
