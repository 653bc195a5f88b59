"""How descriptions are written: line numbers of what is wrong, YAML, keys that have no effect."""

from __future__ import annotations

import json

import pytest

from backend.errors import InvalidArgument
from backend.service import parse
from backend.service.schema import schema

INTEGRATED = """
{
    "cloud": {"computing": {"instance_type": "ecs.gn6i-c4g1.xlarge"}},
    "containers": [{"image": "a-registry/kohya_ss:2.2"}],
    "features": {"eas.aliyun.com/extra-ephemeral-storage": "30Gi"},
    "front_end": {
        "image": "a-registry/kohya_ss:2.2",
        "port": 8001,
        "script": "python -u kohya_gui.py --listen 0.0.0.0 --server_port 8001 --job-service"
    },
    "metadata": {
        "cpu": 4, "enable_webservice": true, "gpu": 1, "instance": 1, "memory": 15000,
        "name": "kohya_job", "type": "ScalableJobService"
    },
    "name": "kohya_job",
    "storage": [
        {
            "mount_path": "/workspace",
            "oss": {"path": "oss://bucket/kohya/", "readOnly": false},
            "properties": {"resource_type": "model"}
        }
    ]
}
"""


def refusal(text: str) -> InvalidArgument:
    with pytest.raises(InvalidArgument) as caught:
        parse(text)
    return caught.value


def test_a_missing_comma_is_found_on_the_line_that_lacks_it() -> None:
    text = '{\n "metadata": {"name": "svc", "type": "ScalableJob"},\n "containers": [{\n  "image": "x"\n'
    text += '  "port": 8000\n }]\n}'
    said = refusal(text)
    assert said.field == "description"
    assert "line 4, column 15: a comma is missing" in said.message
    assert "line 5" in said.message
    assert "nothing was deployed" in said.message


@pytest.mark.parametrize("tab", ["", "\t"])
def test_a_wrong_value_is_said_with_its_line(tab: str) -> None:
    text = (
        '# of ours\n{\n\t"metadata": {"name": "svc", "type": "ScalableJob",\n\t"rpc.worker_threads": 0},\n}'
    )
    text = text.replace("\t", tab)
    said = refusal(text)
    assert said.field == "rpc.worker_threads"
    assert said.message.startswith("line 4: ")
    assert "greater than or equal to 1" in said.message


def test_a_wrong_value_in_a_list_is_said_with_its_line() -> None:
    said = refusal(
        '{"name": "svc", "type": "ScalableJob",\n"containers": [\n{"command": "a"},\n{"command": "b",\n"port": 8080}]}'
    )
    assert said.field == "containers.1.port"
    assert said.message.startswith("line 5: ")


def test_what_has_no_effect_is_said_key_by_key() -> None:
    parsed = parse(INTEGRATED)
    assert parsed.description.front_end is not None
    assert parsed.description.front_end.port == 8001
    said = {warning.split(": ", 2)[1] for warning in parsed.warnings}
    assert said == {
        "cloud",
        "features",
        "containers.0.image",
        "front_end.image",
        "metadata.enable_webservice",
        "metadata.cpu",
        "metadata.gpu",
        "metadata.memory",
    }
    assert all(warning.startswith("line ") for warning in parsed.warnings)
    assert parsed.description.raw == json.loads(INTEGRATED)


def test_a_misspelt_key_is_said_with_the_one_that_was_meant() -> None:
    parsed = parse(
        {"name": "svc", "type": "ScalableJob", "queue": {"max_delivry": 2, "sink": {"capcity": 1}}}
    )
    assert any("queue.max_delivry" in w and "did you mean 'max_delivery'?" in w for w in parsed.warnings)
    assert any("queue.sink.capcity" in w and "did you mean 'capacity'?" in w for w in parsed.warnings)


def test_a_key_that_stands_twice_is_said() -> None:
    parsed = parse('{"name": "svc", "type": "Queue",\n"name": "other"}')
    assert parsed.description.name == "other"
    assert any(warning.startswith("line 2: name: stands twice") for warning in parsed.warnings)


YAML = """
# The pool of the studio
metadata:
  name: kohya_job
  type: ScalableJob
  rpc.worker_threads: 3
autoscaler: {min: 0, max: 4}
containers:
  - command: python app.py
    port: 8000
"""


def test_yaml_reads_the_same() -> None:
    found = parse(YAML).description
    assert (found.name, found.rpc.worker_threads, found.autoscaler["max"]) == ("kohya_job", 3, 4)
    assert found.app is not None and found.app.port == 8000


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (YAML.replace("port: 8000", "port: 9090"), ("containers.0.port: line 10: ", "reserved")),
        ("metadata:\n  name: svc\n type: Queue\n", ("line 3",)),
        ("a: &x [1]\nb: *x\n", ("line 2", "aliases")),
        ("name: svc\ntype: Queue\nwhen: 2020-01-01\n", ("JSON does not have",)),
        ("name: svc\ntype: Queue\nx: .nan\n", ("JSON does not have",)),
        ("a: \x01\n", ("description: ",)),
        ("just words", ("an object is expected",)),
    ],
)
def test_yaml_that_cannot_be_deployed_is_refused(text: str, words: tuple[str, ...]) -> None:
    said = str(refusal(text))
    assert all(word in said for word in words), said
    assert "nothing was deployed" in said
    assert "\n" not in said


def test_the_schema_knows_what_the_types_know() -> None:
    found = schema()
    assert {"metadata", "containers", "queue", "autoscaler", "front_end", "token"} <= set(found["properties"])
    assert "rpc.worker_threads" in found["properties"]["metadata"]["properties"]
    definitions = found["$defs"]
    for reference in _references(found):
        assert reference.removeprefix("#/$defs/") in definitions


def _references(value: object) -> list[str]:
    if isinstance(value, dict):
        own = [value["$ref"]] if isinstance(value.get("$ref"), str) else []
        return own + [each for inner in value.values() for each in _references(inner)]
    return [each for inner in value for each in _references(inner)] if isinstance(value, list) else []
