"""`python -m backend.inference --port 8500 --data-dir data`: the app by itself."""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from backend.worker.app_command import WARM


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM; the exit code."""
    words = argparse.ArgumentParser(prog="backend.inference", description="The built-in inference app.")
    words.add_argument("--port", type=int, default=int(os.environ.get("PORT", "8500")))
    words.add_argument("--data-dir", type=Path, default=Path(os.environ.get("LORAPOOL_DATA_DIR", "data")))
    said = words.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stdout)

    from backend.training.preload import make_quiet

    make_quiet()
    from backend.inference.catalog import Catalog
    from backend.inference.engine import Engine
    from backend.inference.server import Server

    data_dir = said.data_dir.expanduser().resolve()
    engine = Engine(Catalog(data_dir))
    try:
        server = Server(said.port, engine, data_dir)
    except OSError as error:
        print(f"error: cannot listen on port {said.port}: {error.strerror}", flush=True)
        return 1
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    engine.warm(_warm())
    print(f"listening on 127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
    return 0


def _warm() -> list[str]:
    try:
        names = json.loads(os.environ.get(WARM) or "[]")
    except ValueError:
        return []
    return [name for name in names if isinstance(name, str)] if isinstance(names, list) else []


if __name__ == "__main__":
    raise SystemExit(main())
