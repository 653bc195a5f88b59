"""The data set that ships, and its copy in a data folder."""

import re
from pathlib import Path

from PIL import Image
from transformers import CLIPTokenizer

from backend.samples import DATASET, MODEL, RECOMMENDED, SAMPLE_PROMPTS, install


def image_folder() -> Path:
    (folder,) = DATASET.iterdir()
    return folder


def test_the_layout_is_kohyas() -> None:
    match = re.fullmatch(r"(\d+)_(.+)", image_folder().name)

    assert match is not None
    assert int(match[1]) >= 1
    assert match[2] == "sks style"


def test_every_picture_is_64_pixels_square_and_has_a_caption_with_the_trigger() -> None:
    pictures = sorted(image_folder().glob("*.png"))

    assert 20 <= len(pictures) <= 32
    assert len(list(image_folder().iterdir())) == 2 * len(pictures)
    for path in pictures:
        with Image.open(path) as picture:
            assert (picture.mode, picture.size) == ("RGB", (64, 64))
        assert "sks style" in path.with_suffix(".txt").read_text(encoding="utf-8")


def test_every_word_of_captions_and_sample_prompts_is_known_to_the_model() -> None:
    tokenizer = CLIPTokenizer.from_pretrained(MODEL / "tokenizer", local_files_only=True)
    captions = [path.read_text(encoding="utf-8") for path in image_folder().glob("*.txt")]

    for caption in [*captions, *(sample.prompt for sample in SAMPLE_PROMPTS)]:
        assert tokenizer.tokenize(caption) == [word + "</w>" for word in caption.split()]
        assert len(tokenizer(caption).input_ids) <= tokenizer.model_max_length


def test_install_copies_everything(tmp_path: Path) -> None:
    model, dataset = install(tmp_path)

    assert (model, dataset) == (tmp_path / "models" / "tiny-shapes", tmp_path / "datasets" / "moonlight")
    assert contents(model) == contents(MODEL)
    assert contents(dataset) == contents(DATASET)


def test_a_second_install_touches_nothing(tmp_path: Path) -> None:
    install(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}

    install(tmp_path)

    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


def test_install_repairs_a_cut_file_and_keeps_what_the_user_added(tmp_path: Path) -> None:
    model, dataset = install(tmp_path)
    cut = model / "vae" / "diffusion_pytorch_model.safetensors"
    cut.write_bytes(cut.read_bytes()[:1000])
    added = dataset / "notes.md"
    added.write_text("mine", encoding="utf-8")

    install(tmp_path)

    assert cut.read_bytes() == (MODEL / "vae" / cut.name).read_bytes()
    assert added.read_text(encoding="utf-8") == "mine"


def test_recommended_arguments_fit_a_toml_configuration() -> None:
    arguments = RECOMMENDED.arguments()

    assert arguments["network_dim"] == 8
    assert all(isinstance(value, str | int | float | bool) for value in arguments.values())


def test_a_sample_prompt_is_a_line_of_sd_scripts_prompt_file() -> None:
    line = SAMPLE_PROMPTS[0].line()

    assert line == "a yellow star in sks style --w 64 --h 64 --s 20 --l 3.0 --d 5"


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
