"""`kohya_gui.py`: the front end under kohya_ss's name and flags, in three roles.

    python kohya_gui.py                            all of lorapool for one person: store, gateway, pool, front end
    python kohya_gui.py --just-ui --job-service    the front end alone, for a service that runs elsewhere
    python kohya_gui.py --just-ui                  a form that prints commands and starts nothing

Where the service is, is said by `LORAPOOL_ENDPOINT` and `LORAPOOL_TOKEN`, which a front end that was started by a
service description finds in its environment, or by `--endpoint` and the `token` file of the data folder.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from backend import logs, paths, ports
from backend.errors import InvalidInput, LorapoolError
from backend.paths import stored_token

DEFAULT_PORT = 7860
"""Where kohya_ss's form is found when no port is given."""
_GATEWAY_PORT = 8000

_WITHOUT_EFFECT = {
    "config": "defaults of the form come from presets and from what this browser held last; use Import… on the page",
    "debug": "what a process of lorapool has to say is in the folder logs/ of the data folder",
    "share": "no tunnel is opened: nothing of lorapool goes through another company's server",
    "language": "the pages are in the language that the browser asks for, or the one that is chosen at their top",
    "use_ipex": "torch is asked which device it has",
    "use_rocm": "torch is asked which device it has",
    "requirements": "nothing is installed at the start",
}
"""Flags of kohya_ss that change nothing here, and why. `--headless`, `--noverify`, `--do_not_share` and
`--do_not_use_shell` say what is always so."""


def parser() -> argparse.ArgumentParser:
    """The flags: kohya_ss's own, those of the EAS image, and two of ours."""
    flags = argparse.ArgumentParser(prog="kohya_gui.py", description="LoRA training with a Kohya-style form.")
    flags.add_argument("--listen", default="127.0.0.1", metavar="ADDRESS", help="address to listen on")
    flags.add_argument("--server_port", type=int, default=0, metavar="PORT", help="port (default: 7860)")
    flags.add_argument("--username", default="", help="ask for this name at the login")
    flags.add_argument("--password", default="", help="and this password")
    flags.add_argument("--inbrowser", action="store_true", help="open a browser")
    flags.add_argument("--root_path", default="", metavar="PATH", help="path prefix behind a proxy")
    flags.add_argument("--data-dir", default="", metavar="FOLDER", help="the data folder (default: ./data)")
    flags.add_argument("--just-ui", action="store_true", help="start nothing but the front end")
    flags.add_argument("--job-service", action="store_true", help="send trainings to a service's queue")
    flags.add_argument("--endpoint", default="", metavar="URL", help="the gateway of that service")
    for name in ("config", "language", "requirements"):
        flags.add_argument(f"--{name}", default=None, help=f"no effect: {_WITHOUT_EFFECT[name]}")
    for name in ("debug", "share"):
        flags.add_argument(f"--{name}", action="store_true", help=f"no effect: {_WITHOUT_EFFECT[name]}")
    for name in ("use-ipex", "use-rocm"):
        said = _WITHOUT_EFFECT[name.replace("-", "_")]
        flags.add_argument(f"--{name}", action="store_true", help=f"no effect: {said}")
    for name in ("headless", "noverify", "do_not_share", "do_not_use_shell"):
        flags.add_argument(f"--{name}", action="store_true", help="always so")
    return flags


def main(arguments: Sequence[str] | None = None) -> int:
    """Run until Ctrl-C; the exit code."""
    given = parser().parse_args(arguments)
    for name, why in _WITHOUT_EFFECT.items():
        if getattr(given, name):
            _say(f"--{name.replace('use_', 'use-')}: {why}")
    try:
        return _run(given)
    except LorapoolError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, InvalidInput) else 1
    except KeyboardInterrupt:
        return 130


def _run(given: argparse.Namespace) -> int:
    if bool(given.username) != bool(given.password):
        raise InvalidInput("--username and --password belong together; nothing was started")
    bound = bool(os.environ.get("LORAPOOL_SERVICE", ""))
    data_dir = data_folder(given.data_dir, os.environ.get("LORAPOOL_DATA_DIR", ""), bound=bound)
    port = given.server_port or DEFAULT_PORT
    if given.job_service:
        endpoint = given.endpoint or os.environ.get("LORAPOOL_ENDPOINT", "")
        return _front_end(given, data_dir, port, endpoint or f"http://127.0.0.1:{_GATEWAY_PORT}")
    if given.just_ui:
        return _front_end(given, data_dir, port, "")
    return _everything(given, data_dir, port)


def data_folder(wanted: str, deployments: str, *, bound: bool = False) -> Path:
    """The data folder: the one that is named, where it is there; else the deployment's; else `data` or a new one.

    Descriptions made for EAS name the folder that storage is mounted at (`/workspace`). Other machines lack it, or
    have another folder of that name: a front end that is `bound` to a service of a deployment, and was started by it,
    uses the deployment's, as the gateway takes no path outside of that.
    """
    named = Path(wanted or deployments or "data").expanduser().resolve()
    if not wanted or not deployments:
        return named
    theirs = Path(deployments).resolve()
    if not named.is_dir():
        _say(f"there is no folder {wanted} here; the deployment's data folder {theirs} is used")
        return theirs
    if bound and named != theirs and theirs not in named.parents:
        _say(f"{wanted} is not in the deployment's data folder; {theirs} is used")
        return theirs
    return named


def _make(data_dir: Path) -> None:
    """Make the data folder where it is not there yet.

    Raises:
        InvalidInput: it cannot be made; nothing was started.
    """
    try:
        paths.create(data_dir)
    except OSError as error:
        raise InvalidInput(
            f"the data folder {data_dir} cannot be made or written ({error.strerror}): name another with --data-dir, "
            "or mount the storage there and give it to this user. Nothing was started."
        ) from None


def _front_end(given: argparse.Namespace, data_dir: Path, port: int, endpoint: str) -> int:
    from app.main import serve

    logs.configure_from_environment("front-end")
    _refuse_taken_port(given.listen, port)
    if given.inbrowser:
        _open_browser(given, port)
    if not data_dir.is_dir():
        _say(
            f"there is no folder {data_dir} here, so the form can show no models, data sets or pictures: mount the "
            "instances' data folder there, or name it with --data-dir"
        )
    token = os.environ.get("LORAPOOL_TOKEN", "") or stored_token(data_dir)
    if endpoint and not token:
        raise InvalidInput(
            f"there is no token for the service at {endpoint}: set LORAPOOL_TOKEN, or name with --data-dir the data "
            "folder of a lorapool that runs on this machine. Nothing was started."
        )
    _say(
        f"the form is at http://{given.listen}:{port}{given.root_path}"
        + ("" if endpoint else "; it prints commands")
    )
    serve(
        endpoint,
        token,
        given.listen,
        port,
        data_dir,
        given.root_path,
        username=given.username,
        password=given.password,
    )
    return 0


def _everything(given: argparse.Namespace, data_dir: Path, port: int) -> int:
    from backend.settings import read
    from backend.up import Deployment, FrontEndHere

    _make(data_dir)
    gateway_port = ports.any_free() if ports.why_not("127.0.0.1", _GATEWAY_PORT) else _GATEWAY_PORT
    here = FrontEndHere(port, given.listen, given.root_path, given.username, given.password)
    deployment = Deployment(read(data_dir=data_dir, port=gateway_port), [], front_end=here)

    def ready() -> None:
        _say(f"open http://127.0.0.1:{port}{given.root_path} in a browser; Ctrl-C stops everything")
        if given.inbrowser:
            _open_browser(given, port)

    return deployment.run(ready)


def _refuse_taken_port(host: str, port: int) -> None:
    reason = ports.why_not(host, port)
    if reason:
        raise InvalidInput(
            f"port {port} on {host} cannot be used ({reason}). Nothing was started; choose another with --server_port."
        )


def _open_browser(given: argparse.Namespace, port: int) -> None:
    threading.Timer(1.0, webbrowser.open, (f"http://127.0.0.1:{port}{given.root_path}",)).start()


def _say(text: str) -> None:
    print(logs.line("kohya_gui", text), file=sys.stderr, flush=True)
