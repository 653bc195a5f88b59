"""Widgets for notebooks, thin over `backend.client`: train, watch, generate, look after a pool.

    from app.notebook import Generate, Pool, PoolMonitor, TaskMonitor, TrainingForm

    pool = Pool.start("data")                       # a deployment of this notebook's own
    pool = Pool.connect("http://box:8000", token)   # or one that runs elsewhere

    deployment.py   start or join a deployment on this machine, or connect to a remote one
    training_form   fields from the table of `kohya_adapter`, problems at the field, start
    task_monitor    state, progress, curve, samples and log of one task, followed in a thread (`follow.py`)
    generate        prompt, LoRAs, previews, pictures
    pool_monitor    instances, queue, decisions

A widget keeps nothing that is not on the server: a cell may be run again, a kernel started again, at any time.
"""

from app.notebook.deployment import Pool
from app.notebook.generate import Generate
from app.notebook.pool_monitor import PoolMonitor
from app.notebook.task_monitor import TaskMonitor
from app.notebook.training_form import TrainingForm

__all__ = ["Generate", "Pool", "PoolMonitor", "TaskMonitor", "TrainingForm"]
