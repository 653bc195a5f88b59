"""The health check of containers: `python -m backend.healthcheck [URL] [--leads]` ends with 0 when all is well, else 1.

Asks the standard library alone, so that it is done in a fraction of a second. Its words hold no spaces and no quotes:
some container engines take a check's arguments apart at spaces.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import sys
import urllib.request
from collections.abc import Sequence

DEFAULT_ENDPOINT = "http://127.0.0.1:8000"
PATIENCE = 4.0
"""Seconds for the answer."""


def main(argv: Sequence[str] | None = None) -> int:
    """Ask; 0: well, 1: not, with the reason on standard error."""
    parser = argparse.ArgumentParser(
        prog="python -m backend.healthcheck", description="Ask whether all is well."
    )
    endpoint = os.environ.get("LORAPOOL_ENDPOINT", DEFAULT_ENDPOINT).rstrip("/")
    parser.add_argument(
        "url", nargs="?", default=f"{endpoint}/readyz", help="what to ask; it answers 200 when well"
    )
    parser.add_argument(
        "--leads", action="store_true", help="a supervisor must lead, too, says the gateway's /readyz"
    )
    given = parser.parse_args(argv)
    try:
        with urllib.request.urlopen(given.url, timeout=PATIENCE) as answer:
            text = answer.read()
        if given.leads and json.loads(text).get("supervisor") != "leads":
            raise ValueError("no supervisor leads")
    except (OSError, http.client.HTTPException, ValueError) as error:
        print(f"{given.url}: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
