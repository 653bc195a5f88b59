"""The Train page in a real browser: filling the form, what is said before the start, and the start."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path

import pytest
from playwright.sync_api import BrowserContext, Page, expect

from tests.browser.fake_gateway import FakeGateway, progress
from tests.browser.stage import PHONE, FrontEnd, field

pytestmark = pytest.mark.usefixtures("gateway")

OUTLOOK = "#lp-outlook"
START = "#lp-start"


def open_form(page: Page, path: str = "/") -> None:
    page.goto(path)
    expect(page.locator(f"{OUTLOOK} dd").first).not_to_have_text("–")


def test_a_newcomer_finds_the_sample_filled_in_and_sees_what_the_training_will_be(page: Page) -> None:
    open_form(page)
    expect(page.locator(field("pretrained_model_name_or_path"))).to_have_value("models/tiny-shapes")
    expect(page.locator(field("train_data_dir"))).to_have_value("datasets/moonlight")
    expect(page.locator(OUTLOOK)).to_contain_text("Pictures30")
    expect(page.locator(OUTLOOK)).to_contain_text("Steps300 (38 an epoch)")


def test_how_long_how_much_memory_and_when_it_would_start_is_said(page: Page, gateway: FakeGateway) -> None:
    open_form(page)
    expect(page.locator(OUTLOOK)).to_contain_text("Startas soon as it is queued")
    expect(page.locator(OUTLOOK)).to_contain_text(re.compile(r"Memoryover [\d.]+ MB"))
    expect(page.locator(OUTLOOK)).not_to_contain_text("Time")
    gateway.add("now", state="running", progress=progress(100, 400, seconds_per_step=2.0, eta=600.0))
    expect(page.locator(OUTLOOK)).to_contain_text("Startin 10 min at the latest")
    expect(page.locator(OUTLOOK)).to_contain_text("Timeabout 10 min")
    gateway.add("next", position=1, expected_start=time.time() + 1800)
    expect(page.locator(OUTLOOK)).to_contain_text("Startin about 30 min, behind 1 other")


def test_start_queues_the_form_and_leads_to_the_job(page: Page, gateway: FakeGateway) -> None:
    gateway.add("before", state="running", progress=progress(10, 100))
    gateway.add("ahead", position=1)
    open_form(page)
    page.fill(field("output_name"), "my style")
    page.click(START)
    expect(page.locator("#lp-after .queued")).to_contain_text(
        "my style: queued, position 2 · starts in about"
    )
    [sent] = gateway.submitted
    assert sent["name"] == "my style"
    assert sent["argv"][:2] == ["accelerate", "launch"]
    assert 'output_name = "my style"' in sent["files"]["config.toml"]
    assert sent["details"]["steps"] == 300
    page.click("#lp-after >> text=Open the job")
    expect(page).to_have_url(f"{page.url.split('/jobs')[0]}/jobs?task={sent['id']}")
    expect(page.locator(".task h2")).to_have_text("my style")


def test_problems_are_said_at_their_fields_and_keep_the_form_from_being_queued(
    page: Page, gateway: FakeGateway
) -> None:
    open_form(page)
    page.fill(field("network_dim"), "0")
    page.fill(field("train_data_dir"), "/etc")
    page.keyboard.press("Tab")
    said = page.locator("#f-train_data_dir .lp-problem")
    expect(said).to_contain_text("outside the data folder")
    expect(page.locator("#f-network_dim .lp-problem")).to_be_visible()
    expect(page.locator(f"{OUTLOOK} .summary.bad")).to_contain_text("2 things to change first")
    page.click(START)
    expect(page.locator(".lp-toast")).to_contain_text("Not started")
    assert gateway.submitted == []
    page.fill(field("network_dim"), "8")
    page.fill(field("train_data_dir"), "datasets/moonlight")
    page.keyboard.press("Tab")
    expect(page.locator(".lp-problem")).to_have_count(0)


def test_a_summary_leads_to_a_field_in_a_closed_group(page: Page) -> None:
    open_form(page)
    page.click("#g-images .label-wrap")
    page.check("#f-enable_bucket input")
    page.fill(field("bucket_reso_steps"), "7")
    page.keyboard.press("Tab")
    expect(page.locator(f"{OUTLOOK} .summary.bad")).to_be_visible()
    page.click("#g-images .label-wrap")
    page.click(f"{OUTLOOK} .summary button")
    expect(page.locator(field("bucket_reso_steps"))).to_be_focused()


def test_what_the_gateway_refuses_is_said_at_its_field(page: Page, gateway: FakeGateway) -> None:
    gateway.refuses = {
        "error": "InvalidArgument",
        "field": "resolution",
        "message": "resolution: the disk is full of pictures",
    }
    open_form(page)
    page.click(START)
    expect(page.locator("#f-max_resolution .lp-problem")).to_contain_text("the disk is full of pictures")


def test_the_form_is_kept_in_this_browser_but_no_secret_is(page: Page) -> None:
    open_form(page)
    page.fill(field("output_name"), "kept")
    page.click("#g-images .label-wrap")
    page.check("#f-flip_aug input")
    page.click("#g-logging .label-wrap")
    page.fill(field("log_with"), "wandb")
    page.keyboard.press("Tab")
    page.fill(field("wandb_api_key"), "secret-key")
    page.fill(field("wandb_run_name"), "after the secret")
    page.wait_for_function("localStorage.getItem('lorapool.form')?.includes('after the secret')")
    assert "secret-key" not in page.evaluate("JSON.stringify(localStorage)")
    page.reload()
    expect(page.locator(field("output_name"))).to_have_value("kept")
    expect(page.locator("#g-images .label-wrap")).to_contain_text("Images")
    page.click("#g-images .label-wrap")
    expect(page.locator("#f-flip_aug input")).to_be_checked()
    expect(page.locator(field("pretrained_model_name_or_path"))).to_have_value("models/tiny-shapes")


def test_a_kohya_file_goes_in_and_comes_out_as_it_was(page: Page, tmp_path: Path) -> None:
    file = tmp_path / "lokr.json"
    file.write_text(json.dumps({"network_dim": 100000, "LoRA_type": "LyCORIS/LoKr", "seed": "42", "nope": 1}))
    open_form(page)
    page.set_input_files("#lp-tools input[type=file]", file)
    expect(page.locator(field("network_dim"))).to_have_value("100000")
    expect(page.locator(field("seed"))).to_have_value("42")
    expect(page.locator("#lp-tools .about", has_text="nope")).to_be_visible()
    with page.expect_download() as download:
        page.click("#lp-tools >> text=Export")
    out = json.loads(download.value.path().read_text())
    assert (out["network_dim"], out["LoRA_type"], out["seed"]) == (100000, "LyCORIS/LoKr", 42)
    assert "nope" not in out


def test_a_file_that_is_no_settings_file_leaves_the_form_as_it_was(page: Page, tmp_path: Path) -> None:
    file = tmp_path / "broken.json"
    file.write_text("{")
    open_form(page)
    page.set_input_files("#lp-tools input[type=file]", file)
    expect(page.locator(".lp-toast.bad")).to_contain_text("not a JSON file")
    expect(page.locator(field("network_dim"))).to_have_value("8")


def test_any_setting_is_found_by_its_name_and_brought_into_sight(page: Page) -> None:
    open_form(page)
    page.fill(".finder input", "flip")
    expect(page.locator(".found li small").first).to_have_text("Images · flip_aug")
    page.keyboard.press("Enter")
    expect(page.locator("#f-flip_aug input")).to_be_focused()


def test_a_grid_of_values_becomes_several_trainings(page: Page, gateway: FakeGateway) -> None:
    open_form(page)
    page.click("text=Try several values")
    page.select_option(".sweep select >> nth=0", "network_dim")
    page.fill(".sweep input >> nth=0", "4, 0")
    page.click("text=Queue them")
    expect(page.locator(".sweep [role=status]")).to_contain_text("Nothing was queued")
    assert gateway.submitted == []
    page.fill(".sweep input >> nth=0", "4, 8")
    page.click("text=One more setting")
    page.select_option(".sweep select >> nth=1", "seed")
    page.fill(".sweep input >> nth=1", "1, 2, 3")
    expect(page.locator(".sweep [role=status]")).to_contain_text("6 trainings")
    page.click("text=Queue them")
    expect(page.locator(".lp-toast", has_text="6 trainings are queued")).to_be_visible()
    names = [sent["name"] for sent in gateway.submitted]
    assert names[0] == "moonlight-network_dim-4-seed-1" and len(set(names)) == 6
    assert "network_dim = 8" in gateway.submitted[5]["files"]["config.toml"]


def test_a_preset_sets_the_training_and_keeps_the_pictures(page: Page) -> None:
    open_form(page)
    page.fill(field("output_name"), "mine")
    page.select_option("#lp-tools select", "sd15-style")
    expect(page.locator(field("network_dim"))).to_have_value("32")
    expect(page.locator(field("output_name"))).to_have_value("mine")
    expect(page.locator(field("train_data_dir"))).to_have_value("datasets/moonlight")
    expect(page.locator("#lp-tools .about")).to_contain_text("Fifteen epochs")


def test_only_the_settings_of_the_chosen_kind_of_model_are_shown(page: Page) -> None:
    open_form(page)
    expect(page.locator("#g-flux")).to_be_hidden()
    page.click(field("family"))
    page.click("text=FLUX.1 >> visible=true")
    expect(page.locator("#g-flux")).to_be_visible()
    expect(page.locator(f"{OUTLOOK} .summary.bad")).to_be_visible()


def test_the_command_can_be_read_before_anything_is_queued(page: Page, gateway: FakeGateway) -> None:
    open_form(page)
    page.click("text=Show the command")
    expect(page.locator("#lp-command")).to_contain_text("train_network.py --config_file")
    assert gateway.submitted == []


def test_the_settings_of_a_job_come_back_into_the_form(page: Page, gateway: FakeGateway) -> None:
    gateway.add("old", name="old")
    gateway.file("old", "form.json", json.dumps({"network_dim": 24, "output_name": "from-old"}).encode())
    open_page = "/?from=old"
    page.goto(open_page)
    expect(page.locator(field("network_dim"))).to_have_value("24")
    expect(page.locator(field("output_name"))).to_have_value("from-old")


def test_datasets_that_appear_later_are_offered(page: Page, front_end: FrontEnd) -> None:
    (front_end.data_dir / "datasets" / "later" / "3_thing").mkdir(parents=True, exist_ok=True)
    open_form(page)
    page.fill(field("train_data_dir"), "")
    expect(page.locator("ul[role=listbox] >> text=datasets/later")).to_be_visible()


def test_two_tabs_keep_their_own_forms_and_see_the_same_queue(
    page: Page, context: BrowserContext, gateway: FakeGateway
) -> None:
    other = context.new_page()
    open_form(page)
    open_form(other)
    page.fill(field("output_name"), "from one tab")
    other.fill(field("output_name"), "from the other")
    other.keyboard.press("Tab")
    page.click(START)
    expect(page.locator("#lp-after .queued")).to_contain_text("from one tab: queued, position 1")
    expect(other.locator("#lp-after .now")).to_contain_text("from one tab")
    expect(other.locator(field("output_name"))).to_have_value("from the other")
    other.click(START)
    expect(page.locator("#lp-after .now")).to_contain_text("from the other")
    assert [sent["name"] for sent in gateway.submitted] == ["from one tab", "from the other"]
    other.close()


def test_the_form_is_used_with_the_keyboard_alone(page: Page, gateway: FakeGateway) -> None:
    open_form(page)
    page.focus(".finder input")
    page.keyboard.type("output name")
    page.keyboard.press("Enter")
    expect(page.locator(field("output_name"))).to_be_focused()
    page.keyboard.press("ControlOrMeta+a")
    page.keyboard.type("by keyboard")
    page.focus(START)
    page.keyboard.press("Enter")
    expect(page.locator("#lp-after .queued")).to_contain_text("by keyboard")
    page.focus("#lp-after .queued a")
    page.keyboard.press("Enter")
    expect(page.locator(".task h2")).to_have_text("by keyboard")


def test_on_a_phone_nothing_is_wider_than_the_screen_and_start_is_in_reach(page: Page) -> None:
    page.set_viewport_size(PHONE)
    open_form(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    expect(page.locator(START)).to_be_in_viewport()
    page.click(START)
    expect(page.locator("#lp-after .queued")).to_be_in_viewport()


def test_a_gateway_that_is_away_is_said_and_nothing_is_lost(page: Page, gateway: FakeGateway) -> None:
    open_form(page)
    gateway.stop()
    try:
        expect(page.locator(".lp-banner")).to_contain_text("does not answer")
        expect(page.locator(field("output_name"))).to_have_value("moonlight")
    finally:
        gateway.start()
    expect(page.locator(".lp-banner")).to_be_hidden()
