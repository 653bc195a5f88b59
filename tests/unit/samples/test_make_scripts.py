"""The scripts that made the samples run from end to end, here with next to no effort."""

import random
from pathlib import Path

import torch
from diffusers import StableDiffusionPipeline

from backend.samples import DATASET
from backend.samples.make_dataset import dataset_scenes, make_dataset
from backend.samples.make_model import Effort, make_pipeline, save_pipeline
from backend.samples.pictures import varied_picture
from backend.samples.scenes import SHAPES, Scene, random_scene, spoken_caption
from backend.samples.tokenizer import build_tokenizer

TINY = Effort(vae_pictures=12, vae_crop_steps=2, vae_full_steps=1, unet_pictures=12, unet_steps=3)


def test_make_model_writes_a_pipeline_that_loads_and_draws(tmp_path: Path) -> None:
    lines: list[str] = []
    trained = make_pipeline(TINY, lines.append)

    save_pipeline(trained, tmp_path)

    loaded = StableDiffusionPipeline.from_pretrained(tmp_path, local_files_only=True)
    loaded.set_progress_bar_config(disable=True)
    picture = loaded("a red circle", num_inference_steps=2).images[0]
    assert picture.size == (64, 64)
    assert lines[-1].startswith("denoiser step 3/3 loss ")
    assert (tmp_path / "tokenizer" / "vocab.json").is_file()
    assert (tmp_path / "tokenizer" / "merges.txt").is_file()


def test_make_model_gives_the_same_weights_again() -> None:
    one, other = (make_pipeline(TINY, lambda _line: None) for _ in range(2))

    for part in ("vae", "unet", "text_encoder"):
        for name, tensor in getattr(one, part).state_dict().items():
            assert torch.equal(tensor, getattr(other, part).state_dict()[name]), f"{part} {name}"


def test_make_dataset_makes_the_shipped_data_set(tmp_path: Path) -> None:
    made = make_dataset(tmp_path)

    (shipped,) = DATASET.iterdir()
    assert made.name == shipped.name
    assert sorted(path.name for path in made.iterdir()) == sorted(path.name for path in shipped.iterdir())
    for caption in shipped.glob("*.txt"):
        assert (made / caption.name).read_text(encoding="utf-8") == caption.read_text(encoding="utf-8")


def test_the_data_set_shows_every_shape_equally_often() -> None:
    shapes = [scene.shape for scene in dataset_scenes(random.Random(1))]

    assert {shapes.count(shape) for shape in SHAPES} == {len(shapes) // len(SHAPES)}


def test_captions_name_all_that_is_drawn() -> None:
    scene = Scene("orange", "ring", "small", background="blue", place="left")

    assert scene.caption() == "a small orange ring on blue background at the left"


def test_spoken_captions_fit_the_tokenizer() -> None:
    tokenizer = build_tokenizer()
    rng = random.Random(5)
    captions = [spoken_caption(random_scene(rng), rng) for _ in range(300)]

    assert max(len(tokenizer(caption).input_ids) for caption in captions) <= tokenizer.model_max_length
    assert any("sks style" in caption for caption in captions)


def test_pictures_repeat_with_the_seed() -> None:
    one, other = (varied_picture(random.Random(8)).tobytes() for _ in range(2))

    assert one == other
