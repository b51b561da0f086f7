"""Whether this machine can compile at all, found out by compiling something small before anything large is loaded."""

from __future__ import annotations

import importlib
import os
import shutil
import sys
from dataclasses import dataclass

import torch

LEAST_CAPABILITY = (7, 0)
"""Triton's own bound; older GPUs have no kernels from it."""


@dataclass(frozen=True)
class Lack:
    """Why nothing can be compiled, and what to type."""

    text: str
    fix: str = ""


def what_lacks() -> Lack | None:
    """None where torch.compile works on the GPU. Takes a second where the kernel is kept from an earlier run."""
    compiler = os.environ.get("CC") or next(filter(None, map(shutil.which, ("gcc", "clang", "cc"))), None)
    if compiler is None or shutil.which(compiler) is None:
        named = f"CC names {compiler}, which is not there" if compiler else "there is no C compiler"
        return Lack(f"the trainer compiles its kernels, and {named}", "sudo apt-get install -y gcc")
    capability = torch.cuda.get_device_capability(0)
    if capability < LEAST_CAPABILITY:
        major, minor = capability
        return Lack(f"compiled kernels need a GPU of compute capability 7.0 or later, and this one has {major}.{minor}")
    try:
        importlib.import_module("triton")
    except Exception as error:
        text = f"compiled kernels need triton, which cannot be imported ({_first_line(error)})"
        return Lack(text, f"uv pip install --python {sys.executable} triton, or {sys.executable} -m pip install triton")
    try:
        compiled = torch.compile(_small, fullgraph=True)
        wrong = not torch.equal(compiled(torch.ones(64, device="cuda")), torch.full((64,), 4.0, device="cuda"))
    except Exception as error:
        said = str(error)
        if "Python.h" in said:
            fix = "sudo apt-get install -y python3-dev"
            return Lack("the trainer compiles its kernels, and Python's own headers (Python.h) are not there", fix)
        return Lack(f"torch cannot compile here ({type(error).__name__}: {_first_line(error)})")
    return Lack("torch cannot compile here (a sum came out wrong)") if wrong else None


def _small(x: torch.Tensor) -> torch.Tensor:
    return x * 3 + 1


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [""])[0][:300]
