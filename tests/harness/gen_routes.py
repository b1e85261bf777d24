#!/usr/bin/env python3
"""Writes routes.tsv, the list of routes that the fuzz test walks, from the Matrix specification's OpenAPI files and our own.

    gen_routes.py <specification checkout>/data/api/client-server > routes.tsv

Needs PyYAML. Columns: method, path, auth (none, token, optional), query parameters, body fields as name:type.
"""

import sys
from pathlib import Path

import yaml

# What Hearth adds to the specification.
OWN = Path(__file__).resolve().parents[2] / "spec" / "social.yaml"
METHODS = ("get", "put", "post", "delete")
# Routes that stand in the specification's text only, and routes outside it that a Hearth server answers.
EXTRA = [
    ("GET", "/_matrix/client/v3/auth/{authType}/fallback/web", "none", "session", ""),
    ("GET", "/_matrix/static/client/login/", "none", "", ""),
    ("GET", "/health", "none", "", ""),
    ("GET", "/metrics", "none", "", ""),
    ("GET", "/_synapse/admin/v1/register", "none", "", ""),
    ("POST", "/_synapse/admin/v1/register", "none", "",
     "nonce:string,username:string,password:string,admin:boolean,mac:string,displayname:string"),
    ("GET", "/_matrix/client/unstable/fuzz.example/nothing", "none", "", ""),
    ("POST", "/_matrix/client/v3/nothing", "token", "", "a:string"),
]


def resolve(node, file):
    """Follows a $ref, also into another file; gives the node and the file that its own refs are relative to."""
    while isinstance(node, dict) and "$ref" in node:
        name, _, inside = node["$ref"].partition("#")
        file = (file.parent / name).resolve() if name else file
        node = yaml.safe_load(file.read_text(encoding="utf-8"))
        for part in inside.strip("/").split("/"):
            node = node[part] if part else node
    return node, file


def fields(schema, file, depth=0):
    schema, file = resolve(schema or {}, file)
    found = {}
    for name, value in (schema.get("properties") or {}).items():
        value, _ = resolve(value, file)
        kind = value.get("type", "object")
        found[name] = kind[0] if isinstance(kind, list) else kind
    if depth < 5:
        for part in schema.get("allOf", []) + schema.get("oneOf", []) + schema.get("anyOf", []):
            found |= fields(part, file, depth + 1)
    return found


def body(operation, file):
    request, file = resolve(operation.get("requestBody") or {}, file)
    content = request.get("content") or {}
    schema = (content.get("application/json") or {}).get("schema")
    return fields(schema, file) if schema else {}


def auth(operation, document):
    schemes = operation.get("security", document.get("security")) or []
    if not schemes:
        return "none"
    return "optional" if any(not scheme for scheme in schemes) else "token"


def query(operation, shared, file):
    names = []
    for parameter in shared + operation.get("parameters", []):
        parameter, _ = resolve(parameter, file)
        if parameter["in"] == "query":
            names.append(parameter["name"])
    return names


def base_path(document):
    server = document["servers"][0]
    return (server["variables"]["basePath"]["default"] if "variables" in server else server["url"]).rstrip("/")


def rows(files):
    for path in files:
        document = yaml.safe_load(path.read_text(encoding="utf-8"))
        base = base_path(document)
        for route, item in document["paths"].items():
            for method in METHODS:
                if method not in item:
                    continue
                operation = item[method]
                yield (
                    method.upper(),
                    (base + route).strip(),
                    auth(operation, document),
                    ",".join(query(operation, item.get("parameters", []), path)),
                    ",".join(f"{name}:{kind}" for name, kind in body(operation, path).items()),
                )


def main():
    files = [*sorted(Path(sys.argv[1]).glob("*.yaml")), OWN]
    found = sorted(set(rows(files)) | set(EXTRA), key=lambda row: (row[1], row[0], row))
    print("method\tpath\tauth\tquery\tbody")
    for row in found:
        print("\t".join(row))


if __name__ == "__main__":
    main()
