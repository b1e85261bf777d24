#!/usr/bin/env python3
"""Writes schemas.json, what answers of the client-server API look like, from the Matrix specification's OpenAPI files.

    gen_schemas.py <specification checkout>/data/api/client-server > tests/clients/schemas.json

Needs PyYAML. One line an operation: method, path, and for each status the JSON schema of the answer; below them, once each,
the schemas that they refer to. Prose and examples are left out.
"""

import json
import sys
from pathlib import Path

import yaml

METHODS = ("get", "put", "post", "delete")
PROSE = ("description", "example", "examples", "title")
# Under these keys stand names that somebody chose, and none of them is prose.
NAMES = ("properties", "patternProperties")


class Schemas:
    """The files of the specification, each read once, and what has been referred to so far."""

    def __init__(self):
        self.files = {}
        self.definitions = {}

    def read(self, file: Path):
        if file not in self.files:
            self.files[file] = yaml.safe_load(file.read_text(encoding="utf-8"))
        return self.files[file]

    def resolve(self, node, file: Path):
        """Follows a $ref; gives the node and the file to which its own refs are relative."""
        while isinstance(node, dict) and "$ref" in node:
            node, file = self.target(node["$ref"], file)
        return node, file

    def target(self, reference: str, file: Path):
        name, _, inside = reference.partition("#")
        file = (file.parent / name).resolve() if name else file
        node = self.read(file)
        for part in inside.strip("/").split("/"):
            node = node[part] if part else node
        return node, file

    def plain(self, node, file: Path):
        """A schema without prose, its refs pointing to `definitions`."""
        if isinstance(node, list):
            return [self.plain(item, file) for item in node]
        if not isinstance(node, dict):
            return node
        found = {}
        for key, value in node.items():
            if key == "$ref":
                found[key] = self.refer(value, file)
            elif key in NAMES and isinstance(value, dict):
                found[key] = {name: self.plain(schema, file) for name, schema in value.items()}
            elif key not in PROSE and not key.startswith("x-"):
                found[key] = self.plain(value, file)
        return found

    def refer(self, reference: str, file: Path) -> str:
        node, target = self.target(reference, file)
        _, _, inside = reference.partition("#")
        name = ".".join([target.parent.name, target.stem, *inside.split("/")[1:]])
        if name not in self.definitions:
            self.definitions[name] = None  # it may refer to itself
            self.definitions[name] = self.plain(node, target)
        return f"#/$defs/{name}"

    def answers(self, operation, file: Path):
        for status, answer in operation["responses"].items():
            answer, there = self.resolve(answer, file)
            content = (answer.get("content") or {}).get("application/json") or {}
            yield str(status), self.plain(content["schema"], there) if "schema" in content else None


def operations(folder: Path, schemas: Schemas):
    for file in sorted(folder.glob("*.yaml")):
        document = schemas.read(file.resolve())
        base = document["servers"][0]["variables"]["basePath"]["default"].rstrip("/")
        for route, item in document["paths"].items():
            for method in METHODS:
                if method in item:
                    answers = dict(schemas.answers(item[method], file.resolve()))
                    yield {"method": method.upper(), "path": (base + route).strip(), "answers": answers}


def main():
    schemas = Schemas()
    found = sorted(operations(Path(sys.argv[1]), schemas), key=lambda one: (one["path"], one["method"]))
    lines = ",\n".join(json.dumps(one, sort_keys=True) for one in found)
    definitions = ",\n".join(f"{json.dumps(name)}: {json.dumps(schema, sort_keys=True)}" for name, schema in sorted(schemas.definitions.items()))
    print(f'{{"operations": [\n{lines}\n],\n"$defs": {{\n{definitions}\n}}}}')


if __name__ == "__main__":
    main()
