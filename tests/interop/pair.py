#!/usr/bin/env python3
"""Two Synapses on loopback that federate: prints `URL=PID,URL=PID` when both answer, and ends them when its input ends.

For `scripts/bench federation --synapse`.
"""

import sys
import tempfile
from pathlib import Path

from servers import Authority, Synapse


def main() -> None:
    with tempfile.TemporaryDirectory(prefix="hearth-pair-") as folder:
        authority = Authority(Path(folder) / "ca")
        servers = [Synapse(Path(folder) / name, authority) for name in ("a", "b")]
        try:
            for server in servers:
                server.start()
            print(",".join(f"{server.url}={server.process.pid}" for server in servers), flush=True)
            sys.stdin.read()
        finally:
            for server in servers:
                server.stop()


if __name__ == "__main__":
    main()
