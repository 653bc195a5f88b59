"""Paths that lead out of a data folder in every way that people have found, and a book of what a process opens."""

from __future__ import annotations

import ast
import mimetypes
import os
import sys
from pathlib import Path

from hypothesis import strategies as st

ROOT = Path(__file__).parents[2]
SECRET = "nobody-may-read-this"

AUDITED = """
import os, sys
_book = os.open(os.environ["AUDIT_BOOK"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
_EVENTS = {"open", "os.listdir", "os.scandir", "os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.link",
           "os.symlink", "os.truncate", "os.chmod", "shutil.rmtree", "shutil.copyfile", "shutil.move"}
def _note(event, args):
    if event in _EVENTS and args and isinstance(args[0], (str, bytes)):
        os.write(_book, repr(os.fsdecode(args[0])).encode() + b"\\n")
sys.addaudithook(_note)
"""

FILES_OF_PYTHON = tuple(
    str(Path(folder).resolve()) for folder in (*filter(None, sys.path), sys.prefix, sys.base_prefix, ROOT)
)
"""Where the program itself and its libraries are read from."""


PARTS = st.one_of(
    st.sampled_from(
        [
            *("..", ".", "", "~", "~root", "link", "file-link", "secret.txt", "outside", "a.txt", "store"),
            *("password", "token", "\\..", "．．", "%2e%2e", "..%2f..", "a\0b", "\r\n", "CON", "x" * 300),
        ]
    ),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
)
PATHS = st.one_of(
    st.sampled_from(
        [
            *("/etc/passwd", "/proc/self/environ", "file:///etc/passwd", "//etc/passwd", "link/secret.txt"),
            *("../../../outside/secret.txt", "../../token", "../../store/password", "x" * 5000, "\0"),
            *("@outside/secret.txt", "@data/../outside/secret.txt", "@outside/new/file", "~root/.bashrc"),
        ]
    ),
    st.lists(PARTS, min_size=1, max_size=7).map("/".join),
)


def encoded(path: str) -> str:
    """Every byte escaped, so that no client on the way tidies the path up."""
    return "".join(f"%{byte:02x}" for byte in path.encode())


def opened(book: Path) -> set[Path]:
    """What was opened, listed, made or removed, links resolved."""
    named = (ast.literal_eval(line) for line in book.read_text().splitlines())
    return {Path(path).resolve() for path in named if "\0" not in path}


def strange(book: Path, data_dir: Path) -> set[Path]:
    """What of it is neither the program's own nor in the data folder."""
    own = Path("/proc/self").resolve()  # what a process counts about itself, resolved here
    allowed = {Path(known).resolve() for known in mimetypes.knownfiles}
    allowed |= {Path(os.devnull), Path("/proc/stat"), own / "stat", own / "limits", own / "fd"}
    return {
        path
        for path in opened(book) - allowed
        if not path.is_relative_to(data_dir.resolve()) and not str(path).startswith(FILES_OF_PYTHON)
    }


def links_out(folder: Path, outside: Path) -> None:
    """A link to a folder outside and one to a file there."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "link").symlink_to(outside)
    (folder / "file-link").symlink_to(outside / "secret.txt")
