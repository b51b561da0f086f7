"""Lets musubi-tuner's programs start without CUDA.

Imported when the interpreter starts (see ../musubi_python.py), and by scripts/contract.py. It imports nothing
heavy: modules are mended when a program imports them, so a process that never touches torch stays quick.
"""

import sys
from contextlib import ExitStack, contextmanager

_WATCHED = {}


def around(module_name):
    """Decorator: run a generator function around the first import of a module; it is given the module."""

    def register(function):
        _WATCHED.setdefault(module_name, []).append(contextmanager(function))
        return function

    return register


class _Watcher:
    """Meta path finder that wraps the loaders of watched modules and leaves every other module alone."""

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        if name not in _WATCHED:
            return None
        others = (finder for finder in sys.meta_path if finder is not cls)
        spec = next(filter(None, (finder.find_spec(name, path, target) for finder in others)), None)
        if spec is not None and spec.loader is not None:
            spec.loader.exec_module = cls._wrap(spec.loader.exec_module, _WATCHED[name])
        return spec

    @staticmethod
    def _wrap(exec_module, contexts):
        def exec_between(module):
            with ExitStack() as stack:
                for context in contexts:
                    stack.enter_context(context(module))
                exec_module(module)

        return exec_between


@around("torchvision.extension")
def _declare_operators(extension):
    """torchvision registers shapes for operators of its compiled part, which a CPU torch cannot load."""
    yield
    if not extension._has_ops():
        import torch

        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        extension.declared_operators = library  # they vanish with the Library object


@around("musubi_tuner.wan.modules.t5")
def _name_a_device(t5):
    """wan/modules/t5.py:457 asks for the current CUDA device in a default argument, that is, on import."""
    import torch

    original = torch.cuda.current_device
    if not torch.cuda.is_available():
        torch.cuda.current_device = lambda: 0
    try:
        yield
    finally:
        torch.cuda.current_device = original


sys.meta_path.insert(0, _Watcher)
