"""musubi-tuner's Python environment: the Pythons that it takes, and what of a run needs which package there."""

from __future__ import annotations

from collections.abc import Mapping

OLDEST_PYTHON, TOO_NEW_PYTHON = (3, 10), (3, 13)
"""musubi-tuner's own bounds at both pins (pyproject.toml, requires-python)."""
PYTHON_RANGE = ">=3.10,<3.13"
"""The same, as packaging writes it."""
TORCH_OPTIMIZERS = (
    *("ASGD", "Adadelta", "Adafactor", "Adagrad", "Adam", "AdamW", "Adamax", "LBFGS", "Muon", "NAdam", "RAdam"),
    *("RMSprop", "Rprop", "SGD", "SparseAdam"),
)
"""Classes of torch.optim; Muon since torch 2.9."""
OPTIMIZER_PACKAGES: Mapping[str, str] = {
    "adv_optm": "adv-optm",
    "came_pytorch": "came-pytorch",
    "dadaptation": "dadaptation",
    "lion_pytorch": "lion-pytorch",
    "prodigyopt": "prodigyopt",
    "pytorch_optimizer": "pytorch-optimizer",
    "schedulefree": "schedulefree",
}
"""The module that `optimizer: module.Class` begins with → the package that holds it. A package is never guessed from
a module's name: whoever registered that name could be anybody."""
_TRACKERS = {"tensorboard": ("tensorboard",), "wandb": ("wandb",), "all": ("tensorboard", "wandb")}


def trackers_of(options: Mapping[str, object]) -> tuple[tuple[str, ...], str]:
    """What draws a training's curves: modules, each of a package of its own name, and the option that asks for them.

    accelerate leaves a missing one out without a word (tracking.py), and the run then has no curves. `logging_dir`
    alone means TensorBoard (training/accelerator_setup.py).
    """
    chosen = options.get("log_with")
    if chosen is not None:
        return _TRACKERS.get(str(chosen), ()), "log_with"
    return (("tensorboard",), "logging_dir") if options.get("logging_dir") is not None else ((), "")
