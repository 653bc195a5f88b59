"""Which language a page has, and the files that languages come from."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from starlette.datastructures import Headers

from app.languages import COOKIE, Catalogue, Languages, accepted


def chosen(languages: Languages, accept: str = "", cookie: str = "") -> str:
    return languages.wanted(Headers({"accept-language": accept, "cookie": cookie})).code


def test_the_browsers_order_of_languages_is_read() -> None:
    assert accepted("de;q=0.5, zh-CN, fr;q=0.9, x;q=y") == ["zh-CN", "fr", "de"]


@pytest.mark.parametrize(
    ("accept", "cookie", "code"),
    [
        ("", "", "en"),
        ("zh-CN,zh;q=0.9,en;q=0.8", "", "zh"),
        ("fr,en-GB;q=0.8,zh;q=0.7", "", "en"),
        ("zh", f"a=b; {COOKIE}=en", "en"),
        ("en", f"{COOKIE}=zh", "zh"),
        ("en", f"{COOKIE}=../../etc", "en"),
    ],
)
def test_the_choice_of_a_browser_comes_before_what_it_accepts(
    tmp_path: Path, accept: str, cookie: str, code: str
) -> None:
    assert chosen(Languages(tmp_path), accept, cookie) == code


def test_what_the_server_says_is_known_whole_or_by_its_sentences() -> None:
    words = {"{a} waits for {b}.": "{b} ← {a}", "Go on.": "继续。", "{n} of {n} ({all})": "{n}/{n} {all}"}
    language = Catalogue("zh", "中文", messages=words)
    assert language.said("ana waits for bob.") == "bob ← ana"
    # A Chinese full stop has its own room.
    assert language.said("Stop here. Go on. Nobody knows this.") == "Stop here. 继续。Nobody knows this."
    assert language.said("2 of 3 ({b})") == "3/3 {b}"
    assert language.said("") == ""


def test_a_file_in_the_data_folder_is_one_more_language(tmp_path: Path) -> None:
    folder = tmp_path / "languages"
    folder.mkdir()
    (folder / "fr.json").write_text(json.dumps({"name": "Français", "texts": {"Jobs": "Tâches"}}))
    (folder / "broken.json").write_text("{")
    (folder / "zh.json").write_text(json.dumps({"name": "中文", "texts": {"Jobs": "作业"}}))
    languages = Languages(tmp_path)
    assert chosen(languages, "fr-CA") == "fr"
    assert languages.known["fr"].say("Jobs") == "Tâches"
    assert languages.known["fr"].say("Train") == "Train"
    # What it says of a language that is there already comes before ours, word by word.
    assert languages.known["zh"].say("Jobs") == "作业" and languages.known["zh"].say("Train") != "Train"
    assert "broken" not in languages.known
