from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from backend.errors import InvalidArgument, PathOutsideDataFolder
from backend.training.arguments import parse
from backend.training.checks import check, check_machine, prepare
from backend.training.items import BucketCount
from backend.training.training_arguments import TrainingArguments
from tests.unit.training.shipped import MODEL

Parsed = Callable[..., TrainingArguments]


def folder(pictures: Path) -> Path:
    return pictures / "3_sks style"


def refused(args: TrainingArguments, field: str, told: str) -> None:
    with pytest.raises(InvalidArgument, match=told) as caught:
        check(args)
    assert caught.value.field == field
    assert "\n" not in str(caught.value)


def test_a_good_run_is_counted(parsed: Parsed) -> None:
    report = check(parsed())
    assert (report.pictures, report.showings, report.captioned) == (3, 9, 2)
    assert report.buckets == (BucketCount(64, 64, 9),)
    assert (report.batches_per_epoch, report.steps_per_epoch, report.epochs, report.total_steps) == (
        5,
        5,
        2,
        6,
    )
    assert report.warnings == ("1 of 3 pictures have no .txt caption; the folder's name is used",)


def test_a_picture_without_caption_takes_the_name_of_its_folder(parsed: Parsed) -> None:
    captions = [item.picture.caption for item in prepare(parsed()).items]
    assert captions == [("a red circle, sks style",), ("a green circle, sks style",), ("sks style",)]


def test_regularisation_pictures_are_shown_as_often_as_the_others(parsed: Parsed, tmp_path: Path) -> None:
    reg = tmp_path / "reg" / "2_circle"
    reg.mkdir(parents=True)
    for number in range(2):
        Image.new("RGB", (64, 64)).save(reg / f"{number}.png")
    prepared = prepare(parsed("--reg_data_dir", str(reg.parent)))
    assert (prepared.report.reg_pictures, prepared.report.reg_showings) == (2, 9)
    assert [item.copies for item in prepared.items if item.subset.is_reg] == [5, 4]


def test_a_turned_photograph_is_measured_as_seen(parsed: Parsed, pictures: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (128, 64)).save(folder(pictures) / "turned.jpg", exif=exif)
    sizes = {item.picture.path.name: item.picture.size for item in prepare(parsed()).items}
    assert sizes["turned.jpg"] == (64, 128)


def test_a_missing_or_empty_folder(parsed: Parsed, pictures: Path) -> None:
    refused(parsed("--train_data_dir", str(pictures / "none")), "train_data_dir", "does not exist")
    shutil.rmtree(folder(pictures))
    refused(parsed(), "train_data_dir", "is empty")
    folder(pictures).mkdir()
    refused(parsed(), "train_data_dir", "no picture in")


def test_a_folder_without_repeats(parsed: Parsed, pictures: Path) -> None:
    folder(pictures).rename(pictures / "sks style")
    refused(parsed(), "train_data_dir", r"no folder named <repeats>_<name> \(it has sks style\)")
    (pictures / "sks style").rename(pictures / "0_sks style")
    refused(parsed(), "train_data_dir", "no folder named")


def test_a_folder_with_repeats_that_is_given_itself(parsed: Parsed, pictures: Path) -> None:
    one = folder(pictures)
    refused(
        parsed("--train_data_dir", str(one)),
        "train_data_dir",
        f"give the folder around it, {pictures}, of which",
    )


@pytest.mark.parametrize("broken", ["not a picture", "cut short", "cut jpeg", "empty"])
def test_a_broken_picture_is_named(parsed: Parsed, pictures: Path, broken: str) -> None:
    path = folder(pictures) / ("bad.jpg" if broken == "cut jpeg" else "bad.png")
    noise = Image.effect_noise((256, 256), 90)
    noise.save(path)
    whole = path.read_bytes()
    path.write_bytes({"not a picture": b"hello", "empty": b""}.get(broken, whole[: len(whole) // 2]))
    refused(parsed(), "train_data_dir", f"{path.name} cannot be read")


def test_a_caption_that_is_no_text(parsed: Parsed, pictures: Path) -> None:
    (folder(pictures) / "0.txt").write_bytes(b"\xff\xfe\xff")
    refused(parsed(), "train_data_dir", "0.txt cannot be read .* UTF-8")


@pytest.mark.parametrize(
    ("part", "told"),
    [
        ("unet/config.json", "lacks unet/config.json"),
        ("vae/diffusion_pytorch_model.safetensors", "lacks vae/diffusion_pytorch_model.safetensors"),
        ("text_encoder/model.safetensors", "lacks text_encoder/model.safetensors"),
        ("tokenizer/*", "lacks tokenizer/tokenizer.json"),
        ("scheduler/scheduler_config.json", "lacks scheduler/scheduler_config.json"),
        ("model_index.json", "has no model_index.json"),
    ],
)
def test_a_model_that_lacks_a_part(parsed: Parsed, tmp_path: Path, part: str, told: str) -> None:
    model = tmp_path / "model"
    shutil.copytree(MODEL, model)
    for path in model.glob(part):
        path.unlink()
    refused(parsed("--pretrained_model_name_or_path", str(model)), "pretrained_model_name_or_path", told)


def test_a_model_that_is_cut_short_or_of_another_family(parsed: Parsed, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(MODEL, model)
    args = parsed("--pretrained_model_name_or_path", str(model))
    weights = model / "unet" / "diffusion_pytorch_model.safetensors"
    weights.chmod(0o644)
    weights.write_bytes(weights.read_bytes()[:-1])
    refused(args, "pretrained_model_name_or_path", "not a whole safetensors file")
    index = model / "model_index.json"
    index.chmod(0o644)
    index.write_text(json.dumps({"_class_name": "StableDiffusionXLPipeline"}))
    refused(args, "pretrained_model_name_or_path", "lacks text_encoder_2/config.json")
    index.write_text(json.dumps({"_class_name": "FluxPipeline"}))
    refused(args, "pretrained_model_name_or_path", "holds FLUX.1, whose network_module is networks.lora_flux")


def test_a_missing_model_or_a_single_file(parsed: Parsed, tmp_path: Path) -> None:
    refused(
        parsed("--pretrained_model_name_or_path", "/nowhere"),
        "pretrained_model_name_or_path",
        "does not exist",
    )
    file = tmp_path / "model.safetensors"
    file.touch()
    refused(
        parsed("--pretrained_model_name_or_path", str(file)),
        "pretrained_model_name_or_path",
        "not a whole safetensors file",
    )


def test_other_files_that_are_named(parsed: Parsed, tmp_path: Path) -> None:
    refused(parsed("--resume", str(tmp_path)), "resume", "not a state folder")
    refused(parsed("--network_weights", str(tmp_path / "x")), "network_weights", "does not exist")
    refused(parsed("--sample_prompts", str(tmp_path / "x")), "sample_prompts", "does not exist")
    refused(parsed("--vae", str(tmp_path)), "vae", "neither a safetensors file nor a VAE folder")


def test_a_resolution_that_the_vae_cannot_halve(parsed: Parsed) -> None:
    refused(parsed("--resolution", "62"), "resolution", "not divisible by 4")


def test_a_picture_too_narrow_for_a_bucket_step(parsed: Parsed, pictures: Path) -> None:
    Image.new("RGB", (400, 40)).save(folder(pictures) / "wide.png")
    more = ("--enable_bucket", "--bucket_no_upscale")
    refused(parsed(*more), "bucket_no_upscale", "wide.png .400×40. has a side below one bucket step")


def test_loss_arguments_that_the_model_contradicts(parsed: Parsed) -> None:
    refused(parsed("--v_pred_like_loss", "0.1"), "v_pred_like_loss", "predicts v")


def test_a_missing_optimizer_library_is_known_beforehand(parsed: Parsed) -> None:
    with pytest.raises(InvalidArgument, match=r"AdamW8bit needs the package bitsandbytes.*choose AdamW"):
        check_machine(parsed("--optimizer_type", "AdamW8bit"))
    check_machine(parsed("--optimizer_type", "Lion"))


def test_a_picture_that_is_a_link_out_of_the_data_folder(
    argv: list[str], pictures: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(pictures, data / "pictures")
    shutil.copytree(MODEL, data / "model")
    (data / "pictures" / "3_sks style" / "link.png").symlink_to(folder(pictures) / "0.png")
    argv[1::2] = ["model", "pictures", "out", *argv[7::2]]
    with pytest.raises(PathOutsideDataFolder, match=r"link\.png"):
        check(parse(argv, data_dir=data))


def test_a_caption_that_is_a_link_out_of_the_data_folder_or_has_a_path_for_an_ending(
    argv: list[str], pictures: Path, tmp_path: Path
) -> None:
    data = tmp_path / "data"
    shutil.copytree(pictures, data / "pictures")
    shutil.copytree(MODEL, data / "model")
    (tmp_path / "secret.txt").write_text("a secret")
    (data / "pictures" / "3_sks style" / "0.secret").symlink_to(tmp_path / "secret.txt")
    argv[1::2] = ["model", "pictures", "out", *argv[7::2]]
    with pytest.raises(PathOutsideDataFolder, match=r"0\.secret"):
        check(parse([*argv, "--caption_extension", ".secret"], data_dir=data))
    with pytest.raises(InvalidArgument, match="caption_extension"):
        check(parse([*argv, "--caption_extension", "/../x"], data_dir=data))
