"""What starts and stops instances somewhere: the seam between the supervisor and the machines.

The same contract holds for processes of this host (`local.py`) and for engines that place instances on other ones
(`ray/`, `kubernetes/`). Such an engine takes its time, loses its nodes, says no and may be away
itself; so

* **nothing here waits for an engine.** `start`, `stop` and `kill` order and return within `CALL_DEADLINE` seconds.
  `exits`, `progress`, `holds`, `adopt` and `free_devices` answer from what the launcher knows already, at once; they
  are called in every pass.
* **a start has stages.** While an instance is `starting`, `progress` says what the engine is at: looking for a node,
  pulling an image, starting the process. Each new stage may take the start deadline of the deployment anew (or what
  the stage says itself); the supervisor keeps that time, and kills what is late. Stages only go forward, so a start
  ends in finite time.
* **an instance is up by its own word**, in the store; the launcher never says so. It also says itself on which host it
  is and which device it was given, where the engine chooses those.
* **news wakes the supervisor.** A launcher is made with a function `on_change`, and calls it from any thread when
  `exits` or `progress` have something new.
* **an end that is not seen is not an end.** `kill` answers False while it cannot tell that nothing is left (a node out
  of reach, a pod that still ends): the supervisor then waits for the lease of the instance to be over, before its
  tasks are another's. By then the instance has ended what it ran, wherever it is.
* **nothing is left behind.** What a launcher makes bears the name of the deployment. `tend` is told which instances
  there are, and ends what is the deployment's and none of them, as after a supervisor that was killed.

One thread calls all of this.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from backend.instance import Instance
from backend.service import Description

CALL_DEADLINE = 20.0
"""Seconds within which any call returns, or raises."""


@dataclass(frozen=True, slots=True)
class Order:
    """An instance to be started.

    `device` is what it is given: `cuda:0`, or `cpu`; '' where the engine chooses. What else it needs (GPUs, CPUs,
    memory, containers, storage) stands in the `description` of its service.
    """

    instance: str
    service: str
    device: str
    description: Description


@dataclass(frozen=True, slots=True)
class Exit:
    """An instance is gone, as far as its launcher can tell. `reason` is read by people: it stands in the attempts."""

    instance: str
    reason: str


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the start of an instance is: `text` for people, without a full stop.

    `since` (seconds since the epoch) is when this stage began; the text may change within a stage. `patience` is how
    many seconds the stage may take where that is longer than the start deadline of the deployment.
    """

    text: str
    since: float
    patience: float = 0.0


class Launcher(Protocol):
    """The contract. `name` is what `Instance.launcher` says, and is the same for every supervisor of a deployment.

    `host` is where its instances come up, '' where the engine chooses.

    Instances that this launcher cannot reach (another host's, or one that somebody started by hand) are in the pool
    all the same: `stop` and `kill` leave them alone, and only their lease says when they are gone.
    """

    name: str
    host: str

    def start(self, order: Order) -> None:
        """Order an instance; the store knows it already. To order the same one again changes nothing.

        Raises LorapoolError when it cannot be ordered; nothing was started then, or `tend` ends it.
        """

    def stop(self, instance: Instance) -> None:
        """Ask an instance to leave: it saves and hands back what it runs, then ends. Safe to repeat."""

    def kill(self, instance: Instance) -> bool:
        """End an instance and everything it runs, now; whether it is certain that nothing is left. Safe to repeat.

        One that was never started, or has ended, or is not this launcher's, is nothing left.
        """

    def adopt(self, instance: Instance) -> bool:
        """Watch an instance that an earlier supervisor started, if it can be reached; False when it surely is gone.

        Also of one that is starting: False says that as far as can be seen nothing of its name was ever begun. The
        supervisor believes it when it has been said for a while.
        """

    def holds(self, instance: str) -> bool:
        """Whether this very launcher started or adopted the instance, and has not told its end yet."""

    def exits(self) -> list[Exit]:
        """Instances that ended since the last call, however they did; each is told once."""

    def progress(self) -> Mapping[str, Progress]:
        """How far starts are, as far as there is anything to say: those of instances that are not up."""

    def free_devices(self, taken: Sequence[str], description: Description) -> list[str] | None:
        """The devices that further instances of this service would be given, one each; None: as many as one likes.

        `taken` are those of the instances on this host. What was ordered already counts as taken.
        """

    def tend(self, present: Sequence[Instance]) -> None:
        """Mend what the launcher itself needs, and end what bears the deployment's name and is none of `present`.

        Called in each pass, before any start, with all instances that are not gone.
        """

    def close(self) -> None:
        """Give up what the launcher holds; instances that still run go on."""
