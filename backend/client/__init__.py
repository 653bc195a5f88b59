"""What front ends, notebooks and the command line use to talk to a gateway.

    service = Client("http://127.0.0.1:8000", token).service("kohya_job")
    task = service.submit(argv=["accelerate", "launch", "train_network.py", "--config_file", "config.toml"])
    for line in task.logs(follow=True):
        print(line)

A task's id is made here, so that a submission may be repeated after a broken connection without being queued twice.
Streams connect again by themselves and go on where they were: a restart of the gateway in between is not seen.

    client.py       `Client`: what one may ask of a whole gateway
    service.py      `Service`: put a task in, draw, change the service
    task.py         `TaskHandle`: one task
    people.py       accounts, tokens, the audit log: part of `Client`
    connection.py   requests, streams and downloads that survive a gateway's absence
"""

from backend.client.client import Client
from backend.client.connection import GatewayUnavailable
from backend.client.service import Service
from backend.client.task import Event, TaskHandle

__all__ = ["Client", "Event", "GatewayUnavailable", "Service", "TaskHandle"]
