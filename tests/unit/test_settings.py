"""Settings from the environment, and the administrator's token."""

from __future__ import annotations

import stat
import threading
from pathlib import Path

import pytest

from backend import settings
from backend.errors import InvalidArgument
from backend.settings import SECRETS, Settings, administrator_token


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("LORAPOOL_TOKEN", "LORAPOOL_DATA_DIR", "LORAPOOL_PORT", "REDIS_URL", "SD_SCRIPTS_DIR"):
        monkeypatch.delenv(name, raising=False)


def test_variables_are_read_and_the_data_folder_becomes_absolute(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("LORAPOOL_DATA_DIR", "here")
    monkeypatch.setenv("REDIS_URL", "redis://elsewhere")
    found = settings.read()
    assert (found.data_dir, found.redis_url) == (tmp_path / "here", "redis://elsewhere")


def test_what_is_given_counts_more_than_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LORAPOOL_PORT", "1234")
    assert settings.read(port=4321).port == 4321


def test_a_child_reads_the_same_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    parent = settings.read(
        data_dir=tmp_path, port=4321, token="secret", redis_url="unix:///x", keep_days=1.5, lease_seconds=3
    )
    for name, value in parent.environment().items():
        monkeypatch.setenv(name, value)
    assert settings.read() == parent


@pytest.mark.parametrize(
    ("variable", "value"),
    [("LORAPOOL_PORT", "abc"), ("LORAPOOL_LEASE_SECONDS", "0"), ("LORAPOOL_KEEP_DAYS", "-1")],
)
def test_a_wrong_variable_is_named_in_one_line(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(InvalidArgument) as caught:
        settings.read()
    assert caught.value.field == variable
    assert value in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_variables_with_secrets_are_all_named() -> None:
    secret = Settings(token="t0ken", redis_url="redis://:pass@host", endpoint="http://x").environment()
    for name, value in secret.items():
        if value in ("t0ken", "redis://:pass@host"):
            assert name in SECRETS


def test_the_token_is_made_once_and_only_its_owner_reads_it(tmp_path: Path) -> None:
    token = administrator_token(tmp_path)
    assert len(token) >= 32
    assert stat.S_IMODE((tmp_path / "token").stat().st_mode) == 0o600
    assert administrator_token(tmp_path) == token
    assert [path.name for path in tmp_path.glob("token*")] == ["token"]


def test_an_empty_token_file_lets_nobody_in_and_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "token").touch()
    assert len(administrator_token(tmp_path)) >= 32


def test_a_given_token_is_taken_and_not_written_down(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LORAPOOL_TOKEN", "mine")
    assert administrator_token(tmp_path) == "mine"
    assert not (tmp_path / "token").exists()


def test_processes_that_start_together_agree_on_one_token(tmp_path: Path) -> None:
    start, tokens = threading.Barrier(8), []

    def take() -> None:
        start.wait()
        tokens.append(administrator_token(tmp_path))

    threads = [threading.Thread(target=take) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(tokens) == {(tmp_path / "token").read_text().strip()}
