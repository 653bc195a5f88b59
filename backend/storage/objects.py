"""The one door to object stores: S3, as s3fs (fsspec) speaks it. OSS answers it too, under an endpoint of its own.

Every call is one attempt with a deadline; who calls decides whether to repeat it.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backend.errors import LorapoolError, StorageUnavailable
from backend.service import ObjectPlace
from backend.storage.credentials import Credentials

CONNECT_SECONDS, READ_SECONDS = 5.0, 60.0
SHA256 = "sha256"
"""Name of the object metadata that holds the hash of a file that was sent from here."""

_PLAIN_MD5 = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, slots=True)
class Remote:
    """One object: its path below the place, bytes, entity tag, and when it was last written."""

    path: str
    size: int
    etag: str
    modified: str

    @property
    def md5(self) -> str:
        """The MD5 of its bytes where the tag is that, as it is for what was sent in one piece."""
        return self.etag if _PLAIN_MD5.fullmatch(self.etag) else ""


@dataclass(frozen=True, slots=True)
class Part:
    """One part of a multipart upload that the store has."""

    number: int
    etag: str


@dataclass(frozen=True, slots=True)
class Came:
    """What is known of a file that has come: the SHA-256 of its bytes, worked out as they came, and the one that the
    source says it has; '' for what is not known."""

    sha256: str = ""
    noted: str = ""


class ObjectStore:
    """The objects below one place: a `Source`."""

    leads = False

    def __init__(self, place: ObjectPlace, credentials: Credentials) -> None:
        self.place = place
        try:
            from s3fs import S3FileSystem
        except ImportError as error:
            raise LorapoolError(
                f"{place.url} needs the package s3fs ({error}): pip install 'lorapool[s3]'"
            ) from None
        self._files = S3FileSystem(
            key=credentials.access_key or None,
            secret=credentials.secret_key or None,
            token=credentials.session_token or None,
            anon=credentials.anonymous,
            endpoint_url=credentials.endpoint or None,
            client_kwargs={"region_name": credentials.region} if credentials.region else None,
            config_kwargs={
                "connect_timeout": CONNECT_SECONDS,
                "read_timeout": READ_SECONDS,
                "retries": {"max_attempts": 1},
                # Stores other than Amazon's know no checksums in trailers; MD5 goes with every part instead.
                "request_checksum_calculation": "when_required",
                "response_checksum_validation": "when_required",
                "s3": {"addressing_style": credentials.addressing or "path"},
            },
            use_listings_cache=False,
            skip_instance_cache=True,
        )
        self._files.retries = 1

    @property
    def url(self) -> str:
        """The place in one spelling."""
        return self.place.url

    def close(self) -> None:
        """Nothing: the library sees to its connections."""

    def noted(self) -> dict[str, Any]:
        """The place; the keys are the machine's."""
        return self.place.model_dump(mode="json", by_alias=True)

    def _key(self, path: str) -> str:
        return f"{self.place.prefix}{path}"

    def _ask(self, method: str, path: str, **arguments: Any) -> dict[str, Any]:
        with self._translated():
            answer: dict[str, Any] = self._files.call_s3(
                method, Bucket=self.place.bucket, Key=self._key(path), **arguments
            )
        return answer

    def below(self, path: str) -> list[Remote]:
        """The object at `path`, or all below it as a folder; empty for neither."""
        root = f"{self.place.bucket}/{self.place.prefix}"
        with self._translated():
            found = self._files.find(f"{root}{path}".rstrip("/"), detail=True, refresh=True)
        return [
            Remote(
                name[len(root) :],
                int(entry["size"]),
                str(entry.get("ETag", "")).strip('"'),
                str(entry.get("LastModified", "")),
            )
            for name, entry in found.items()
            if name.startswith(root) and not name.endswith("/") and entry.get("type") == "file"
        ]

    def head(self, path: str) -> tuple[Remote, str]:
        """One object, and the SHA-256 that its sender noted ('' where none did)."""
        found = self._ask("head_object", path)
        remote = Remote(
            path, int(found["ContentLength"]), found["ETag"].strip('"'), str(found.get("LastModified", ""))
        )
        return remote, str(found.get("Metadata", {}).get(SHA256, ""))

    def download(self, remote: Remote, to: Path, moved: Callable[[int], None]) -> Came:
        """Copy an object into a file, from its beginning."""
        with self._translated():
            self._files.get_file(f"{self.place.bucket}/{self._key(remote.path)}", str(to))
        moved(remote.size)
        return Came()

    def put(self, path: str, data: bytes, sha256: str) -> None:
        """Write a small object; the store refuses bytes that arrive otherwise than they were sent."""
        self._ask("put_object", path, Body=data, ContentMD5=_md5(data), Metadata={SHA256: sha256})

    def begin(self, path: str, sha256: str) -> str:
        """Begin an upload in parts; its id."""
        return str(self._ask("create_multipart_upload", path, Metadata={SHA256: sha256})["UploadId"])

    def put_part(self, path: str, upload: str, number: int, data: bytes, *, offset: int, md5: str) -> Part:
        """Send one part, numbered from 1; its number says where it belongs."""
        as_sent = base64.b64encode(bytes.fromhex(md5)).decode()
        answer = self._ask(
            "upload_part", path, UploadId=upload, PartNumber=number, Body=data, ContentMD5=as_sent
        )
        return Part(number, answer["ETag"])

    def parts(self, path: str, upload: str, *, part_size: int) -> list[Part] | None:
        """The parts that the store has; None when it does not know the upload any more."""
        found: list[Part] = []
        marker = 0
        try:
            while True:
                answer = self._ask("list_parts", path, UploadId=upload, PartNumberMarker=marker)
                found += [Part(each["PartNumber"], each["ETag"]) for each in answer.get("Parts", ())]
                if not answer.get("IsTruncated"):
                    return found
                marker = answer["NextPartNumberMarker"]
        except FileNotFoundError:
            return None

    def complete(self, path: str, upload: str, parts: Sequence[Part], sha256: str) -> None:
        """Make an object of the parts."""
        listed = [{"PartNumber": part.number, "ETag": part.etag} for part in parts]
        self._ask("complete_multipart_upload", path, UploadId=upload, MultipartUpload={"Parts": listed})

    def abandon(self, path: str, upload: str) -> None:
        """Have the store forget an upload in parts."""
        with contextlib.suppress(FileNotFoundError):
            self._ask("abort_multipart_upload", path, UploadId=upload)

    def remove(self, path: str) -> None:
        """Nothing: a bucket keeps what was sent there."""

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        """Whatever the libraries raise, as ours; that there is no such object or upload stays FileNotFoundError."""
        try:
            yield
        except FileNotFoundError as error:
            if "bucket" in str(error).lower():
                raise StorageUnavailable(f"there is no bucket for {self.place.url}", refused=True) from None
            raise
        except PermissionError as error:
            raise StorageUnavailable(
                f"{self.place.url} refuses the credentials of this machine ({_short(error)})", refused=True
            ) from None
        except Exception as error:
            raise StorageUnavailable(f"{self.place.url} does not answer ({_short(error)})") from None


def _md5(data: bytes) -> str:
    return base64.b64encode(hashlib.md5(data, usedforsecurity=False).digest()).decode()


def _short(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text[:200]
