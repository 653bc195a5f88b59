"""What the tests do with the official client. Runs in the client's own environment and prints JSON lines."""

import json
import sys
import threading
import time

from eas_prediction import PredictClient, QueueClient, StringRequest


def say(value):
    print(json.dumps(value), flush=True)


def client(o, sink=False, **init):
    queue = QueueClient(o["endpoint"], o["service"] + ("/sink" if sink else ""))
    queue.set_token(o["token"])
    queue.init(**init)
    return queue


def frame(x):
    return {"index": x.index, "data": bytes(x.data).decode("latin-1"), "tags": dict(x.tags)}


def every_method(o):
    q = client(o, uid="u1")
    said = {}
    index, request_id = q.put("text")
    index2, _ = q.put(b"\x00\xffraw", {"taskType": "query", "jobId": "a b&c/中", "_priority_": "1"})
    said["put"] = [index, index2]
    said["by request"] = [frame(x) for x in q.get(request_id=request_id, auto_delete=False)]
    said["by index"] = [frame(x)["index"] for x in q.get(index=2, length=9, timeout="0s", auto_delete=False)]
    said["by tag"] = [frame(x) for x in q.get(tags={"jobId": "a b&c/中"}, timeout="0s", auto_delete=False)]
    said["attributes"] = q.attributes()
    said["search"] = q.search(1)
    said["search missing"] = [q.search(99), q.search("x"), q.search(0)]
    said["commit"] = [q.commit(1).decode(), q.commit([2]).decode()]
    for n in range(6):
        q.put(str(n))
    said["delete"] = [q.delete(3), q.delete([4, 5])]
    said["truncate"] = q.truncate(int(q.attributes()["stream.lastEntry"]) + 1).decode()
    said["left"] = q.attributes()["stream.length"]
    q.put("taken")
    said["taken"] = [frame(x)["data"] for x in q.get()]
    said["then"] = [len(q.get(timeout="0s")), q.attributes()["stream.length"]]
    say(said)


def settings(o):
    """The setters, each way of naming a queue, service discovery, two watchers on one client."""
    q = QueueClient()
    q.set_endpoint(o["endpoint"] + "/")
    q.set_service_name(o["service"])
    q.set_endpoint_type("DEFAULT")
    q.set_token(o["token"])
    q.set_content_type("text/plain")
    q.set_retry_count(1)
    q.set_max_connection_count(2)
    q.set_timeout(20000)
    q.add_extra_headers({"X-EAS-QueueService-Priority": "1"})
    q.init(uid="u1", gid="g1")
    q.set_logger(None)
    said = {"put": q.put("high")[0]}
    url = o["endpoint"] + "/api/predict/" + o["service"]
    for name, init in {"suffix": {"path_suffix": "sink"}, "url": {"custom_url": url + "/sink"}}.items():
        said[name] = client(o, **init).put(name)[0]
    direct = QueueClient(o["endpoint"].replace("http://", ""), o["service"])
    direct.set_endpoint_type("DIRECT")
    direct.set_token(o["token"])
    direct.set_log_level("CRITICAL")
    direct.init(uid="u2", gid="g1")
    said["direct"] = direct.put("normal")[0]
    watcher = direct.watch(0, 1)
    run = watcher.run()
    said["first"] = frame(next(run))
    try:
        next(direct.watch(0, 1).run())
    except Exception as error:
        said["second"] = [error.code, error.message]
    watcher.close()
    q.destroy()
    direct.destroy()
    say(said)


def modes(o):
    """Watching with auto commit, index only, and tags."""
    q = client(o, uid="u1")
    for n in range(4):
        q.put("data", {"color": "red" if n % 2 else "blue"})
    said = {}
    for name, options in {
        "red": {"tags": {"color": "red"}, "auto_commit": True},
        "index only": {"index_only": True, "auto_commit": True},
    }.items():
        watcher = q.watch(0, 5, **options)
        said[name] = []
        for x in watcher.run():
            said[name].append(frame(x))
            if len(said[name]) == 2:
                break
        watcher.close()
        deadline = time.time() + 10
        while q.attributes()["stream.length"] != "0" and name == "index only" and time.time() < deadline:
            time.sleep(0.05)
    said["left"] = q.attributes()["stream.length"]
    say(said)


def window(o):
    """What a full window lets through, and what a commit sets free."""
    q = client(o, uid="u1")
    for n in range(5):
        q.put(str(n))
    watcher = q.watch(0, 2)
    run = watcher.run()
    first = [next(run).index, next(run).index]
    attributes = q.attributes()
    said = {
        "first": first,
        "consumer": attributes["consumers.list.[0]"],
        "search": [q.search(1), q.search(4)],
    }
    q.commit(first[0])
    said["next"] = next(run).index
    watcher.close()
    say(said)


def watch(o):
    """Print each item; commit it unless told not to; end after `count` items."""
    q = client(o, sink=o.get("sink", False), uid=o.get("uid"), gid=o.get("gid", "eas"))
    watcher = q.watch(0, o.get("window", 5), auto_commit=o.get("auto_commit", False))
    committer = client(o, sink=o.get("sink", False), uid=q.uid, gid=o.get("gid", "eas"))
    seen = 0
    for x in watcher.run():
        say(frame(x))
        if o.get("commit", True) and not o.get("auto_commit"):
            while True:
                try:
                    committer.commit(x.index)
                    break
                except Exception:
                    time.sleep(0.05)
        seen += 1
        if seen == o.get("count", -1):
            break
    watcher.close()
    say({"done": seen})


def put_many(o):
    """`count` puts from `threads` threads on one client; repeated with their own request id until acknowledged."""
    q = client(o, uid="producer")
    acknowledged, lock = {}, threading.Lock()

    def work(first):
        for n in range(first, o["count"], o["threads"]):
            tags = {"requestId": f"r{n}"} if o.get("own_ids") else {}
            while True:
                try:
                    index, request_id = q.put(str(n), tags)
                    break
                except Exception:
                    if not o.get("own_ids"):
                        raise
                    time.sleep(0.02)
            with lock:
                acknowledged[n] = [int(index), request_id]
            if o.get("say"):
                say(n)

    threads = [threading.Thread(target=work, args=(first,)) for first in range(o["threads"])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    say([acknowledged[n] for n in sorted(acknowledged)])


def get_empty(o):
    """`get()` with its defaults on an empty queue, 50 times on 25 clients at once."""
    results, lock = [], threading.Lock()

    def work():
        q = client(o)
        for _ in range(2):
            try:
                result = q.get()
            except Exception as error:
                result = repr(error)
            with lock:
                results.append(result)

    threads = [threading.Thread(target=work) for _ in range(25)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    say(results)


def predict(o):
    """The signed form, and the unsigned one with a raw token."""
    said = []
    for token in (o["token"], "wrong"):
        c = PredictClient(o["endpoint"], o["service"])
        c.set_token(token)
        c.init()
        c.set_content_type(o.get("content_type", ""))
        try:
            said.append(c.predict(StringRequest("hello")).response_data.decode())
        except Exception as error:
            said.append(getattr(error, "code", repr(error)))
    say(said)


def put_once(o):
    q = client(o)
    q.set_timeout(o.get("timeout", 5000))
    try:
        say(q.put(o["data"], o.get("tags", {})))
    except Exception as error:
        say({"code": error.code, "message": error.message.decode()})


def refused(o):
    """A watcher whose service goes away: print each attempt to connect again."""
    import websocket

    connect = websocket.create_connection

    def counted(*args, **kwargs):
        try:
            socket = connect(*args, **kwargs)
            say({"connected": time.time()})
            return socket
        except Exception as error:
            say({"refused": time.time(), "status": getattr(error, "status_code", None)})
            raise

    websocket.create_connection = counted
    try:
        for x in client(o, uid="u1").watch(0, 5).run():
            say(frame(x))
    except websocket.WebSocketBadStatusException as error:
        say({"first": error.status_code, "body": (error.resp_body or b"").decode()})


if __name__ == "__main__":
    globals()[sys.argv[1]](json.loads(sys.argv[2]))
