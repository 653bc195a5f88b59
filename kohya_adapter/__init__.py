"""What kohya_ss and sd-scripts users expect: the form, its files, its commands.

fields         FIELDS, BY_KEY, BASIC, groups(), Field, Condition: the 287 fields of the LoRA tab as rows
form           Form (immutable, typed), read, loads, dumps, load_json, save_json: Kohya's JSON of any age
validate       validate(form, data_dir, Capabilities(…)) -> Validation: problems at their fields, the run's size
command        command(form, …) -> Command: argv, configuration, prompts, environment; pure
snapshot       snapshot(form, task_id=…, data_dir=…) -> Snapshot: what one submission writes and starts
presets        presets(), preset(name): good starting points for SD1.5, SDXL, FLUX and the sample
toml_import    form_of_toml, load_toml: sd-scripts' configuration back into the form
bring          load: any of these files as a form
lora_file      read_lora, form_of_lora: what is in a LoRA file, is it whole, train again like it
dataset        prepare, balance, take_in, extract: dataset folders, from uploads and archives too
captions       read_captions, write_caption, edit_captions, CaptionEdit, caption_changes, tag_counts
dataset_check  look_at(data_dir, folder) -> counts, buckets, tags, what is odd about a dataset
instances      suited(form, capabilities): a form of ours as the instances can run it
submission     submit, submit_file: check, snapshot and queue
crops          crops(form, data_dir) -> what part of each picture a training would see
"""

from kohya_adapter.command import Command, command, kohya_command
from kohya_adapter.fields import BASIC, BY_KEY, FAMILIES, FIELDS, SECRETS, Condition, Field, Value, groups
from kohya_adapter.form import Form, Loaded, dumps, load_json, loads, read, save_json
from kohya_adapter.presets import Preset, preset, presets
from kohya_adapter.problems import Capabilities, Problem, Validation
from kohya_adapter.snapshot import Snapshot, snapshot
from kohya_adapter.validate import validate

__all__ = [
    "BASIC",
    "BY_KEY",
    "FAMILIES",
    "FIELDS",
    "SECRETS",
    "Capabilities",
    "Command",
    "Condition",
    "Field",
    "Form",
    "Loaded",
    "Preset",
    "Problem",
    "Snapshot",
    "Validation",
    "Value",
    "command",
    "dumps",
    "groups",
    "kohya_command",
    "load_json",
    "loads",
    "preset",
    "presets",
    "read",
    "save_json",
    "snapshot",
    "validate",
]
