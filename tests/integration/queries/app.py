"""An app that behaves as the path of the query says, and writes down every query that it was given."""

import json
import os
import sys
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

BOOK = Path(sys.argv[1])
lock = threading.Lock()
at_once = most_at_once = 0


def note(**facts):
    with lock, BOOK.open("a") as book:
        book.write(json.dumps({"pid": os.getpid(), **facts}) + "\n")


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        global at_once, most_at_once
        with lock:
            at_once += 1
            most_at_once = max(at_once, most_at_once)
        try:
            self.behave()
        finally:
            with lock:
                at_once -= 1

    def behave(self):
        url = urlsplit(self.path)
        if url.path == "/unload":
            note(path="unload")
            return self.answer(204)
        self.tags = dict(parse_qsl(url.query))
        self.data = self.rfile.read(int(self.headers["Content-Length"]))
        self.delivery = int(self.headers["X-EAS-QueueService-Delivery"])
        self.request_id = self.headers["X-EAS-QueueService-Request-Id"].encode("latin-1").decode()
        note(path=url.path, request=self.request_id, delivery=self.delivery)
        name, *words = url.path.strip("/").split("/")
        getattr(self, f"do_{name or 'echo'}")(*words)

    def answer(self, status, body=b"", **more):
        self.send_response(status)
        for name, value in more.items():
            self.send_header("X-Lorapool-" + name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_echo(self, *_):
        self.answer(200, json.dumps({"data": self.data.decode(), "tags": self.tags}).encode())

    def do_told(self):
        self.answer(200, str(os.getpid()).encode())
        note(path="has answered", request=self.request_id)

    def do_sleep(self, seconds):
        time.sleep(float(seconds))
        self.answer(200, json.dumps({"pid": os.getpid(), "most": most_at_once}).encode())

    def do_status(self, status):
        self.answer(int(status), b"no memory")

    def do_final(self):
        self.answer(400, b'{"error": "Bad", "field": "size", "message": "is odd"}', Final="1")

    def do_load(self, model):
        self.answer(200, b"loaded", Loaded=json.dumps([model]))

    def do_flaky(self):
        self.answer(500 if self.delivery == 1 else 200, str(self.delivery).encode())

    def do_empty(self):
        self.answer(200)

    def do_large(self):
        self.answer(200, bytes(2 << 20))

    def do_close(self):
        self.close_connection = True

    def do_garbage(self):
        self.wfile.write(b"not a word of HTTP\r\n\r\n")
        self.close_connection = True

    def do_die(self):
        os._exit(3)

    def do_hang(self):
        self.connection.recv(1)  # the end of the connection, sooner or later
        note(path="let go")
        self.close_connection = True

    def do_late(self):
        """Not the first time."""
        if self.delivery == 1:
            return self.do_hang()
        self.answer(200, str(self.delivery).encode())

    def do_progress(self):
        record = json.dumps({"step": 3, "total": 20}).encode()
        urllib.request.urlopen(self.headers["X-Lorapool-Progress-Url"], record).close()
        self.do_hang()

    def log_message(self, *args):
        pass


ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
