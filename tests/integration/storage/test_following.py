"""What a run writes goes to its store; what a dead instance left behind is sent by somebody else."""

from __future__ import annotations

from pathlib import Path

from backend.storage.following import Following, Root, carry_on, pending
from tests.support.box import until
from tests.support.s3_server import S3Server


def following(server: S3Server, data_dir: Path, task: str, folder: Path) -> Following:
    state = data_dir / "mounts" / ".state" / "place"
    return Following(data_dir, task, server.store("run/"), state, [Root(folder, f"jobs/{task}/")])


def held_by(server: S3Server, task: str) -> dict[str, int]:
    return {remote.path: remote.size for remote in server.store("run/").below(f"jobs/{task}")}


def test_files_go_while_the_run_goes_on_and_states_at_its_end(server: S3Server, tmp_path: Path) -> None:
    folder = tmp_path / "job"
    (folder / "cat-state").mkdir(parents=True)
    (folder / "cat-state" / "big.bin").write_bytes(b"state")
    run = following(server, tmp_path, "one", folder)
    run.start()
    (folder / "cat.safetensors").write_bytes(b"lora")
    (folder / "log.txt").write_text("first\n")
    until(lambda: len(held_by(server, "one")) == 2, "what is at rest is sent", 20.0)
    assert pending(tmp_path).keys() == {"one"}
    with (folder / "log.txt").open("a") as log:
        log.write("last\n")
    assert run.finish(20.0, lambda: False) == []
    assert run.close() == []
    assert held_by(server, "one") == {
        "jobs/one/cat.safetensors": 4,
        "jobs/one/cat-state/big.bin": 5,
        "jobs/one/log.txt": 11,
    }
    assert pending(tmp_path) == {}


def test_what_is_not_sent_in_time_is_named_and_carried_on(server: S3Server, tmp_path: Path) -> None:
    folder = tmp_path / "job"
    folder.mkdir()
    run = following(server, tmp_path, "two", folder)
    run.start()
    server.kill()
    try:
        (folder / "cat.safetensors").write_bytes(b"lora")
        assert run.finish(1.0, lambda: False) == [folder / "cat.safetensors"]
        assert any("does not answer" in line for line in run.notes())
        assert run.close() == [folder / "cat.safetensors"]
        # while the store is away nothing is lost
        assert carry_on(tmp_path, server.environment, lambda: False) == {"two": 1}
        # and without credentials neither
        assert carry_on(tmp_path, {}, lambda: False) == {"two": 1}
    finally:
        server.start()
    assert carry_on(tmp_path, server.environment, lambda: False) == {}
    assert held_by(server, "two") == {"jobs/two/cat.safetensors": 4}
    assert pending(tmp_path) == {}


def test_a_run_that_goes_on_is_left_to_its_instance(server: S3Server, tmp_path: Path) -> None:
    folder = tmp_path / "job"
    folder.mkdir()
    run = following(server, tmp_path, "three", folder)
    run.start()
    (folder / "log.txt").write_text("first\n")
    until(lambda: bool(held_by(server, "three")), "its first file is sent", 20.0)
    (folder / "more.bin").write_bytes(b"more")
    assert carry_on(tmp_path, server.environment, lambda: False) == {}
    assert pending(tmp_path).keys() == {"three"}
    run.close()
