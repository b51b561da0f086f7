"""What tests/real needs to run the real, unmodified musubi-tuner on a CPU."""

from .musubi_python import find_python, make_environment, make_python
from .parsers import parse_only
from .small_models import SmallModels, make_small_models

__all__ = ["SmallModels", "find_python", "make_environment", "make_python", "make_small_models", "parse_only"]
