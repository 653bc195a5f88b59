"""Pictures from the default deployment: trained and drawn on one pool."""

from __future__ import annotations

import base64
import io
import json
import re
from typing import Any

import httpx
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from backend.client import Client
from backend.errors import InvalidArgument
from backend.service import DEFAULT_SERVICE
from tests.support.box import PATIENCE, Box, until

NO_PICTURE = "is no picture that can be read; send a whole PNG, JPEG or WebP file"
SMALL = {"model": "tiny-shapes", "steps": 4, "guidance": 3.0, "seed": 5}


def drawn(http: httpx.Client, body: bytes) -> tuple[Any, dict[str, str]]:
    """The answer to a query put through the queue, and its tags."""
    put = http.post(f"/api/predict/{DEFAULT_SERVICE}", params={"taskType": "query"}, content=body)
    assert put.status_code == 200, put.text
    request = put.headers["X-Eas-Queueservice-Request-Id"]
    for _ in range(10):
        found = http.get(
            f"/api/predict/{DEFAULT_SERVICE}/sink",
            params={"requestId": request, "_raw_": "false", "_auto_delete_": "true", "_timeout_": "20s"},
        )
        if found.status_code == 200 and found.json():
            item = found.json()[0]
            return json.loads(base64.b64decode(item["data"])), item["tags"]
    raise AssertionError("no answer")


def test_a_picture_with_its_parameters_and_a_link_that_needs_no_token(box: Box, client: Client) -> None:
    generation = client.service(DEFAULT_SERVICE).generate("a red circle", count=2, preview_every=1, **SMALL)
    found = generation.wait(PATIENCE)
    assert found.seeds == [5, 6]
    assert found.parameters["model"] == "models/tiny-shapes"
    pictures = [Image.open(io.BytesIO(image)) for image in found.images]
    assert [picture.size for picture in pictures] == [(64, 64)] * 2
    assert (
        pictures[0]
        .info["parameters"]
        .startswith("a red circle\nSteps: 4, Sampler: DDIM, CFG scale: 3, Seed: 5")
    )
    assert (box.data_dir / "outputs" / generation.task.id / "01.png").read_bytes() == found.images[1]
    link = client.images(generation.task.id).images[0]
    assert httpx.get(box.endpoint + link).content == found.images[0]
    assert httpx.get(box.endpoint + link.replace("00.png", "01.png")).status_code == 403
    assert httpx.get(box.endpoint + link.partition("?")[0] + "?expires=9&signature=x").status_code == 403
    (instance,) = (i for i in client.instances(DEFAULT_SERVICE) if i.loaded)
    assert "tiny-shapes" in instance.loaded


def test_the_queue_answers_with_base64_and_the_same_picture(http: httpx.Client, client: Client) -> None:
    answer, tags = drawn(http, json.dumps({"prompt": "a red circle", **SMALL}).encode())
    assert "lastCode" not in tags
    again = client.service(DEFAULT_SERVICE).generate("a red circle", **SMALL).wait(PATIENCE)
    assert base64.b64decode(answer["images"][0]) == again.images[0]


ELSEWHERE = "lora_te2_text_model_encoder_layers_0_self_attn_q_proj"


@pytest.fixture(scope="module")
def strange(box: Box) -> None:
    """A LoRA for SDXL's second text encoder, one that was cut short, and a model that is none."""
    parts = {"lora_down": torch.zeros(4, 1280), "lora_up": torch.zeros(1280, 4)}
    (box.data_dir / "loras").mkdir(exist_ok=True)
    save_file(
        {f"{ELSEWHERE}.{name}.weight": value for name, value in parts.items()},
        box.data_dir / "loras" / "for-xl.safetensors",
        {"ss_sd_model_name": "sd_xl_base_1.0.safetensors"},
    )
    (box.data_dir / "loras" / "cut.safetensors").write_bytes(bytes(40))
    (box.data_dir / "models" / "torn.safetensors").write_bytes(b"no weights")


@pytest.mark.usefixtures("strange")
@pytest.mark.parametrize(
    ("wrong", "field", "said"),
    [
        ({"model": "nine"}, "model", "there is no model 'nine'. models/ has tiny-shapes, torn."),
        (
            {"model": "tiny-shape"},
            "model",
            "there is no model 'tiny-shape'. Did you mean 'tiny-shapes'? models/ has tiny-shapes, torn.",
        ),
        (
            {"model": "torn"},
            "model",
            "the file models/torn.safetensors is not a whole safetensors file; copy it again",
        ),
        ({"loras": ["x"]}, "loras[0].name", r"there is no LoRA 'x'\. loras/ has (cut, for-xl|for-xl, cut)\."),
        (
            {"loras": ["../../etc/passwd"]},
            "loras[0].name",
            "'../../etc/passwd.safetensors' lies outside the data folder; nothing was read there",
        ),
        (
            {"loras": ["for-xl"]},
            "loras[0].name",
            "for-xl was made for another architecture than tiny-shapes (StableDiffusion); choose the model that it"
            f" was trained on, sd_xl_base_1.0.safetensors: this model has no {ELSEWHERE}",
        ),
        (
            {"loras": ["cut"]},
            "loras[0].name",
            "cut.safetensors is no whole safetensors file; copy it again",
        ),
        (
            {"loras": [{"name": "for-xl", "weight": float("nan")}]},
            "loras[0].weight",
            "a finite number is expected, not nan",
        ),
        ({"loras": [{"name": "for-xl", "weight": 11}]}, "loras[0].weight", "is 11; it can be -10 to 10"),
        ({"width": 65}, "width", "is 65; a multiple of 8 is needed, such as 64"),
        ({"width": 9000}, "width", "is 9000; it can be 8 to 8192"),
        (
            {"width": 8192, "height": 8192},
            "width",
            r"8192×8192 takes about 60\.0 GB with tiny-shapes, and \d+\.\d GB are free; choose a smaller size",
        ),
        ({"prompt": "x" * (1 << 20)}, "prompt", "has 1048576 characters; up to 10000 are taken"),
        ({"image": "bm8gcGljdHVyZQ=="}, "image", NO_PICTURE),
        ({"colour": "red"}, "colour", r"is not known; there are clip_skip, count, .+"),
    ],
)
def test_what_cannot_be_drawn_is_answered_at_once_by_its_field(
    http: httpx.Client, client: Client, wrong: dict[str, Any], field: str, said: str
) -> None:
    answer, tags = drawn(http, json.dumps({"prompt": "a red circle", **SMALL, **wrong}).encode())
    assert answer.keys() == {"error", "field", "message"}
    assert (answer["error"], answer["field"], tags["lastCode"]) == ("InvalidArgument", field, "400")
    assert answer["message"] == said or re.fullmatch(said, answer["message"]), answer["message"]
    # The task has the same words, and was not tried again.
    newest = client.tasks(DEFAULT_SERVICE, limit=1)[0]
    assert (newest.state, newest.attempt) == ("failed", 1)
    assert newest.reason == f"{field}: {answer['message']}"


def test_the_pool_is_well_after_all_that(client: Client) -> None:
    assert client.service(DEFAULT_SERVICE).generate("a red circle", **SMALL).wait(PATIENCE).images
    assert not any(instance.reason for instance in client.instances())


def test_a_query_that_is_no_json_and_one_of_ten_megabytes(http: httpx.Client, client: Client) -> None:
    answer, tags = drawn(http, b"draw me a circle")
    assert answer == {"error": "InvalidArgument", "field": "body", "message": "is not JSON"}
    assert tags["lastCode"] == "400"
    large = json.dumps({"prompt": "x" * (10 << 20)}).encode()
    refused = http.post(f"/api/predict/{DEFAULT_SERVICE}", params={"taskType": "query"}, content=large)
    assert refused.status_code == 413
    assert refused.json() == {
        "error": "TooLarge",
        "message": "the body has more than 8388608 bytes. Nothing was stored; send a file's path instead.",
    }
    # The client does not even send it.
    with pytest.raises(InvalidArgument, match="prompt: has 10485760 characters; up to 10000 are taken"):
        client.service(DEFAULT_SERVICE).generate("x" * (10 << 20), **SMALL)


def test_a_cancelled_query_leaves_the_device(client: Client) -> None:
    task = (
        client.service(DEFAULT_SERVICE).generate("a red circle", **{**SMALL, "steps": 1000, "count": 8}).task
    )
    until(lambda: (view := task.view()).progress is not None and view.progress.step > 2, "it is being drawn")
    task.cancel()
    assert task.wait(PATIENCE).state == "cancelled"
    assert client.service(DEFAULT_SERVICE).generate("a blue ring", **SMALL).wait(20.0).images


def test_a_command_gets_the_memory_and_the_app_comes_back_warm(box: Box, client: Client) -> None:
    def apps() -> int:
        """How many processes came from the template that has torch: the guard of an app, and the app."""
        return sum("training.preload" in line for line in box.processes().values()) - 1

    service = client.service(DEFAULT_SERVICE)
    service.generate("a red circle", **SMALL).wait(PATIENCE)
    until(lambda: any("tiny-shapes" in i.loaded for i in client.instances()), "the app is warm")
    assert apps() == 2
    task = service.submit(argv=["sh", "-c", "echo running; while [ ! -e go ]; do sleep 0.05; done"])
    until(lambda: "running" in list(task.logs()), "the command runs")
    assert apps() == 0
    assert not any(i.loaded for i in client.instances())
    (box.data_dir / "jobs" / task.id / "go").touch()
    assert task.wait(PATIENCE).state == "succeeded"
    until(lambda: any("tiny-shapes" in i.loaded for i in client.instances()), "it was warmed up again")
    assert service.generate("a red circle", **SMALL).wait(PATIENCE).images
