"""Keys of PAI-EAS that have no meaning on one's own machines: what is said when a description holds them.

Paths are dotted, as after `reading.py` has spelled them out; `*` stands for the number of a list's entry.
"""

from __future__ import annotations

RECORDED: dict[str, str] = {
    "containers.*.image": "the image of instances on Kubernetes; elsewhere programs start where lorapool is installed",
    "containers.*.ports": "only `port` is used",
    "metadata.cpu": "reserved on Kubernetes; elsewhere instances share the CPUs of their machine",
    "metadata.memory": "the limit on Kubernetes; elsewhere instances share the memory of their machine",
    "metadata.gpu": "asked for on Kubernetes; elsewhere an instance takes one GPU where there is one",
    "metadata.resource": "recorded: there are no resource groups here",
    "metadata.resource_burstable": "recorded: there are no resource groups here",
    "metadata.workspace_id": "recorded: there are no workspaces here",
    "metadata.instance_type": "recorded: the machine is the one that lorapool runs on",
    "metadata.enable_webservice": "recorded: the front end is started by `front_end`",
    "metadata.enable_sigterm": "recorded: programs are always told by SIGTERM before they are killed",
    "metadata.rpc.enable_sigterm": "recorded: programs are always told by SIGTERM before they are killed",
    "rpc.enable_sigterm": "recorded: programs are always told by SIGTERM before they are killed",
    "metadata.eas": "recorded: an instance that leaves ends its tasks first, however long they take",
    "runtime": "recorded: an instance that leaves ends its tasks first, however long they take",
    "eas": "recorded: an instance that leaves ends its tasks first, however long they take",
    "cloud": "recorded: the machine is the one that lorapool runs on",
    "features": "recorded: EAS features have no counterpart here",
    "networking": "recorded: the gateway listens where `lorapool up --host` says",
    "labels": "recorded",
    "options": "recorded: EAS options have no counterpart here",
    "unit": "recorded: the machine is the one that lorapool runs on",
    "storage.*": "recorded, not mounted: of what EAS mounts, object stores, NFS, git and empty folders are known here",
    "storage.*.oss": "recorded: of its keys, path, endpoint, region and readOnly are used",
    "storage.*.s3": "recorded: of its keys, path, endpoint, region and readOnly are used",
    "storage.*.nfs": "recorded: of its keys, server, path and readOnly are used",
    "storage.*.git": "recorded: of its keys, repo, branch and commit are used",
    "storage.*.empty_dir": "recorded: an empty folder on the machine's disk",
    "storage.*.properties": "recorded: of its keys, resource_type is used",
    "queue.cpu": "recorded: the queues live in the store",
    "queue.memory": "recorded: the queues live in the store",
    "queue.resource": "recorded: the queues live in the store",
    "queue.min_replica": "recorded: the queues live in the store",
    "queue.instance_type": "recorded: the queues live in the store",
    "front_end.image": "recorded, not pulled: the script runs in the environment that lorapool runs in",
    "front_end.resource": "recorded: there are no resource groups here",
    "front_end.cpu": "recorded: it shares the CPUs of its machine",
    "front_end.memory": "recorded: it shares the memory of its machine",
    "front_end.instance_type": "recorded: the machine is the one that lorapool runs on",
}
"""Known to EAS, kept in the description, without effect here."""
