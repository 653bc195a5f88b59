"""The `lorapool` command. Thin: each command reads its flags, calls one thing, and prints for a person or as JSON."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from backend.cli_dataset import app as dataset_app
from backend.cli_form import app as form_app
from backend.cli_options import (
    DEFAULT_DATA,
    DEFAULT_ENDPOINT,
    AsJson,
    DataDir,
    Endpoint,
    ServiceName,
    Token,
    connected,
    print_json,
    print_table,
)
from backend.cli_scaling import replay, workload
from backend.cli_service import app as service_app
from backend.cli_task import curve, download, files, priority, retry, show
from backend.errors import InvalidInput, LorapoolError
from backend.paths import stored_token

if TYPE_CHECKING:
    from backend.client import Client
    from backend.views import TaskView

app = typer.Typer(
    name="lorapool",
    help="A self-hosted Scalable Job service for image LoRAs.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(service_app, name="service")
app.add_typer(dataset_app, name="dataset")
app.add_typer(form_app, name="form")


def main() -> None:
    """Entry of the command: errors of ours are one line, never a traceback."""
    try:
        app()
    except LorapoolError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(2 if isinstance(error, InvalidInput) else 1) from None
    except KeyboardInterrupt:
        raise SystemExit(130) from None
    except BrokenPipeError:
        # Whoever read us has gone, as `head` does.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        raise SystemExit(0) from None


@app.command()
def up(
    descriptions: Annotated[list[Path] | None, typer.Argument(help="Service descriptions to deploy.")] = None,
    data_dir: DataDir = DEFAULT_DATA,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port of the gateway.")] = 8000,
    ui_port: Annotated[int, typer.Option(help="Port of the front end.")] = 8001,
    no_ui: Annotated[bool, typer.Option("--no-ui", help="Start no front end.")] = False,
) -> None:
    """Start everything on this box: store, gateway, supervisor, front end. Ctrl-C stops it in order."""
    from backend.up import Deployment, FrontEndHere

    front_end = None if no_ui else FrontEndHere(ui_port)
    deployment = Deployment(_settings(data_dir, host, port), descriptions or [], front_end=front_end)
    raise typer.Exit(deployment.run(lambda: _welcome(deployment.url, data_dir, None if no_ui else ui_port)))


@app.command()
def demo(
    data_dir: DataDir = DEFAULT_DATA,
    port: Annotated[int, typer.Option(help="Port of the gateway.")] = 8000,
    ui_port: Annotated[int, typer.Option(help="Port of the front end.")] = 8001,
    leave: Annotated[
        bool, typer.Option("--leave/--stay", help="Stop everything once the story is told.")
    ] = False,
) -> None:
    """Start everything, train the sample LoRA through the gateway, show what came of it, leave the front end up."""
    from app.demo import Story
    from backend.settings import administrator_token
    from backend.up import Deployment, FrontEndHere

    deployment = Deployment(_settings(data_dir, "127.0.0.1", port), [], front_end=FrontEndHere(ui_port))
    story = Story(data_dir.resolve(), ui=f"http://127.0.0.1:{ui_port}")

    def tell() -> None:
        story.tell(deployment.url, administrator_token(data_dir.resolve()))
        if leave:
            deployment.stop()

    code = deployment.run(tell)
    raise typer.Exit(code or story.exit_code)


@app.command()
def gateway() -> None:
    """Run a gateway (settings from the environment; `up` starts one)."""
    from backend.gateway.app import serve

    serve(_environment_settings())


@app.command()
def supervisor() -> None:
    """Run a supervisor (settings from the environment; `up` starts one). Of several, one leads."""
    from backend.pool.supervisor import serve

    raise typer.Exit(serve(_environment_settings()))


@app.command()
def worker(
    service: ServiceName = "kohya_job",
    device: Annotated[str, typer.Option(help="cuda:0, cuda:1, …, or cpu; by default a free one.")] = "",
    data_dir: DataDir = DEFAULT_DATA,
) -> None:
    """Run one instance by hand, here or on another machine with REDIS_URL and the same data folder.

    Ctrl-C hands back what it runs and ends it.
    """
    from backend.pool.by_hand import serve
    from backend.settings import read
    from backend.store.embedded import EmbeddedStore

    settings = read(data_dir=data_dir)
    if not settings.redis_url:
        store = EmbeddedStore(settings.data_dir)
        if not store.socket.exists():
            raise InvalidInput(
                f"no lorapool runs on {settings.data_dir}: start it with `lorapool up`, or name its store in REDIS_URL"
            )
        settings = settings.model_copy(update={"redis_url": store.url})
    raise typer.Exit(serve(settings, service, device))


@app.command()
def gui(
    endpoint: Endpoint = DEFAULT_ENDPOINT,
    token: Token = "",
    data_dir: DataDir = DEFAULT_DATA,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port of the front end.")] = 8001,
    root_path: Annotated[str, typer.Option(help="Path prefix behind a proxy.")] = "",
    username: Annotated[
        str, typer.Option(envvar="LORAPOOL_UI_USERNAME", help="Ask for this name at the login.")
    ] = "",
    password: Annotated[
        str, typer.Option(envvar="LORAPOOL_UI_PASSWORD", help="And this password.", show_default=False)
    ] = "",
) -> None:
    """Run a front end for the gateway at ENDPOINT (`up` starts one).

    On an address that others can reach, people log in: with name and password, else with the token.
    """
    from app.main import serve

    if bool(username) != bool(password):
        raise InvalidInput("--username and --password belong together; nothing was started")
    key = token or stored_token(data_dir)
    serve(endpoint, key, host, port, data_dir.resolve(), root_path, username=username, password=password)


@app.command()
def doctor(
    data_dir: DataDir = DEFAULT_DATA,
    host: Annotated[str, typer.Option(help="Address that `up` would listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port of the gateway.")] = 8000,
    ui_port: Annotated[int, typer.Option(help="Port of the front end.")] = 8001,
    as_json: AsJson = False,
) -> None:
    """Look at what a deployment on this machine needs: name what is wrong, and what mends it."""
    from backend.doctor import Verdict, examine

    findings = []
    for finding in examine(_settings(data_dir, host, port), ports=(port, ui_port)):
        findings.append(finding)
        if not as_json:
            print(f"{finding.verdict:<6} {finding.part:<12} {finding.said}", flush=True)
            if finding.mend:
                print(f"{'':<19} -> {finding.mend}", flush=True)
    if as_json:
        print_json([asdict(finding) for finding in findings])
    if any(finding.verdict is Verdict.FAULT for finding in findings):
        raise typer.Exit(1)


@app.command(context_settings={"allow_interspersed_args": False})
def submit(
    command: Annotated[
        list[str] | None, typer.Argument(help="The command: one shell line, or its words.")
    ] = None,
    form: Annotated[
        Path | None, typer.Option(help="Train this: a Kohya JSON, an sd-scripts TOML, or like a LoRA file.")
    ] = None,
    service: ServiceName = "kohya_job",
    name: Annotated[str, typer.Option(help="A name for people.")] = "",
    user: Annotated[str, typer.Option(help="Whose task it is.")] = "",
    priority: Annotated[int, typer.Option(help="Higher starts sooner.")] = 0,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Print its log until it ends.")] = False,
    endpoint: Endpoint = DEFAULT_ENDPOINT,
    token: Token = "",
    data_dir: DataDir = DEFAULT_DATA,
) -> None:
    """Queue a command or a training; prints the task's id."""
    with connected(endpoint, token, data_dir) as client:
        if (form is None) == (not command):
            raise InvalidInput("give either a command or --form FORM.json; nothing was queued")
        if form is not None:
            from kohya_adapter.submission import submit_file

            task = submit_file(
                client, form, service=service, name=name, user=user, priority=priority, warn=_warn
            )
        elif command and len(command) == 1:
            task = client.service(service).submit(command=command[0], name=name, user=user, priority=priority)
        else:
            task = client.service(service).submit(argv=command, name=name, user=user, priority=priority)
        print(task.id, flush=True)
        if follow:
            _follow(client, task.id)


@app.command(context_settings={"allow_interspersed_args": False})
def tool(
    arguments: Annotated[
        list[str],
        typer.Argument(help="verify, resize, merge or grid, and what it takes; TOOL --help says what."),
    ],
    service: ServiceName = "kohya_job",
    user: Annotated[str, typer.Option(help="Whose task it is.")] = "",
    priority: Annotated[int, typer.Option(help="Higher starts sooner.")] = 0,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Print its log until it ends.")] = False,
    endpoint: Endpoint = DEFAULT_ENDPOINT,
    token: Token = "",
    data_dir: DataDir = DEFAULT_DATA,
) -> None:
    """Queue a tool for LoRA files of the data folder; prints the task's id."""
    with connected(endpoint, token, data_dir) as client:
        task = client.service(service).tool(*arguments, user=user, priority=priority)
        print(task.id, flush=True)
        if follow:
            _follow(client, task.id)


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


@app.command()
def generate(
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
    endpoint: Endpoint = DEFAULT_ENDPOINT,
    token: Token = "",
    data_dir: DataDir = DEFAULT_DATA,
) -> None:
    """Draw pictures on the pool; prints the files."""
    from backend import picture_words as words

    keys = words.keys(model, lora or [], size, steps, guidance, seed, negative, scheduler)
    keys |= {"count": count, **words.start(image, strength)}
    with connected(endpoint, token, data_dir) as client:
        drawn = client.service(service).generate(prompt, user=user, **keys).wait()
    files = [str(file) for file in drawn.save(out)]
    if as_json:
        print_json({"files": files, "seeds": drawn.seeds, "seconds": drawn.seconds, **drawn.parameters})
    else:
        print("\n".join(files))


@app.command()
def grid(
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
    endpoint: Endpoint = DEFAULT_ENDPOINT,
    token: Token = "",
    data_dir: DataDir = DEFAULT_DATA,
) -> None:
    """Draw one prompt with every saved epoch of a training at each weight, on one sheet."""
    from backend import picture_words as words

    keys = words.keys(model, [], size, steps, guidance, seed, negative, scheduler)
    with connected(endpoint, token, data_dir) as client:
        pool = client.service(service)
        wanted = words.weights(weights)
        run = pool.grid(prompt, checkpoints=pool.checkpoints(task), weights=wanted, **keys)
        for cell in run.arriving():
            print(f"{cell.checkpoint_label} at {cell.weight:g}{': ' + cell.error if cell.error else ''}")
            run.sheet().save(out)
    print(out)
    if any(cell.error for cell in run.cells.values()):
        raise typer.Exit(1)


@app.command()
def models(
    as_json: AsJson = False,
    endpoint: Endpoint = DEFAULT_ENDPOINT,
    token: Token = "",
    data_dir: DataDir = DEFAULT_DATA,
) -> None:
    """List the base models and the LoRAs that `generate` can name, the newest LoRA first."""
    with connected(endpoint, token, data_dir) as client:
        found = client.models()
    if as_json:
        print_json(asdict(found))
        return
    rows = [("model", each.name, each.pipeline) for each in found.models]
    rows += [("lora", each.name, each.base_model) for each in found.loras]
    print_table(("KIND", "NAME", "OF"), rows, empty="nothing in models/ and loras/ yet")


@app.command()
def ps(
    service: Annotated[str, typer.Option("--service", "-s", help="Only this service.")] = "",
    state: Annotated[str, typer.Option(help="Only these states, with commas between.")] = "",
    limit: Annotated[int, typer.Option(help="At most so many, newest first.")] = 20,
    as_json: AsJson = False,
    endpoint: Endpoint = DEFAULT_ENDPOINT,
    token: Token = "",
    data_dir: DataDir = DEFAULT_DATA,
) -> None:
    """List tasks, newest first."""
    with connected(endpoint, token, data_dir) as client:
        found = client.tasks(service, state=state, limit=limit)
    if as_json:
        print_json([asdict(task) for task in found])
        return
    rows = [(t.id, t.state, t.name or t.kind, _doing(t), _ago(t.created_at)) for t in found]
    print_table(
        ("TASK", "STATE", "NAME", "", "CREATED"), rows, empty="no tasks yet; `lorapool submit` queues one"
    )


@app.command()
def logs(
    task: Annotated[str, typer.Argument(help="The task's id.")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on until the task ends.")] = False,
    endpoint: Endpoint = DEFAULT_ENDPOINT,
    token: Token = "",
    data_dir: DataDir = DEFAULT_DATA,
) -> None:
    """Print a task's log. With -f, the exit code is 0 only if the task succeeded."""
    with connected(endpoint, token, data_dir) as client:
        if follow:
            _follow(client, task)
            return
        for line in client.task(task).logs():
            print(line)


@app.command()
def cancel(
    task: Annotated[str, typer.Argument(help="The task's id.")],
    save: Annotated[bool, typer.Option("--save", help="Let a training save its state first.")] = False,
    endpoint: Endpoint = DEFAULT_ENDPOINT,
    token: Token = "",
    data_dir: DataDir = DEFAULT_DATA,
) -> None:
    """Take a waiting task from the queue, or stop a running one."""
    with connected(endpoint, token, data_dir) as client:
        view = client.task(task).cancel(save=save)
    print(f"{view.id} is {view.state}" + ("" if view.final else ", it was asked to end"))


@app.command()
def why(
    service: Annotated[str, typer.Option("--service", "-s", help="Only this service.")] = "",
    limit: Annotated[int, typer.Option(help="At most so many, newest first.")] = 10,
    as_json: AsJson = False,
    endpoint: Endpoint = DEFAULT_ENDPOINT,
    token: Token = "",
    data_dir: DataDir = DEFAULT_DATA,
) -> None:
    """What the supervisor decided about instances, and why."""
    with connected(endpoint, token, data_dir) as client:
        found = client.decisions(service, limit=limit)
    if as_json:
        print_json(found)
        return
    from backend.scaling.journal import Entry, folded

    for entry in folded(Entry.from_json(each) for each in reversed(found)):
        times = [time.strftime("%H:%M:%S", time.localtime(at)) for at in (entry.at, entry.until)]
        print("–".join(dict.fromkeys(times)), entry)
    if not found:
        print("nothing decided yet")


@app.command()
def instances(
    as_json: AsJson = False,
    endpoint: Endpoint = DEFAULT_ENDPOINT,
    token: Token = "",
    data_dir: DataDir = DEFAULT_DATA,
) -> None:
    """List instances."""
    with connected(endpoint, token, data_dir) as client:
        found = client.instances()
    if as_json:
        print_json([asdict(instance) for instance in found])
        return
    rows = [(i.id, i.service, i.state, i.device, str(i.completed), ", ".join(i.tasks)) for i in found]
    print_table(("INSTANCE", "SERVICE", "STATE", "DEVICE", "DONE", "TASKS"), rows, empty="no instances")


def _settings(data_dir: Path, host: str, port: int) -> Any:
    from backend.settings import read

    return read(data_dir=data_dir, host=host, port=port)


def _environment_settings() -> Any:
    from backend.settings import read

    return read()


def _welcome(url: str, data_dir: Path, ui_port: int | None) -> None:
    from backend.up import say

    if ui_port is not None:
        say(f"open http://127.0.0.1:{ui_port} in a browser")
    say(f"the token is in {data_dir / 'token'}; the gateway answers at {url}; Ctrl-C stops everything")


def _follow(client: Client, task_id: str) -> None:
    task = client.task(task_id)
    for line in task.logs(follow=True):
        print(line, flush=True)
    view = task.view()
    print(f"{view.state}" + (f": {view.reason}" if view.reason else ""), file=sys.stderr)
    if view.state != "succeeded":
        raise typer.Exit(1)


def _doing(task: TaskView) -> str:
    if task.state == "waiting":
        start = f", starts {_in(task.expected_start)}" if task.expected_start else ""
        return f"queued, position {task.position or '?'}{start}"
    if task.progress is not None and not task.final:
        eta = f", {_duration(task.progress.eta)} left" if task.progress.eta is not None else ""
        return f"{task.progress.step}/{task.progress.total}{eta}"
    return task.reason or task.phase or task.output


def _duration(seconds: float | None) -> str:
    whole = int(seconds or 0)
    if whole < 60:
        return f"{whole} s"
    return f"{whole // 60} min" if whole < 3600 else f"{whole // 3600} h {whole % 3600 // 60} min"


def _in(at: float) -> str:
    left = at - time.time()
    return f"in {_duration(left)}" if left > 1 else "now"


def _ago(at: float) -> str:
    return f"{_duration(max(0.0, time.time() - at))} ago"


def _warn(text: str) -> None:
    print(f"warning: {text}", file=sys.stderr)


for _command in (show, retry, priority, curve, files, download, replay, workload):
    app.command()(_command)


if __name__ == "__main__":
    main()
