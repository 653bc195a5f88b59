"""The launcher of a cluster before an API server that keeps to the API's own rules."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from backend.errors import InvalidArgument
from backend.instance import InstanceState
from backend.pool.kubernetes import launcher as launcher_module
from backend.pool.kubernetes import watch as watch_module
from backend.pool.kubernetes import wishes
from backend.pool.kubernetes.api import Unreachable, connect
from backend.settings import Settings
from tests.support.cluster.cluster import TOKEN, Cluster, make_certificate
from tests.support.cluster.nodes import Node
from tests.support.cluster.objects import Answer
from tests.support.cluster.rules import VERSION
from tests.support.cluster.server import LostAnswer
from tests.support.kubernetes_world import KubernetesWorld

GPU = "nvidia.com/gpu"


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    cluster = Cluster(tmp_path / "cluster", images={"lorapool-instance", "studio/kohya:1"})
    cluster.secret("lorapool", redis_url="rediss://:secret@store:6379/0")
    monkeypatch.setenv("KUBECONFIG", str(cluster.kube_config))
    yield cluster
    cluster.close()


@pytest.fixture
def world(cluster: Cluster) -> Iterator[KubernetesWorld]:
    world = KubernetesWorld(cluster)
    yield world
    world.close()


class TestOnePodForEachInstance:
    def test_it_comes_up_and_is_held(self, world: KubernetesWorld) -> None:
        instance = world.running()
        pod = world.cluster.pod_of(instance.id)
        assert pod is not None
        assert world.launcher.holds(instance.id)
        assert pod["metadata"]["name"] == f"lorapool-kohya-job-{instance.id}"
        assert pod["spec"]["terminationGracePeriodSeconds"] > world.settings.save_grace

    def test_orders_never_wait_for_the_api_server(self, world: KubernetesWorld) -> None:
        world.cluster.api.stop()
        began = time.monotonic()
        instances = [world.order() for _ in range(5)]
        assert time.monotonic() - began < 1.0
        world.until(lambda: "does not answer" in world.said(instances[0]))
        # and when it is back, they are carried out
        world.cluster.api.start()
        world.until(lambda: all(world.cluster.phase(each.id) == "Running" for each in instances))
        world.until(lambda: "does not answer" not in world.said(instances[0]))

    def test_an_answer_that_got_lost_makes_no_second_pod(self, world: KubernetesWorld) -> None:
        def lose() -> None:
            raise LostAnswer

        world.cluster.api.hold_events = True
        world.cluster.api.fail("created", lose)
        instance = world.running()
        # The second is told that it is there already.
        world.until(lambda: sum(each.verb == "create" for each in world.cluster.api.requests) == 2)
        world.until(lambda: world.launcher._wishes[instance.id].pod is None)
        world.cluster.api.hold_events = False
        assert len(world.cluster.pods()) == 1
        assert world.launcher.exits() == []
        assert world.launcher.holds(instance.id)

    def test_it_belongs_to_what_owns_the_deployment_and_goes_with_it(self, cluster: Cluster) -> None:
        anchor = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "anchor"}}
        cluster.objects.create("configmaps", cluster.namespace, anchor)
        world = KubernetesWorld(cluster, kubernetes_owner="ConfigMap/anchor")
        try:
            world.running()
            world.running()
            cluster.objects.delete("configmaps", cluster.namespace, "anchor", {})
            world.until(lambda: cluster.pods() == [])
        finally:
            world.close()


class TestTheEnd:
    def test_one_that_has_drained_is_told_and_its_pod_removed(self, world: KubernetesWorld) -> None:
        instance = world.running()
        world.cluster.nodes.finish(world.cluster.name_of(instance.id))
        assert world.exit_of(instance) == "its process has ended"
        world.until(lambda: world.cluster.pods() == [])
        assert not world.launcher.holds(instance.id)

    def test_stopping_leaves_the_time_to_save_and_hand_back(self, world: KubernetesWorld) -> None:
        instance = world.running()
        world.cluster.nodes.stubborn = True
        world.launcher.stop(instance)
        world.until(lambda: "deletionTimestamp" in (world.cluster.pod_of(instance.id) or {})["metadata"])
        pod = world.cluster.pod_of(instance.id)
        assert pod is not None
        assert pod["metadata"]["deletionGracePeriodSeconds"] >= world.settings.save_grace
        # said harder, it ends at once
        world.launcher.kill(instance)
        world.until(lambda: world.cluster.pods() == [])
        assert len(world.launcher.exits()) <= 1

    def test_killed_means_that_its_container_was_seen_to_have_ended(self, world: KubernetesWorld) -> None:
        instance = world.running()
        world.cluster.nodes.stubborn = True
        assert not world.launcher.kill(instance)
        world.until(lambda: world.launcher.kill(instance))
        pod = world.cluster.pod_of(instance.id)
        assert pod is None or "terminated" in pod["status"]["containerStatuses"][0]["state"]

    def test_a_node_that_is_lost_holds_nobody_up(
        self, world: KubernetesWorld, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(wishes, "FORCE_AFTER", 0.0)
        instances = [world.running() for _ in range(4)]
        world.cluster.nodes.lose("node-1")
        assert not any(world.launcher.kill(instance) for instance in instances), (
            "nobody says that they have ended"
        )
        # their leases say so; their pods are forgotten then
        world.until(lambda: world.cluster.pods() == [])
        world.until(lambda: all(world.launcher.kill(instance) for instance in instances))

    def test_a_lost_node_that_the_cluster_has_noticed_is_said_to_be_lost(
        self, world: KubernetesWorld
    ) -> None:
        instance = world.running()
        world.cluster.nodes.lose("node-1")
        world.launcher.stop(instance)
        world.until(lambda: "deletionTimestamp" in (world.cluster.pod_of(instance.id) or {})["metadata"])
        world.cluster.nodes.notice("node-1")
        assert world.exit_of(instance) == "its node node-1 is lost"
        assert world.launcher.kill(instance)

    def test_one_that_is_deleted_before_it_began_is_given_up_at_once(self, world: KubernetesWorld) -> None:
        """As when its node has died before it could start: nobody would ever say that it has ended."""
        world.cluster.nodes.images = set()
        instance = world.order()
        world.until(lambda: "cannot be pulled" in world.said(instance))
        world.cluster.nodes.lose("node-1")
        name = world.cluster.name_of(instance.id)
        world.cluster.objects.delete("pods", world.cluster.namespace, name, {})
        assert world.exit_of(instance) == "its pod was deleted"
        assert world.cluster.pod_of(instance.id) is not None

    def test_a_finalizer_of_somebody_else_keeps_the_pod_but_not_us(self, world: KubernetesWorld) -> None:
        instance = world.running()
        name = world.cluster.name_of(instance.id)

        def hold(pod: dict[str, object]) -> dict[str, object]:
            pod["metadata"]["finalizers"] = ["example.com/hold"]  # type: ignore[index]
            return pod

        world.cluster.objects.update("pods", world.cluster.namespace, name, hold)
        world.launcher.stop(instance)
        assert world.exit_of(instance)
        assert world.cluster.pod_of(instance.id) is not None
        assert sum(each.verb == "delete" for each in world.cluster.api.requests) == 1, "asked once is enough"

    def test_an_order_that_was_taken_back_before_anybody_heard_of_it(self, world: KubernetesWorld) -> None:
        world.cluster.api.stop()
        instance = world.order()
        world.launcher.kill(instance)
        world.cluster.api.start()
        world.until(lambda: not world.launcher._wishes)
        assert world.cluster.pods() == []

    def test_a_delete_that_does_not_get_through_is_tried_again(self, world: KubernetesWorld) -> None:
        instance = world.running()

        def busy() -> None:
            raise Answer(429, "TooManyRequests", "the server has received too many requests")

        world.cluster.api.fail("delete", busy)
        world.launcher.stop(instance)
        world.until(lambda: world.cluster.pods() == [])


class TestWhatIsSaidOfIt:
    def test_quota(self, world: KubernetesWorld) -> None:
        quota = world.cluster.quota(pods=1)
        world.running()
        second = world.order()
        said = world.exit_of(second)
        assert said == (
            "the quota of namespace studio is used up: exceeded quota: compute, requested: pods=1, used: pods=1, "
            "limited: pods=1"
        )
        quota.hard["pods"] = 2
        world.running()

    def test_what_the_service_account_may_not(self, world: KubernetesWorld) -> None:
        world.cluster.api.rules = [
            {"apiGroups": [""], "resources": ["pods"], "verbs": ["get", "list", "watch", "delete"]}
        ]
        said = world.exit_of(world.order())
        assert "may not do that in namespace studio" in said
        assert 'cannot create resource "pods"' in said

    def test_a_pod_that_is_wrong(self, world: KubernetesWorld) -> None:
        world.describe(kubernetes={"labels": {"team": "not a label!"}})
        said = world.exit_of(world.order())
        assert "finds the pod wrong" in said
        assert "metadata.labels" in said

    def test_a_conflict_is_tried_again(self, world: KubernetesWorld) -> None:
        def conflict() -> None:
            raise Answer(409, "Conflict", 'Operation cannot be fulfilled on resourcequotas "compute"')

        world.cluster.api.fail("create", conflict)
        world.running()
        assert world.launcher.exits() == []

    def test_no_room_on_any_node_and_then_a_node_more(self, world: KubernetesWorld) -> None:
        world.describe(gpu=1, kubernetes={"node_selector": {"gpu.example/kind": "a100"}})
        instance = world.order()
        world.until(lambda: "no node has room" in world.said(instance))
        assert "didn't match Pod's node affinity/selector" in world.said(instance)
        assert "reemption" not in world.said(instance)
        # as an autoscaler adds one
        world.cluster.nodes.nodes.append(Node("gpu-1", {GPU: 1}, {"gpu.example/kind": "a100"}))
        world.until(lambda: world.cluster.phase(instance.id) == "Running")
        world.until(lambda: "no node has room" not in world.said(instance))

    def test_a_tainted_node_takes_what_tolerates_it(self, world: KubernetesWorld) -> None:
        world.cluster.nodes.nodes = [Node("gpu-1", taints=[{"key": GPU, "effect": "NoSchedule"}])]
        world.describe(kubernetes={"tolerations": [{"key": GPU, "operator": "Exists"}]})
        world.running()

    def test_an_image_that_cannot_be_pulled_is_given_up(
        self, world: KubernetesWorld, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(launcher_module, "HOPELESS_AFTER", 0.3)
        world.describe(containers=[{"image": "studio/kohya:missing"}])
        instance = world.order()
        world.until(lambda: "cannot be pulled" in world.said(instance))
        said = world.exit_of(instance)
        assert "its image cannot be pulled (studio/kohya:missing)" in said
        world.until(lambda: world.cluster.pods() == [])

    def test_a_secret_that_is_not_there_may_still_come(self, world: KubernetesWorld) -> None:
        variable = {"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "token"}}}
        world.describe(containers=[{"image": "studio/kohya:1", "env": [variable]}])
        instance = world.order()
        world.until(lambda: 'secrets "hub" not found' in world.said(instance))
        world.cluster.secret("hub", token="hf_xyz")
        world.until(lambda: world.cluster.phase(instance.id) == "Running")

    def test_eviction_memory_and_a_node_that_went(self, world: KubernetesWorld) -> None:
        world.describe(memory=4096)
        evicted, hungry, lost = (world.running() for _ in range(3))
        world.cluster.nodes.evict(world.cluster.name_of(evicted.id))
        world.cluster.nodes.run_out_of_memory(world.cluster.name_of(hungry.id))
        assert "evicted from node node-1: The node was low on resource" in world.exit_of(evicted)
        assert "took more memory than it may (4096Mi)" in world.exit_of(hungry)
        world.cluster.nodes.remove("node-1")
        assert "its node is gone" in world.exit_of(lost)

    def test_somebody_deletes_it_by_hand(self, world: KubernetesWorld) -> None:
        instance = world.running()
        name = world.cluster.name_of(instance.id)
        world.cluster.objects.delete("pods", world.cluster.namespace, name, {"gracePeriodSeconds": 0})
        assert world.exit_of(instance) == "its pod was deleted"


class TestMarks:
    def test_a_busy_one_is_not_to_be_moved_and_an_idle_one_may_be(
        self, world: KubernetesWorld, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def marks() -> tuple[str, str]:
            annotations = (world.cluster.pod_of(instance.id) or {})["metadata"]["annotations"]
            return (
                annotations["cluster-autoscaler.kubernetes.io/safe-to-evict"],
                annotations["controller.kubernetes.io/pod-deletion-cost"],
            )

        instance = world.running()
        assert marks() == ("true", "0")
        busy = world.change(instance, state=InstanceState.BUSY, tasks=("t1",))
        world.until(lambda: marks() == ("false", "1000"))
        world.change(busy, state=InstanceState.IDLE, tasks=(), idle_since=time.time() - wishes.IDLE_AFTER)
        world.until(lambda: marks() == ("true", "0"))
        patches = [each for each in world.cluster.api.requests if each.verb == "patch"]
        assert len(patches) == 2


class TestTheWatch:
    def test_pages_and_a_page_that_expires(
        self, world: KubernetesWorld, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        instances = [world.running(created_at=time.time() - 60) for _ in range(5)]
        monkeypatch.setattr(watch_module, "PAGE", 2)
        world.cluster.api.expire_pages = 1
        second = world.new_launcher()
        world.until(lambda: all(second.adopt(each) and second.holds(each.id) for each in instances))
        lists = [each for each in world.cluster.api.requests if each.verb == "list"]
        assert any("continue" in each.query for each in lists)

    def test_after_410_everything_is_listed_again_and_nothing_missed(self, world: KubernetesWorld) -> None:
        gone, stays = world.running(), world.running()
        world.cluster.api.stop()
        name = world.cluster.name_of(gone.id)
        world.cluster.objects.delete("pods", world.cluster.namespace, name, {"gracePeriodSeconds": 0})
        world.cluster.objects.compact()
        world.cluster.api.start()
        assert world.exit_of(gone) == "its pod was deleted"
        assert world.launcher.holds(stays.id)
        assert sum(each.verb == "list" for each in world.cluster.api.requests) >= 2

    def test_an_api_server_that_restarts_is_said_to_be_away_once_and_heard_at_once(
        self, world: KubernetesWorld, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        instance = world.running()
        watch = world.launcher._watching
        away = threading.Event()
        troubles: list[str] = []

        def pause(_low: float, _high: float) -> float:
            if away.is_set():
                troubles.append(watch.trouble)
            return 0.001 if away.is_set() else 1.0

        monkeypatch.setattr(watch_module.random, "uniform", pause)
        monkeypatch.setattr(watch_module, "_LONGEST_PAUSE", 100.0)
        away.set()
        world.cluster.api.stop()
        world.until(lambda: len(troubles) > 12)
        assert all(troubles), "while it is away, it is never said to be well"
        assert caplog.text.count("not seen at present") == 1
        # It comes back, and remembers nothing of before.
        world.cluster.objects.delete(
            "pods", world.cluster.namespace, world.cluster.name_of(instance.id), {"gracePeriodSeconds": 0}
        )
        world.cluster.objects.compact()
        world.cluster.api.fail("watch", away.clear)
        world.cluster.api.start()
        assert world.exit_of(instance) == "its pod was deleted"
        caplog.clear()
        world.launcher.close()
        assert "not seen at present" not in caplog.text, "it was asked to end"

    def test_bookmarks_spare_a_list_after_a_quiet_time(
        self, world: KubernetesWorld, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(watch_module, "WATCH_SECONDS", 1)
        world.cluster.api.stop()  # the next watch is a short one
        world.cluster.api.start()
        world.until(
            lambda: any(each.query.get("timeoutSeconds") == "1" for each in world.cluster.api.requests)
        )
        # others change a lot meanwhile, and the history forgets where we were
        world.cluster.objects.history = 5
        other = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}}
        lists = sum(each.verb == "list" for each in world.cluster.api.requests)
        watch = world.launcher._watch
        assert watch is not None
        for number in range(12):
            other["metadata"] = {"name": f"x{number}"}
            world.cluster.objects.create("configmaps", world.cluster.namespace, other)
            if number % 4 == 3:
                world.until(lambda: int(watch._version) >= world.cluster.objects.version)
        watches = sum(each.verb == "watch" for each in world.cluster.api.requests)
        world.until(lambda: sum(each.verb == "watch" for each in world.cluster.api.requests) > watches + 1)
        assert sum(each.verb == "list" for each in world.cluster.api.requests) == lists


class TestAnotherSupervisor:
    def test_what_runs_is_found_again(self, world: KubernetesWorld) -> None:
        instance = world.running()
        up = world.change(instance, state=InstanceState.IDLE, created_at=time.time() - 60)
        world.launcher.close()
        second = world.new_launcher()
        world.launcher = second
        world.until(lambda: second.adopt(up) and second.holds(up.id))
        # one whose pod is not there any more surely is gone
        assert not second.adopt(world.change(up, id="0000000000aa"))

    def test_a_start_that_came_to_nothing_in_between_is_seen_to_be_none(self, world: KubernetesWorld) -> None:
        lost, comes = (world.running(created_at=time.time() - 60) for _ in range(2))
        world.launcher.close()
        name = world.cluster.name_of(lost.id)
        world.cluster.objects.delete("pods", world.cluster.namespace, name, {"gracePeriodSeconds": 0})
        world.launcher = world.new_launcher()
        world.until(lambda: not world.launcher.adopt(lost))
        assert world.launcher.adopt(comes) and world.launcher.holds(comes.id)

    def test_pods_that_nobody_knows_are_removed_and_others_left_alone(
        self, world: KubernetesWorld, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(launcher_module, "STRAY_AFTER", 0.2)
        stray, ours = world.running(), world.running()
        del world.present[stray.id]
        world.until(lambda: world.cluster.pod_of(stray.id) is None)
        assert world.cluster.pod_of(ours.id) is not None
        # those of another store in the same namespace are none of our business
        other = KubernetesWorld(world.cluster)
        try:
            other.launchers[-1].close()
            other.launcher = other.new_launcher("d2")
            other.until(lambda: other.launcher._watching.synced)
            assert world.cluster.pod_of(ours.id) is not None
            assert not other.launcher.holds(ours.id)
        finally:
            other.close()


def test_everything_that_is_sent_fits_the_schemas_of_the_current_version(world: KubernetesWorld) -> None:
    """The double checks each object it is sent; here, that it does so by the newest version that there is."""
    assert int(VERSION.split(".")[1]) >= 37
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "x"},
        "spec": {"containers": [], "container": []},
    }
    server = connect(world.settings)
    with pytest.raises(Exception, match="unknown field"):
        server.create(server.pods, pod)
    server.close()


def test_without_a_cluster_it_is_one_clear_error(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    with pytest.raises(InvalidArgument, match="no cluster was found"):
        connect(Settings())


def test_in_a_pod_it_is_the_service_account_s_cluster_and_namespace(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "namespace").write_text(cluster.namespace)
    address = urlsplit(cluster.api.url)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", str(address.hostname))
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", str(address.port))
    loader = "kubernetes.config.incluster_config"
    monkeypatch.setattr(f"{loader}.SERVICE_TOKEN_FILENAME", str(tmp_path / "token"))
    monkeypatch.setattr(f"{loader}.SERVICE_CERT_FILENAME", str(cluster.folder / "ca.pem"))
    monkeypatch.setattr("backend.pool.kubernetes.api._NAMESPACE_OF_THE_POD", tmp_path / "namespace")
    (tmp_path / "token").write_text(TOKEN)
    server = connect(Settings())
    assert server.namespace == cluster.namespace
    assert server.get(server.pods)["kind"] == "PodList"
    # somebody else's authority is not believed
    other = tmp_path / "other"
    other.mkdir()
    monkeypatch.setattr(f"{loader}.SERVICE_CERT_FILENAME", make_certificate(other)[0])
    with pytest.raises(Unreachable, match="certificate verify failed"):
        connect(Settings()).get(server.pods)
    server.close()
