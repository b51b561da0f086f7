"""Runs under musubi's Python, whatever that is, and tells what it is and can import; standard library only.

Its argument is a JSON object {"modules": […], "programs": […], "distributions": […], "compiling": "…"}. `programs` are
modules that can be imported only where torch sees a GPU, `compiling` is the trainer's file that tries to compile there.
Answers are lines of JSON, written as they are known, so that a module that crashes or hangs takes no earlier answer
with it. What the modules print goes to the error stream.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
import warnings
from collections.abc import Callable
from typing import Any

Tell = Callable[..., None]


def main() -> None:
    asked = json.loads(sys.argv[1])
    sys.path[:] = [place for place in sys.path if place]  # not the working directory
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)

    def tell(**fields: object) -> None:
        answers.write(json.dumps(fields) + "\n")
        answers.flush()

    tell(python=list(sys.version_info[:3]))
    tell(distributions=_versions(asked["distributions"]))
    for name in asked["modules"]:
        _try(name, tell)
        if name == "torch" and "torch" in sys.modules:
            tell(asking="torch.cuda")
            tell(torch=_torch(sys.modules["torch"]))
    torch: Any = sys.modules.get("torch")
    if torch is not None and hasattr(torch, "cuda") and torch.cuda.is_available():
        for name in asked["programs"]:
            _try(name, tell)
        tell(asking="torch.compile")
        tell(compiling=_compiling(asked["compiling"]))
    tell(done=True)


def _try(name: str, tell: Tell) -> None:
    tell(asking=name)
    try:
        module = importlib.import_module(name)
    except BaseException as error:  # modules are known to exit, and to raise anything
        tell(module=name, error=f"{type(error).__name__}: {_first_line(error)}")
    else:
        tell(module=name, version=str(getattr(module, "__version__", "")))


def _versions(names: list[str]) -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version  # not in Python 3.7, whose version is told already

    found = {}
    for name in names:
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def _torch(torch: Any) -> dict[str, object]:
    facts: dict[str, object] = {"version": str(torch.__version__), "cuda": torch.version.cuda, "available": False}
    trouble = ""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            if torch.cuda.is_available():
                facts["available"] = True
                facts["name"] = torch.cuda.get_device_name(0)
                facts["capability"] = list(torch.cuda.get_device_capability(0))
                facts["architectures"] = list(torch.cuda.get_arch_list())
                ones = torch.ones(2, 2, device="cuda")
                facts["computes"] = float((ones @ ones).sum().item()) == 8.0
        except Exception as error:
            trouble = f"{type(error).__name__}: {_first_line(error)}"
    return {**facts, "trouble": trouble or (_first_line(caught[-1].message) if caught else "")}


def _compiling(file: str) -> dict[str, str]:
    """What the trainer lacks for compiling: its text and what to type; both empty where it lacks nothing."""
    from importlib.util import module_from_spec, spec_from_file_location

    try:
        spec = spec_from_file_location("wan22lora_compiling", file)
        if spec is None or spec.loader is None:
            return {"text": f"{file} cannot be read", "fix": ""}
        sys.modules[spec.name] = module = module_from_spec(spec)
        spec.loader.exec_module(module)
        lack = module.what_lacks()
    except Exception as error:
        return {"text": f"{type(error).__name__}: {_first_line(error)}", "fix": ""}
    return {"text": lack.text, "fix": lack.fix} if lack is not None else {"text": "", "fix": ""}


def _first_line(said: object) -> str:
    return (str(said).strip().splitlines() or [""])[0]


if __name__ == "__main__":
    main()
