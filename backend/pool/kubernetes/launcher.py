"""The launcher of a cluster: an instance is a pod.

Orders only note what is wanted and return; a thread compares that with what the watch sees, and a few others make the
calls. So an API server that is slow or away never keeps the supervisor from its passes: orders wait for it, running
instances go on, and the journal says why nothing comes up.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

from backend.instance import Instance, InstanceState
from backend.pool.kubernetes import words
from backend.pool.kubernetes.api import ApiServer, Json, Refused, Unreachable
from backend.pool.kubernetes.pod import DEPLOYMENT, INSTANCE, MANAGED_BY, SUPERVISOR, Plan, build, name_of
from backend.pool.kubernetes.stages import Stages
from backend.pool.kubernetes.watch import PodWatch
from backend.pool.kubernetes.wishes import NOW, Action, Create, Delete, Mark, Wish, due
from backend.pool.launcher import Exit, Order, Progress
from backend.service import Description

log = logging.getLogger("lorapool.kubernetes")

HANDS = 8
"""Calls to the API server at once."""

HOPELESS_AFTER = 60.0
"""Seconds after which a pod that cannot begin as it is (no such image, no such secret) is given up."""

STRAY_AFTER = 5.0
"""Seconds for which a pod may be unknown to the store before it is removed: its instance may just be leaving."""

ACTIVE = 10.0
"""Seconds after the supervisor's last word for which this goes on acting: one that does not lead leaves pods alone."""

JUST_NOW = 10.0
"""Seconds for which an instance is believed to have a pod that was not seen yet."""

_LOOK = 1.0


class KubernetesLauncher:
    """See `Launcher`. Instances go on without it, and the next supervisor's finds them by their labels.

    `deployment` gives what tells the pods of this store from others' in the namespace; it may raise StoreUnavailable.
    """

    name = "kubernetes"
    host = ""

    def __init__(
        self, server: ApiServer, plan: Plan, *, deployment: Callable[[], str], on_change: Callable[[], None]
    ) -> None:
        self._server = server
        self._plan = plan
        self._read_deployment = deployment
        self._on_change = on_change
        self._lock = threading.RLock()
        self._wishes: dict[str, Wish] = {}
        self._held: set[str] = set()
        self._told: set[str] = set()
        self._exits: list[Exit] = []
        self._in_hand: set[str] = set()
        self._doubtful: dict[str, float] = {}
        self._strays: dict[str, float] = {}
        self._stages = Stages()
        self._present: dict[str, Instance] = {}
        self._ordered: set[str] = set()
        self._deployment = ""
        self._owner_uid = ""
        self._heard_at = 0.0
        self._watch: PodWatch | None = None
        self._changed = threading.Event()
        self._closing = threading.Event()
        self._hands = ThreadPoolExecutor(HANDS, thread_name_prefix="pods")
        self._thread = threading.Thread(target=self._run, name="pods", daemon=True)

    def start(self, order: Order) -> None:
        """Note that a pod is wanted."""
        watch = self._begin()
        pod = build(order, order.description, self._plan, self._deployment)
        with self._lock:
            self._held.add(order.instance)
            if order.instance in self._wishes or watch.find(order.instance) is not None:
                return
            self._ordered.add(order.instance)
            self._wishes[order.instance] = Wish(pod["metadata"]["name"], pod)
        self._changed.set()

    def stop(self, instance: Instance) -> None:
        """Delete the pod with a grace in which its instance can save and hand back what it runs."""
        self._leave(instance, self._plan.grace)

    def kill(self, instance: Instance) -> bool:
        """Delete the pod without grace; whether its end has been seen, or it never was.

        On a node that does not answer it is not seen: there, an instance that has lost its lease has ended what it
        ran by itself.
        """
        if not self._leave(instance, NOW):
            return True
        with self._lock:
            over = self._is_over(instance.id)
            if over:
                self._held.discard(instance.id)
                self._told.add(instance.id)
            return over

    def _leave(self, instance: Instance, grace: int) -> bool:
        """Want the end of a pod; False when there is nothing that could end."""
        if instance.launcher != self.name:
            return False
        watch = self._begin()
        with self._lock:
            wish = self._wishes.get(instance.id)
            if wish is None:
                if watch.synced and watch.find(instance.id) is None:
                    return False
                wish = Wish(name_of(instance.service, instance.id), asked=True)
                self._wishes[instance.id] = wish
            if wish.grace is None or wish.grace > grace:
                wish.leave(grace)
                wish.retry_at = 0.0
        self._changed.set()
        return True

    def _is_over(self, instance: str) -> bool:
        wish, pod = self._wishes.get(instance), self._watching.find(instance)
        if pod is not None:
            return words.look(pod).ended
        never = wish is not None and not wish.asked and instance not in self._in_hand
        return never or (wish is None and self._watching.synced)

    def adopt(self, instance: Instance) -> bool:
        """Watch an instance that an earlier supervisor started; False when its pod surely is gone."""
        if instance.launcher != self.name:
            return True
        with self._lock:
            watch = self._watch
            if instance.id in self._held or watch is None or not watch.synced:
                return True
            pod = watch.find(instance.id)
            if pod is None or words.look(pod).ended:
                # One that was ordered a moment ago need not have been seen yet.
                return instance.id in self._wishes or time.time() - instance.created_at < JUST_NOW
            self._held.add(instance.id)
        log.info("instance %s of %s goes on", instance.id, instance.service)
        return True

    def holds(self, instance: str) -> bool:
        """Whether this launcher started or adopted the instance, and has not told its end."""
        with self._lock:
            return instance in self._held

    def exits(self) -> list[Exit]:
        """Instances whose pods have ended, or will never begin, since the last call."""
        self._heard_at = time.monotonic()
        with self._lock:
            exits, self._exits = self._exits, []
            self._held -= {each.instance for each in exits}
        return exits

    def progress(self) -> Mapping[str, Progress]:
        """What each pod that is not up yet waits for, as API server, scheduler and kubelet say."""
        if self._watch is None:
            return {}
        with self._lock:
            pods = self._watch.pods()
            starting = {
                each.id for each in self._present.values() if each.state is InstanceState.STARTING
            } | self._ordered
            names = ((self._wishes.keys() | pods.keys()) & starting) - self._told
            self._stages.keep(names)
            found = {name: self._progress_of(name, pods.get(name)) for name in names}
        return {name: at for name, at in found.items() if at is not None}

    def _progress_of(self, name: str, pod: Json | None) -> Progress | None:
        wish = self._wishes.get(name)
        word = "" if wish is None else wish.word
        return self._stages.progress(name, pod, word, self._watching.trouble, time.time())

    def free_devices(self, taken: Sequence[str], description: Description) -> list[str] | None:
        """As many as one likes: where they fit is the scheduler's business, and how many the quota's."""
        return None

    def tend(self, present: Sequence[Instance]) -> None:
        """Hear which instances there are. The first call begins the watch: only a supervisor that leads makes it."""
        self._begin()
        with self._lock:
            self._present = {each.id: each for each in present}
            self._ordered -= self._present.keys()
            self._told &= self._watching.pods().keys() | self._present.keys() | self._wishes.keys()

    def close(self) -> None:
        """Stop watching and let the calls that are under way end; pods go on."""
        self._closing.set()
        self._changed.set()
        if self._watch is not None:
            self._watch.close()
            self._thread.join(2 * _LOOK)
        self._hands.shutdown(wait=True, cancel_futures=True)
        self._server.close()

    @property
    def _watching(self) -> PodWatch:
        assert self._watch is not None
        return self._watch

    def _begin(self) -> PodWatch:
        self._heard_at = time.monotonic()
        if self._watch is None:
            self._deployment = self._read_deployment()
            selector = f"{MANAGED_BY}={SUPERVISOR},{DEPLOYMENT}={self._deployment}"
            self._watch = PodWatch(self._server, selector, INSTANCE, self._seen)
            self._watch.start()
            self._thread.start()
        return self._watch

    def _seen(self) -> None:
        self._changed.set()
        self._on_change()

    def _run(self) -> None:
        while not self._closing.is_set():
            self._changed.wait(_LOOK)
            self._changed.clear()
            if self._closing.is_set() or time.monotonic() - self._heard_at > ACTIVE:
                continue
            try:
                self._look()
            except Exception:
                log.exception("the pods could not be looked after; this is tried again")

    def _look(self) -> None:
        """One round: what has ended, what nobody knows, what is to be done."""
        now, wall = time.monotonic(), time.time()
        for name, pod in self._watching.removed().items():
            self._end(name, words.look(pod).words or "its pod was deleted")
            with self._lock:
                self._wishes.pop(name, None)
        pods = self._watching.pods()
        self._see_ends(pods, now)
        self._see_strays(pods, now)
        self._note_what_is_there(pods)
        self._drop_what_never_was(pods)
        with self._lock:
            wanted = due(self._wishes, pods, self._present, now, wall)
            ready = [each for each in wanted if each.instance not in self._in_hand]
            self._in_hand |= {each.instance for each in ready}
        for action in ready:
            self._hands.submit(self._carry_out, action)

    def _note_what_is_there(self, pods: dict[str, Json]) -> None:
        """Pods that were made though the answer never came need not be asked for again."""
        with self._lock:
            for name, wish in self._wishes.items():
                if wish.pod is not None and name in pods and name not in self._in_hand:
                    wish.pod, wish.asked = None, True
                    wish.done()

    def _drop_what_never_was(self, pods: dict[str, Json]) -> None:
        """Orders that were taken back before the API server heard of them."""
        with self._lock:
            dropped = [
                name
                for name, wish in self._wishes.items()
                if wish.grace is not None
                and not wish.asked
                and name not in pods
                and name not in self._in_hand
            ]
            for name in dropped:
                del self._wishes[name]
        for name in dropped:
            self._end(name, "its pod was not wanted any more")

    def _see_ends(self, pods: dict[str, Json], now: float) -> None:
        """Tell the ends of pods, give up those that cannot begin, and have their remains removed."""
        looks = {name: words.look(pod) for name, pod in pods.items()}
        self._doubtful = {
            name: self._doubtful.get(name, now) for name, found in looks.items() if found.hopeless
        }
        for name, found in looks.items():
            hopeless = found.hopeless and now - self._doubtful[name] > HOPELESS_AFTER
            if not (found.ended or hopeless):
                continue
            self._end(name, found.words)
            if "deletionTimestamp" not in pods[name]["metadata"]:
                self._remove(name, pods[name])

    def _see_strays(self, pods: dict[str, Json], now: float) -> None:
        """Remove pods of instances that the store does not know, or not any more."""
        with self._lock:
            leaving = {name for name, wish in self._wishes.items() if wish.grace is not None}
            unknown = pods.keys() - self._present.keys() - self._ordered - leaving
        self._strays = {name: self._strays.get(name, now) for name in unknown}
        for name, since in self._strays.items():
            if now - since > STRAY_AFTER:
                log.info(
                    "pod %s is of no instance that is known: it is removed", pods[name]["metadata"]["name"]
                )
                self._remove(name, pods[name])

    def _remove(self, name: str, pod: Json) -> None:
        with self._lock:
            wish = self._wishes.setdefault(name, Wish(pod["metadata"]["name"], asked=True))
            wish.leave(self._plan.grace)

    def _end(self, name: str, reason: str) -> None:
        """Tell an end, once."""
        with self._lock:
            if name in self._told:
                return
            self._told.add(name)
            self._exits.append(Exit(name, reason))
        self._on_change()

    def _carry_out(self, action: Action) -> None:
        with self._lock:
            name = "" if isinstance(action, Create) else action.name
            wish = self._wishes.setdefault(action.instance, Wish(name))
        try:
            self._try(action, wish)
        except Unreachable as error:
            wish.asked = wish.asked or (isinstance(action, Create) and error.in_doubt)
            wish.failed(time.monotonic(), str(error), error.retry_after)
        except Refused as error:
            self._refused(action, wish, error)
        except Exception:
            log.exception("%s", action)
            wish.failed(time.monotonic(), "")
        finally:
            with self._lock:
                self._in_hand.discard(action.instance)
            self._changed.set()

    def _try(self, action: Action, wish: Wish) -> None:
        path = f"{self._server.pods}/{wish.name}"
        if isinstance(action, Create):
            self._create(action.instance, wish)
        elif isinstance(action, Delete):
            self._server.delete(path, grace=action.grace, uid=action.uid)
            wish.told, wish.told_at = action.grace, time.monotonic()
        elif isinstance(action, Mark):
            self._watching.note(self._server.merge(path, {"metadata": {"annotations": action.marks}}))
        wish.done()

    def _create(self, instance: str, wish: Wish) -> None:
        pod = wish.pod
        if pod is None:
            return  # it has been given up meanwhile
        owner = self._plan.owner
        if owner is not None:
            if not self._owner_uid:
                found = self._server.get(owner.path(self._server.namespace))
                self._owner_uid = found["metadata"]["uid"]
            pod["metadata"]["ownerReferences"] = [owner.reference(self._owner_uid)]
        self._watching.note(self._server.create(self._server.pods, pod))
        with self._lock:
            wish.asked, wish.pod = True, None

    def _refused(self, action: Action, wish: Wish, error: Refused) -> None:
        now = time.monotonic()
        if isinstance(action, Create):
            self._not_created(action, wish, error)
        elif error.code == 404 or (error.code == 409 and isinstance(action, Delete)):
            # Gone already, or another pod by now.
            with self._lock:
                self._wishes.pop(action.instance, None)
            self._watching.forget(action.instance)
            if self.holds(action.instance):
                self._end(action.instance, "its pod was deleted")
        else:
            wish.failed(now, words.refusal(error, self._server.namespace), after=_LOOK)
            log.warning("%s: %s", wish.name, wish.word)

    def _not_created(self, action: Create, wish: Wish, error: Refused) -> None:
        if error.reason == "AlreadyExists" and wish.asked:
            # Our own, of a call whose answer never came.
            with self._lock:
                wish.pod = None
            wish.done()
        elif error.code == 409:
            # Two creations have met at the quota, say: the server asks to try again.
            wish.failed(time.monotonic(), f"the API server asks to try again ({error.message})")
        else:
            if error.code == 404 and self._plan.owner is not None:
                self._owner_uid = ""
            with self._lock:
                self._wishes.pop(action.instance, None)
            self._end(action.instance, words.refusal(error, self._server.namespace))
