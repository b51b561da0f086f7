"""Every file that a task needs and the revision it is fetched at; for the sources see docs/decisions/0003."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

from wan22lora.errors import SpecError
from wan22lora.machine.settings import TOKENIZER_FOLDER
from wan22lora.spec.tasks import TaskName

Folder = Literal["diffusion_models", "vae", "text_encoders", "hub"]
Role = Literal["vae", "t5", "tokenizer", "high", "low", "dit"]
"""The key under `models:` in run.yaml; the tokenizer has none, it lies in the hub's own cache layout."""


@dataclass(frozen=True)
class ModelFile:
    """One file on the Hugging Face Hub and its place in a folder of models."""

    name: str
    """What `wan22lora models` calls it. The tokenizer's files share one name."""
    role: Role
    tasks: tuple[TaskName, ...]
    repository: str
    path: str
    """Inside the repository."""
    revision: str | None
    """The commit; None means that of `main` at the first fetch, which is then kept (record.py)."""
    folder: Folder
    size: int
    """Bytes, for the disk check; what the hub answers decides."""
    sha256: str | None = None
    """Only where several independent public lists name it for this very file."""
    other_names: tuple[str, ...] = ()
    """Under which names the same weights are kept elsewhere, in a form that musubi reads."""

    @property
    def file_name(self) -> str:
        return self.path.rpartition("/")[2]

    @property
    def relative(self) -> str:
        """Where a fetch puts it below the folder of models, with `/`: ComfyUI's layout."""
        if self.folder == "hub":
            return f"hub/{TOKENIZER_FOLDER}/snapshots/{self.revision}/{self.path}"
        return f"{self.folder}/{self.file_name}"

    @property
    def title(self) -> str:
        """For messages; tells the tokenizer's files apart."""
        return f"{self.name} ({self.file_name})" if self.role == "tokenizer" else self.name


TASK_NAMES: tuple[TaskName, ...] = get_args(TaskName)
_WAN21 = ("Comfy-Org/Wan_2.1_ComfyUI_repackaged", "123acf1cc74bccbb9bfff8ac1ee72edc08c2341d")
_WAN22 = ("Comfy-Org/Wan_2.2_ComfyUI_Repackaged", "ee6f4a40737a995bf5818954cfce6d59443b0f04")
_WAN_AI = ("Wan-AI/Wan2.1-T2V-14B", "a064a6c71f5be440641209c07bf2a5ce7a2ff5e4")


def _tokenizer(file: str, size: int, sha256: str | None = None) -> ModelFile:
    repository, revision = _WAN_AI
    path = f"google/umt5-xxl/{file}"
    return ModelFile("tokenizer", "tokenizer", TASK_NAMES, repository, path, revision, "hub", size, sha256)


def _expert(name: str, role: Role, task: TaskName, source: tuple[str, str], file: str, size: int) -> ModelFile:
    path = f"split_files/diffusion_models/{file}"
    return ModelFile(name, role, (task,), source[0], path, source[1], "diffusion_models", size)


CATALOGUE: tuple[ModelFile, ...] = (
    # In the order of fetching: caching needs the VAE, then the text encoder; the high expert trains first.
    ModelFile(
        name="vae",
        role="vae",
        tasks=TASK_NAMES,
        repository=_WAN21[0],
        path="split_files/vae/wan_2.1_vae.safetensors",
        revision=_WAN21[1],
        folder="vae",
        size=253_815_318,
        sha256="2fc39d31359a4b0a64f55876d8ff7fa8d780956ae2cb13463b0223e15148976b",
        other_names=("Wan2.1_VAE.safetensors", "Wan2.1_VAE.pth", "wan_2.1_vae.pth"),
    ),
    ModelFile(
        name="t5",
        role="t5",
        tasks=TASK_NAMES,
        repository=_WAN_AI[0],
        path="models_t5_umt5-xxl-enc-bf16.pth",
        revision=_WAN_AI[1],
        folder="text_encoders",
        size=11_361_920_418,
        sha256="7cace0da2b446bbbbc57d031ab6cf163a3d59b366da94e5afe36745b746fd81d",
        other_names=("models_t5_umt5-xxl-enc-bf16.safetensors", "umt5-xxl-enc-bf16.safetensors"),
    ),
    _tokenizer("tokenizer.json", 16_837_417, "6e197b4d3dbd71da14b4eb255f4fa91c9c1f2068b20a2de2472967ca3d22602b"),
    _tokenizer("spiece.model", 4_548_313),
    _tokenizer("tokenizer_config.json", 61_728),
    _tokenizer("special_tokens_map.json", 6_623),
    _expert("t2v-high", "high", "t2v-A14B", _WAN22, "wan2.2_t2v_high_noise_14B_fp16.safetensors", 28_577_095_592),
    _expert("t2v-low", "low", "t2v-A14B", _WAN22, "wan2.2_t2v_low_noise_14B_fp16.safetensors", 28_577_095_592),
    _expert("i2v-high", "high", "i2v-A14B", _WAN22, "wan2.2_i2v_high_noise_14B_fp16.safetensors", 28_577_914_792),
    _expert("i2v-low", "low", "i2v-A14B", _WAN22, "wan2.2_i2v_low_noise_14B_fp16.safetensors", 28_577_914_792),
    _expert("wan21-t2v", "dit", "t2v-14B", _WAN21, "wan2.1_t2v_14B_fp8_e4m3fn.safetensors", 14_290_000_000),
)


def files_of(task: TaskName | None) -> tuple[ModelFile, ...]:
    """What a task needs, in the order of fetching; everything for None."""
    return tuple(file for file in CATALOGUE if task is None or task in file.tasks)


def files_named(names: Iterable[str], task: TaskName | None) -> tuple[ModelFile, ...]:
    """The files that a person names, by their own names or, with a task, by their key in run.yaml.

    In the order of fetching, whatever the order of the names; all of the task without names. Raises SpecError.
    """
    wanted = tuple(names)
    choice = files_of(task)
    known = {file.name for file in choice} | ({file.role for file in choice} if task else set())
    for name in wanted:
        if name not in known:
            listed = ", ".join(dict.fromkeys(file.name for file in choice))
            of_task = f" of {task}" if task else ""
            raise SpecError(f"there is no model file called {name}{of_task}", fix=f"names: {listed}")
    return tuple(file for file in choice if not wanted or file.name in wanted or (task and file.role in wanted))


def task_named(name: str | None) -> TaskName | None:
    """The task called so. Raises SpecError for one that does not exist."""
    if name is None:
        return None
    for task in TASK_NAMES:
        if task == name:
            return task
    raise SpecError(f"there is no task {name}", fix=f"tasks: {', '.join(TASK_NAMES)}")
