"""The inference sample of the EAS documents, as a client: many threads put queries and fetch answers by request id.

Runs in the official client's own environment and prints one JSON line.
"""

import json
import sys
import threading

from eas_prediction import QueueClient

endpoint, service, token, threads, each = sys.argv[1:]


def client(name):
    queue = QueueClient(endpoint, name)
    queue.set_token(token)
    queue.init()
    return queue


def work(number):
    source, sink = client(service), client(service + "/sink")
    for n in range(int(each)):
        prompt = f"{number}-{n}"
        body = json.dumps({"prompt": prompt, "steps": 1, "pace": 0})
        _, request_id = source.put(body, {"taskType": "query"})
        found = []
        while not found:
            found = sink.get(request_id=request_id)
        said = json.loads(found[0].data)
        results.append([prompt, said["picture"], found[0].tags["requestId"] == request_id, len(found)])


results = []
workers = [threading.Thread(target=work, args=(number,)) for number in range(int(threads))]
for worker in workers:
    worker.start()
for worker in workers:
    worker.join()
left = client(service + "/sink").attributes()["stream.length"]
print(json.dumps({"results": results, "left": left}), flush=True)
