"""The `lorapool` command. Thin: each command reads its flags, calls one thing, and prints for a person or as JSON.

command.py     the list of commands, and what an error looks like
options.py     flags that many commands share, tables, JSON
kohya.py       kohya-ss
processes.py   up, demo, gateway, supervisor, worker, gui, doctor
submit.py      submit, tool
tasks.py       ps, logs, cancel
task.py        show, retry, priority, curve, files, download
pictures.py    generate, grid, models
pool.py        why, instances
service.py     service create, update, list, …
dataset.py     dataset …
form.py        form …
users.py       user …, token …, audit
scaling.py     replay, workload
upkeep.py      backup, restore, clean
"""

from backend.cli.command import app, main

__all__ = ["app", "main"]
