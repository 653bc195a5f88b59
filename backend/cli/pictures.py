"""Commands that draw."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from backend.cli.options import AsJson, ServiceName, asks_gateway, print_json, print_table

if TYPE_CHECKING:
    from backend.client import Client

Model = Annotated[str, typer.Option(help="A base model of models/; the only one there, if not given.")]
Loras = Annotated[
    list[str] | None, typer.Option("--lora", help="NAME or NAME:WEIGHT; may be given several times.")
]
Size = Annotated[str, typer.Option(help="WIDTHxHEIGHT in pixels; what the model was made for, if not given.")]
Steps = Annotated[int, typer.Option(help="Denoising steps.")]
Guidance = Annotated[float, typer.Option(help="Classifier-free guidance scale.")]
Seed = Annotated[int | None, typer.Option(help="Seed of the first picture; random, if not given.")]
Negative = Annotated[str, typer.Option(help="What is not wanted.")]
Scheduler = Annotated[str, typer.Option(help="default, ddim, euler, euler_a, dpm++_2m_karras, …")]


@asks_gateway
def generate(
    client: Client,
    prompt: Annotated[str, typer.Argument(help="What to draw.")],
    out: Annotated[Path, typer.Option(help="Folder for the pictures.")] = Path("pictures"),
    model: Model = "",
    lora: Loras = None,
    size: Size = "",
    steps: Steps = 30,
    guidance: Guidance = 7.5,
    seed: Seed = None,
    count: Annotated[int, typer.Option(help="How many pictures.")] = 1,
    negative: Negative = "",
    scheduler: Scheduler = "default",
    image: Annotated[Path | None, typer.Option(help="A picture to start from.")] = None,
    strength: Annotated[float, typer.Option(help="How much of that picture is painted over.")] = 0.75,
    service: ServiceName = "kohya_job",
    user: Annotated[str, typer.Option(help="Whose query it is.")] = "",
    as_json: AsJson = False,
) -> None:
    """Draw pictures on the pool; prints the files."""
    from backend import picture_words as words

    keys = words.keys(model, lora or [], size, steps, guidance, seed, negative, scheduler)
    keys |= {"count": count, **words.start(image, strength)}
    drawn = client.service(service).generate(prompt, user=user, **keys).wait()
    files = [str(file) for file in drawn.save(out)]
    if as_json:
        print_json({"files": files, "seeds": drawn.seeds, "seconds": drawn.seconds, **drawn.parameters})
    else:
        print("\n".join(files))


@asks_gateway
def grid(
    client: Client,
    task: Annotated[str, typer.Argument(help="The training whose saved epochs are compared.")],
    prompt: Annotated[str, typer.Argument(help="What to draw.")],
    out: Annotated[Path, typer.Option(help="The file of the whole grid.")] = Path("grid.png"),
    weights: Annotated[str, typer.Option(help="Weights of the LoRA, with commas between.")] = "0.6,0.8,1.0",
    model: Model = "",
    size: Size = "",
    steps: Steps = 30,
    guidance: Guidance = 7.5,
    seed: Seed = None,
    negative: Negative = "",
    scheduler: Scheduler = "default",
    service: ServiceName = "kohya_job",
) -> None:
    """Draw one prompt with every saved epoch of a training at each weight, on one sheet."""
    from backend import picture_words as words

    keys = words.keys(model, [], size, steps, guidance, seed, negative, scheduler)
    pool = client.service(service)
    wanted = words.weights(weights)
    run = pool.grid(prompt, checkpoints=pool.checkpoints(task), weights=wanted, **keys)
    for cell in run.arriving():
        print(f"{cell.checkpoint_label} at {cell.weight:g}{': ' + cell.error if cell.error else ''}")
        run.sheet().save(out)
    print(out)
    if any(cell.error for cell in run.cells.values()):
        raise typer.Exit(1)


@asks_gateway
def models(client: Client, as_json: AsJson = False) -> None:
    """List the base models and the LoRAs that `generate` can name, the newest LoRA first."""
    found = client.models()
    if as_json:
        print_json(asdict(found))
        return
    rows = [("model", each.name, each.pipeline) for each in found.models]
    rows += [("lora", each.name, each.base_model) for each in found.loras]
    print_table(("KIND", "NAME", "OF"), rows, empty="nothing in models/ and loras/ yet")
