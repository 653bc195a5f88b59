"""Runs in Ray's own environment: deploys, puts the burst, prints what came of it, stays until its input ends.

python on_ray.py TASKS SECONDS '{"min_replicas": 0, …}'
"""

from __future__ import annotations

import json
import sys
import time

import ray  # type: ignore[import-not-found]
from ray import serve  # type: ignore[import-not-found]


def main() -> None:
    """Deploy, put, wait."""
    tasks, seconds, autoscaling = int(sys.argv[1]), float(sys.argv[2]), json.loads(sys.argv[3])
    # Ray takes a replica for a core: with the two of a small machine there would never be four.
    ray.init(num_cpus=8, include_dashboard=False, log_to_driver=False, configure_logging=False)

    @serve.deployment(max_ongoing_requests=1, autoscaling_config=autoscaling)
    class Work:
        def __call__(self) -> float:
            time.sleep(seconds)
            return time.time()

    handle = serve.run(Work.bind(), logging_config={"log_level": "ERROR"})
    time.sleep(10)  # what was started to begin with comes to rest
    began = time.time()
    print(json.dumps({"put": began}), flush=True)
    responses = [handle.remote() for _ in range(tasks)]
    for response in responses:
        response.result(timeout_s=150)
    print(json.dumps({"last": time.time()}), flush=True)
    sys.stdin.read()
    serve.shutdown()
    ray.shutdown()


if __name__ == "__main__":
    main()
