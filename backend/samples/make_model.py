"""Train the sample base model from nothing: ``python -m backend.samples.make_model --out DIR``."""

import argparse
import json
import random
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline

from backend.samples.accuracy import measure
from backend.samples.pictures import varied_picture
from backend.samples.tokenizer import build_tokenizer, save_tokenizer
from backend.samples.train_unet import (
    CaptionedLatents,
    build_scheduler,
    build_text_encoder,
    build_unet,
    train_unet,
)
from backend.samples.train_vae import Report, as_tensor, build_vae, train_vae

SEED = 20


@dataclass(frozen=True)
class Effort:
    """How much to train. The defaults made the shipped model."""

    vae_pictures: int = 8000
    vae_crop_steps: int = 6400
    vae_full_steps: int = 1200
    unet_pictures: int = 18000
    unet_steps: int = 4000


def main() -> None:
    """Train, save, and print how the model does."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the pipeline, made if missing")
    parser.add_argument("--threads", type=int, default=1, help="torch threads (default 1)")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    started = time.process_time()
    report: Report = lambda line: print(f"{time.process_time() - started:6.0f} CPU-s  {line}", flush=True)  # noqa: E731
    pipeline = make_pipeline(Effort(), report)
    save_pipeline(pipeline, options.out)
    loaded = StableDiffusionPipeline.from_pretrained(options.out, local_files_only=True)
    loaded.set_progress_bar_config(disable=True)
    report(f"saved in {options.out}: {asdict(measure(loaded))}")


def make_pipeline(effort: Effort, report: Report) -> Any:
    """Train all parts and put them together. The same effort gives the same weights on the same machine."""
    vae = make_vae(effort, report)
    torch.manual_seed(SEED)
    tokenizer = build_tokenizer()
    unet, text_encoder = build_unet(), build_text_encoder(tokenizer)
    examples = CaptionedLatents(vae, effort.unet_pictures, random.Random(SEED))
    train_unet(unet, text_encoder, tokenizer, examples, effort.unet_steps, report)
    return StableDiffusionPipeline(
        vae=vae,
        text_encoder=text_encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=build_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def make_vae(effort: Effort, report: Report) -> Any:
    """Train the autoencoder."""
    torch.manual_seed(SEED)
    rng = random.Random(SEED)
    pixels = as_tensor([varied_picture(rng) for _ in range(effort.vae_pictures)])
    vae = build_vae()
    train_vae(vae, pixels, effort.vae_crop_steps, effort.vae_full_steps, report)
    return vae


def save_pipeline(pipeline: Any, folder: Path) -> None:
    """Write the pipeline with weights in half precision that load in single precision by default."""
    pipeline.to(dtype=torch.float16).save_pretrained(folder)
    save_tokenizer(pipeline.tokenizer, folder / "tokenizer")
    # transformers loads in the precision that the config names, diffusers in single precision:
    # the text encoder would give half precision embeddings to a single precision denoiser.
    config = folder / "text_encoder" / "config.json"
    values = json.loads(config.read_text(encoding="utf-8"))
    config.write_text(json.dumps(values | {"dtype": "float32"}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
