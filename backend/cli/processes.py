"""Commands that run a part of lorapool here, or look at what one would need."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from backend.cli.options import (
    DEFAULT_DATA,
    DEFAULT_ENDPOINT,
    AsJson,
    DataDir,
    Endpoint,
    ServiceName,
    Token,
    print_json,
)
from backend.errors import InvalidInput
from backend.paths import stored_token


def up(
    descriptions: Annotated[list[Path] | None, typer.Argument(help="Service descriptions to deploy.")] = None,
    data_dir: DataDir = DEFAULT_DATA,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port of the gateway.")] = 8000,
    ui_port: Annotated[int, typer.Option(help="Port of the front end.")] = 8001,
    no_ui: Annotated[bool, typer.Option("--no-ui", help="Start no front end.")] = False,
    launcher: Annotated[
        str,
        typer.Option(
            envvar="LORAPOOL_LAUNCHER",
            help="Where instances run: local, ray, kubernetes; none: others start them.",
        ),
    ] = "local",
    ray_address: Annotated[
        str,
        typer.Option(
            envvar="LORAPOOL_RAY_ADDRESS",
            help="Head of the Ray cluster, as 10.0.0.1:6379; else the one here.",
        ),
    ] = "",
    ray_grows: Annotated[
        bool,
        typer.Option("--ray-grows", envvar="LORAPOOL_RAY_GROWS", help="The cluster adds nodes by itself."),
    ] = False,
    kubernetes_namespace: Annotated[
        str,
        typer.Option(
            envvar="LORAPOOL_KUBERNETES_NAMESPACE", help="Namespace of the pods; else the context's."
        ),
    ] = "",
    kubernetes_context: Annotated[
        str,
        typer.Option(
            envvar="LORAPOOL_KUBERNETES_CONTEXT", help="Context of the kube-config; else the current one."
        ),
    ] = "",
    kubernetes_pod_template: Annotated[
        str,
        typer.Option(envvar="LORAPOOL_KUBERNETES_POD_TEMPLATE", help="A file with the pod of an instance."),
    ] = "",
) -> None:
    """Start everything on this box: store, gateway, supervisor, front end. Ctrl-C stops it in order."""
    from backend.up import Deployment, FrontEndHere

    front_end = None if no_ui else FrontEndHere(ui_port)
    places = {
        **{"launcher": launcher, "ray_address": ray_address, "ray_grows": ray_grows},
        **{"kubernetes_namespace": kubernetes_namespace, "kubernetes_context": kubernetes_context},
        "kubernetes_pod_template": kubernetes_pod_template,
    }
    settings = _settings(data_dir, host, port, **places)
    deployment = Deployment(settings, descriptions or [], front_end=front_end)
    raise typer.Exit(deployment.run(lambda: _welcome(deployment.url, data_dir, None if no_ui else ui_port)))


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


def gateway() -> None:
    """Run a gateway (settings from the environment; `up` starts one)."""
    from backend.gateway.app import serve

    serve(_environment_settings())


def supervisor() -> None:
    """Run a supervisor (settings from the environment; `up` starts one). Of several, one leads."""
    from backend.pool.supervisor import serve

    raise typer.Exit(serve(_environment_settings()))


def worker(
    service: ServiceName = "kohya_job",
    device: Annotated[str, typer.Option(help="cuda:0, cuda:1, …, or cpu; by default a free one.")] = "",
    data_dir: DataDir = DEFAULT_DATA,
    endpoint: Annotated[
        str, typer.Option(help="Join the deployment behind this gateway: http://10.0.0.1:8000.")
    ] = "",
    token: Token = "",
    instance: Annotated[
        str, typer.Option(envvar="LORAPOOL_INSTANCE", help="Be this one, which a launcher has ordered.")
    ] = "",
) -> None:
    """Run instances by hand: on this machine, or on another one, which joins with ENDPOINT and TOKEN.

    With an endpoint: one for each free GPU, or one on the CPU, until they are told to leave; the gateway's port is
    all that the machine must reach. Ctrl-C hands back what they run and ends them.
    """
    if endpoint:
        from backend.pool.plain_box import join

        own = data_dir.resolve() if data_dir != DEFAULT_DATA else None
        raise typer.Exit(join(endpoint, token or os.environ.get("LORAPOOL_TOKEN", ""), service, device, own))
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
    raise typer.Exit(serve(settings, service, device, ordered=instance))


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
    from backend import logs

    if bool(username) != bool(password):
        raise InvalidInput("--username and --password belong together; nothing was started")
    logs.configure_from_environment("front-end")
    key = token or stored_token(data_dir)
    serve(endpoint, key, host, port, data_dir.resolve(), root_path, username=username, password=password)


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


def _settings(data_dir: Path, host: str, port: int, **more: Any) -> Any:
    from backend.settings import read

    return read(data_dir=data_dir, host=host, port=port, **more)


def _environment_settings() -> Any:
    from backend.settings import read

    return read()


def _welcome(url: str, data_dir: Path, ui_port: int | None) -> None:
    from backend.up import say

    if ui_port is not None:
        say(f"open http://127.0.0.1:{ui_port} in a browser")
    say(f"the token is in {data_dir / 'token'}; the gateway answers at {url}; Ctrl-C stops everything")
