"""Why a command of a setup failed, from its last lines, and the way out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from wan22lora.errors import Finding


@dataclass(frozen=True)
class _Known:
    pattern: re.Pattern[str]
    cause: str
    fix: str


def _known(pattern: str, cause: str, fix: str) -> _Known:
    return _Known(re.compile(pattern, re.IGNORECASE), cause, fix)


_KNOWN = (
    _known(
        r"no space left on device|errno 28\b|disk quota exceeded",
        "The disk is full.",
        "make room; `df -h` shows where",
    ),
    _known(
        r"could not resolve host|temporary failure in name resolution|network is unreachable|no route to host"
        r"|name or service not known|failed to connect|connection refused|newconnectionerror|dns error"
        r"|error sending request",
        "The machine does not reach the network.",
        "check the connection (and https_proxy, where there is a proxy), then run setup again",
    ),
    _known(
        r"read timed out|readtimeouterror|incompleteread|early eof|connection reset|rpc failed|hung up unexpectedly"
        r"|connection broken|operation timed out",
        "The connection broke off.",
        "run setup again; pip and uv keep what is already downloaded",
    ),
    _known(
        r"ensurepip is not available|no module named ensurepip",
        "This Python cannot make environments: Debian and Ubuntu keep that in a package of its own.",
        "apt-get install python3-venv, or pip install uv",
    ),
    _known(
        r"not our ref|couldn't find remote ref|remote ref does not exist|unadvertised object|reference is not a tree"
        r"|unable to read tree",
        "The repository does not have the pinned commit.",
        "leave --musubi-repo out, or name a complete copy of musubi-tuner",
    ),
    _known(
        r"repository .* not found|does not appear to be a git repository|could not read (username|from remote)"
        r"|repository .* does not exist|terminal prompts disabled",
        "There is no repository at this address, or it wants a password.",
        "check --musubi-repo, or leave it out",
    ),
    _known(
        r"untracked working tree files would be overwritten|local changes .* would be overwritten",
        "Files of your own lie where the other commit has files.",
        "move them away, or name another folder with --musubi",
    ),
    _known(
        r"no matching distribution found|could not find a version that satisfies|no solution found"
        r"|has no wheels with a matching|is not a supported wheel",
        "There is no such package for this Python and this system.",
        "Linux on x86-64 with Python 3.10 to 3.12 has them all; compare `uname -m`",
    ),
    _known(
        r"cuda_home|nvcc (was )?not found|nvcc: (command )?not found",
        "The package is compiled here and needs CUDA's compiler.",
        "attention: sdpa in run.yaml, or install the CUDA toolkit",
    ),
    _known(
        r"certificate verify failed|ssl certificate problem|unable to get local issuer|invalid peer certificate",
        "The other side's certificate is not trusted, as behind a company's proxy.",
        "install its certificate (apt-get install ca-certificates for the usual ones)",
    ),
    _known(
        r"permission denied|read-only file system|errno 13\b|errno 30\b",
        "A file cannot be written.",
        "choose a folder of your own with --musubi, or correct the owner",
    ),
    _known(
        r"do not match the hashes|bad checksum|checksum mismatch|hash mismatch",
        "A download arrived damaged.",
        "pip cache purge (or uv cache clean), then run setup again",
    ),
)


def likely_cause(exit_code: int, lines: Sequence[str]) -> Finding | None:
    """What the lines point at, the last ones first; None where nothing is recognised."""
    if exit_code == 137:
        text = "It was killed, most likely because the machine's memory (or the container's limit) was used up."
        return Finding("likely cause", text, "close what else runs, or rent a machine with more RAM")
    for line in reversed(lines):
        for known in _KNOWN:
            if known.pattern.search(line):
                return Finding("likely cause", known.cause, known.fix)
    return None
