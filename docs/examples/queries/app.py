"""An inference app for lorapool, with nothing but the standard library.

It draws a "picture" in as many steps as it is asked for and says after each one how far it is.
"""

import json
import os
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

DEVICE = threading.Lock()  # there is one GPU: what is drawn waits its turn, what is parsed does not


class Cancelled(Exception):
    """Nobody wants this query any more."""


def report(url, **record):
    """Say how far a query is. The answer 410 means that it was cancelled."""
    if not url:
        return
    request = urllib.request.Request(url, json.dumps(record).encode(), method="POST")
    try:
        urllib.request.urlopen(request, timeout=5).close()
    except urllib.error.HTTPError as error:
        if error.code == 410:
            raise Cancelled from None


def draw(prompt, steps, seconds_per_step, progress):
    with DEVICE:
        for step in range(1, steps + 1):
            time.sleep(seconds_per_step)
            progress(step=step, total=steps)
    return f"a picture of {prompt}"


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        wanted = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        url = self.headers.get("X-Lorapool-Progress-Url")

        def progress(**record):
            report(url, **record)

        try:
            picture = draw(wanted["prompt"], wanted.get("steps", 4), wanted.get("pace", 0.01), progress)
        except Cancelled:
            return self.answer(499, b"")
        except KeyError as missing:
            return self.answer(400, f"{missing} is missing".encode())
        self.answer(200, json.dumps({"picture": picture}).encode())

    def answer(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):  # the health check: whoever gets an answer may send queries
        self.answer(200, b"ok")


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", int(os.environ.get("PORT", 8000))), Handler)
    print(f"listening on {server.server_address}")
    server.serve_forever()
