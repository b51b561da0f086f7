"""The Hugging Face Hub through huggingface_hub 0.34 to 2.x: what it offers, and its bytes into a file of ours.

hf_hub_download is not used: since 2.x it throws the part that has arrived away when its process ends, and a killed
download of 28.6 GB would start again. The functions used here are the ones it is made of.
"""

from __future__ import annotations

import importlib
import os
import re
from dataclasses import dataclass
from functools import cached_property
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from wan22lora.models.catalogue import ModelFile
from wan22lora.models.troubles import Trouble, trouble_of

_PIECE = 1 << 20
"""Bytes handed over at once. The default of 10 MiB is lost whole when a connection breaks."""


@dataclass(frozen=True)
class Offer:
    """One file as the hub has it at one commit."""

    commit: str
    size: int | None
    etag: str
    """The sha256 of a large file, git's blob hash of a small one."""
    url: str
    """Where the bytes are; signed and good for about an hour where it is not on the hub itself."""
    with_token: bool

    @property
    def sha256(self) -> str | None:
        return self.etag if re.fullmatch("[0-9a-f]{64}", self.etag) else None

    @property
    def git_blob(self) -> str | None:
        return self.etag if re.fullmatch("[0-9a-f]{40}", self.etag) else None


class Hub:
    """HF_ENDPOINT or huggingface.co, with the token of HF_TOKEN or of the hub's own login."""

    def __init__(self) -> None:
        os.environ["HF_HUB_ENABLE_HF_TRANSFER"] = "0"  # before the first import; it would write past our file object
        self.endpoint = (os.environ.get("HF_ENDPOINT") or "https://huggingface.co").rstrip("/")

    @cached_property
    def _token(self) -> str | None:
        token = self._library.get_token()
        return token if isinstance(token, str) else None

    @cached_property
    def _library(self) -> Any:
        """huggingface_hub, quiet; untyped, since its parts have moved and changed between its versions."""
        library, utils = (importlib.import_module(f"huggingface_hub{part}") for part in ("", ".utils"))
        utils.disable_progress_bars()
        utils.logging.set_verbosity_error()  # its warnings repeat signed addresses
        importlib.import_module("huggingface_hub.constants").__dict__["DOWNLOAD_CHUNK_SIZE"] = _PIECE
        return library

    def offer(self, file: ModelFile, revision: str) -> Offer:
        """Asks for one file. Raises Trouble."""
        url = self._library.hf_hub_url(file.repository, file.path, revision=revision, endpoint=self.endpoint)
        try:
            answer = self._library.get_hf_file_metadata(url, token=self._token or False, endpoint=self.endpoint)
        except Exception as error:
            raise self._trouble(error, file) from None
        if answer.commit_hash is None or answer.etag is None:
            text = f"{self._host} answers, but not as the Hugging Face Hub does"
            raise Trouble(text, fix="a proxy or a login page may be in between; look at HF_ENDPOINT and HTTPS_PROXY")
        same_host = urlsplit(answer.location).netloc == urlsplit(url).netloc
        return Offer(answer.commit_hash, answer.size, answer.etag, answer.location, with_token=same_host)

    def download(self, file: ModelFile, offer: Offer, into: BinaryIO, done: int) -> None:
        """Writes what is missing after the first `done` bytes. Raises Trouble, and OSError of the disk."""
        headers = self._library.utils.build_hf_headers(token=(self._token or False) if offer.with_token else False)
        headers["Accept-Encoding"] = "identity"
        try:
            http_get = self._library.file_download.http_get
            http_get(offer.url, into, resume_size=done, headers=headers, expected_size=offer.size)
        except Exception as error:
            raise self._trouble(error, file, signed=not offer.with_token) from None

    @property
    def _host(self) -> str:
        return urlsplit(self.endpoint).netloc

    def _trouble(self, error: Exception, file: ModelFile, *, signed: bool = False) -> Exception:
        where = "HF_TOKEN" if os.environ.get("HF_TOKEN") else "the hub's login"
        return trouble_of(
            error,
            host=self._host,
            page=f"{self.endpoint}/{file.repository}",
            what=f"{file.path} of {file.repository}",
            token_from=where if self._token else None,
            signed=signed,
        )
