"""What can be done with tasks that have ended: deleting them, and downloading what they made all at once."""

from __future__ import annotations

import threading
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from backend.cli.command import app
from backend.client import Client, TaskHandle
from backend.errors import Conflict, Forbidden, InvalidInput, NotFound
from backend.store import accounts, tasks
from backend.store.connection import Store
from backend.task import TaskState
from backend.worker import result_file
from tests.support.gateway_box import TOKEN, Box
from tests.support.pretend import PretendInstance, progress


def trained(
    box: Box, client: Client, store: Store, service: str, state: TaskState = TaskState.SUCCEEDED
) -> tuple[TaskHandle, Path]:
    """A task that has made a LoRA, and that under `loras/`."""
    task = client.service(service).submit(command="true", files={"config.toml": "a = 1\n"})
    instance = PretendInstance(store, service)
    holder = instance.take(task.id)
    lora = box.data_dir / "jobs" / task.id / "output" / "cats.safetensors"
    lora.parent.mkdir(parents=True)
    lora.write_bytes(b"l" * 1000)
    (lora.parent / "a.png").write_bytes(b"p" * 300)
    published = result_file.published(lora, box.data_dir / "loras", task.id)
    instance.say(holder, "one line", records=(progress(1),))
    assert store.run(tasks.finish(holder, state, "", output=str(published))) is None  # type: ignore[arg-type]
    return task, published


def test_the_record_goes_and_the_files_stay_unless_they_are_asked_for(
    box: Box, client: Client, store: Store, name: str
) -> None:
    box.create(name, "ScalableJob")
    task, lora = trained(box, client, store, name)
    folder = box.data_dir / "jobs" / task.id

    assert task.delete().parts == []
    assert folder.is_dir() and lora.is_file()
    assert client.tasks(name) == []
    for again in (task.view, task.delete, task.retry, lambda: client.service(name).checkpoints(task.id)):
        with pytest.raises(NotFound, match="it has been deleted"):
            again()


def test_its_files_and_its_lora_go_when_they_are_asked_for(
    box: Box, client: Client, store: Store, name: str
) -> None:
    box.create(name, "ScalableJob")
    first, kept = trained(box, client, store, name)
    second, lora = trained(box, client, store, name)
    room = second.room()
    assert {part.kind: (part.count, part.bytes) for part in room.parts} == {
        "loras": (1, 0),
        "pictures": (1, 300),
        "jobs": (1, 6),
    }
    assert (room.lora, room.lora_bytes) == (f"loras/{lora.name}", 1000)

    with pytest.raises(InvalidInput):
        first.delete(lora=True)
    assert first.delete(files=True).lora == ""
    assert kept.read_bytes() == b"l" * 1000 and not (box.data_dir / "jobs" / first.id).exists()
    assert second.delete(files=True, lora=True) == room
    assert not lora.exists() and not (box.data_dir / "jobs" / second.id).exists()
    assert (box.data_dir / "jobs").is_dir()


def test_a_task_that_says_others_files_are_its_own_removes_none_of_them(
    box: Box, client: Client, store: Store, name: str
) -> None:
    box.create(name, "ScalableJob")
    task, lora = trained(box, client, store, name)
    store.run(accounts.give(f"loras/{lora.name}", "somebody"))
    assert task.room().lora == ""
    outside = box.data_dir.parent / f"{name}-outside"
    outside.mkdir()
    (outside / "precious").write_text("stays")
    (box.data_dir / "jobs" / task.id / "link").symlink_to(outside)

    task.delete(files=True, lora=True)

    assert lora.is_file() and (outside / "precious").read_text() == "stays"


def test_what_waits_or_runs_is_refused_with_what_to_do(box: Box, client: Client, name: str) -> None:
    box.create(name, "ScalableJob")
    task = client.service(name).submit(command="true", files={"a.txt": "a"})
    with pytest.raises(Conflict, match=r"waiting.*stop it first"):
        task.delete(files=True)
    assert task.state == "waiting" and (box.data_dir / "jobs" / task.id / "a.txt").is_file()


def test_a_member_deletes_only_what_is_theirs_and_the_log_says_who(
    box: Box, client: Client, name: str
) -> None:
    box.create(name, "ScalableJob")
    tokens = {}
    for role in ("member", "viewer"):
        client.add_user(f"{name}-{role}", role=role, commands=True)
        tokens[role] = client.make_token(f"{name}-{role}", "test").token or ""
    with box.client(tokens["member"]) as member, box.client(tokens["viewer"]) as viewer:
        own = member.service(name).submit(command="true")
        other = client.service(name).submit(command="true", user=f"{name}-viewer")
        own.cancel()
        other.cancel()
        with pytest.raises(Forbidden):
            member.task(other.id).delete()
        with pytest.raises(Forbidden):
            viewer.task(other.id).delete()
        own.delete()
    assert [task.id for task in client.tasks(name)] == [other.id]
    entry = next(e for e in client.audit(limit=20).entries if e.did == "delete_task" and e.status == 200)
    assert (entry.who, entry.to) == (f"{name}-member", own.id)


def test_two_at_once_and_everybody_hears_of_it(box: Box, client: Client, store: Store, name: str) -> None:
    box.create(name, "ScalableJob")
    task, _ = trained(box, client, store, name, TaskState.FAILED)
    listening, heard = threading.Event(), threading.Event()

    def listen() -> None:
        with box.client() as listener:
            for kind, data, _ in listener.stream("events", {}):
                if kind == "hello":
                    listening.set()
                elif (data["kind"], data["id"]) == ("deleted", task.id):
                    heard.set()
                    return

    threading.Thread(target=listen, daemon=True).start()
    assert listening.wait(20)
    outcomes = []

    def delete() -> None:
        try:
            task.delete(files=True)
            outcomes.append("deleted")
        except NotFound:
            outcomes.append("was gone")

    both = [threading.Thread(target=delete) for _ in range(2)]
    for each in both:
        each.start()
    for each in both:
        each.join(20)

    assert "deleted" in outcomes and len(outcomes) == 2
    assert not (box.data_dir / "jobs" / task.id).exists()
    assert heard.wait(20)


def test_the_command(box: Box, client: Client, store: Store, name: str) -> None:
    box.create(name, "ScalableJob")
    good, lora = trained(box, client, store, name)
    bad, _ = trained(box, client, store, name, TaskState.FAILED)

    def run(*words: str) -> tuple[int, str]:
        result = CliRunner().invoke(app, [*words, "--endpoint", box.url, "--token", TOKEN])
        return result.exit_code, result.output

    code, said = run("delete", "--failed", "--files")
    assert (
        code == 0
        and f"{bad.id} is deleted with 1 LoRA or checkpoint, 1 picture, 1 other file (0.3 kB)" in said
    )
    code, said = run("delete", good.id, "missing")
    assert code == 1 and f"{good.id} is deleted; its files stay" in said
    assert "there is no task 'missing'" in said and lora.is_file()
    code, said = run("logs", "-f", good.id)
    assert code == 1
    assert client.tasks(name) == []


def test_the_loras_of_ones_own_trainings_come_as_one_zip(
    box: Box, client: Client, store: Store, name: str, tmp_path: Path
) -> None:
    box.create(name, "ScalableJob")
    client.add_user(f"{name}-member", role="member", commands=True)
    token = client.make_token(f"{name}-member", "test").token or ""
    other, others_lora = trained(box, client, store, name)
    with box.client(token) as member:
        with pytest.raises(NotFound, match="nothing to download"):
            member.download_loras(tmp_path / "none.zip")
        first, one = trained(box, member, store, name)
        _, two = trained(box, member, store, name)
        trained(box, member, store, name, TaskState.FAILED)

        with zipfile.ZipFile(member.download_loras(tmp_path / "mine.zip")) as mine:
            assert sorted(mine.namelist()) == sorted([one.name, two.name])
            assert mine.testzip() is None and mine.read(one.name) == b"l" * 1000
        with zipfile.ZipFile(member.download_loras(tmp_path / "one.zip", tasks=[first.id])) as chosen:
            assert chosen.namelist() == [one.name]
        with pytest.raises(Forbidden):
            member.download_loras(tmp_path / "none.zip", tasks=[first.id, other.id])
        with pytest.raises(NotFound):
            member.download_loras(tmp_path / "none.zip", hours=1e-9)
    assert not (tmp_path / "none.zip").exists()

    command = ["download", "--all", "--to", str(tmp_path), "--endpoint", box.url, "--token", TOKEN]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    with zipfile.ZipFile(result.output.strip()) as everything:
        assert {one.name, two.name, others_lora.name} <= {*everything.namelist()}
