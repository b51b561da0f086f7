"""`PYTHON <this folder> <options of wan_train_network.py> <own options>`: trains one expert."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

PACKAGE = "wan22lora_trainer"


def register() -> None:
    """Makes this folder a package of its own name.

    Python put the folder at the head of sys.path, where its modules would stand before any others of their names; the
    place where wan22lora is installed must not be there either, since its packages are for another Python.
    """
    folder = Path(__file__).resolve().parent
    sys.path[:] = [place for place in sys.path if not place or Path(place).resolve() != folder]
    spec = importlib.util.spec_from_file_location(
        PACKAGE, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[PACKAGE] = module
    spec.loader.exec_module(module)


if __name__ == "__main__":
    register()
    leaving = importlib.import_module(f"{PACKAGE}.leaving").Leaving()
    leaving.code = importlib.import_module(f"{PACKAGE}.program").main(sys.argv[1:])
    sys.exit(leaving.code)
