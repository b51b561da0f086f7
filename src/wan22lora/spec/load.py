"""run.yaml → Spec: read, lay over preset and hardware, resolve paths, check. All findings at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from wan22lora.errors import Finding, SpecError
from wan22lora.musubi.pins import ARTICLE, DEFAULT, Pin, pin_named
from wan22lora.spec.document import Document, KeyPath, dotted, in_file_order, parse_document, read_document
from wan22lora.spec.extension import ValidationSettings
from wan22lora.spec.layers import Layer, Origin, Settings
from wan22lora.spec.model import DatasetSettings, RunFile, TrainSettings
from wan22lora.spec.paths import ImpossiblePathError, UnknownVariableError, resolve_path
from wan22lora.spec.presets import CONTEXT_GIB, hardware_for, preset_layers, preset_names, read_hardware, unknown_preset
from wan22lora.spec.resolved import Dataset, Expert, Spec, StepOptions
from wan22lora.spec.rules import broken_rules
from wan22lora.spec.tasks import TASKS, ExpertName, Task
from wan22lora.spec.validate import check, sound_part

DEFAULTS = """
data: {caption_extension: .txt, batch_size: 1, repeats: 1, bucket: true, bucket_no_upscale: false, source_fps: auto}
train:
  gradient_accumulation: 1
  gradient_checkpointing: true
  data_loader_workers: 2
  attention: sdpa
  seed: 42
"""
SOURCES = {"images": "images", "image_jsonl": "images", "videos": "videos", "video_jsonl": "videos"}
PATH_OPTIONS = ("sample_prompts", "base_weights", "resume", "logging_dir", "log_tracker_config", "clip")
"""musubi options that take a path; a relative one is meant from run.yaml, not from musubi's checkout."""
REHEARSAL = "-rehearsal"
"""Ends the name of a rehearsal's folder and of no other: what its caches hold, nothing, would be trained on."""


def load_spec(
    path: Path,
    *,
    gpu_free_gib: Callable[[], float | None] = lambda: None,
    rehearsal: bool = False,
) -> Spec:
    """The run that the file describes.

    `gpu_free_gib` answers for `hardware: auto` with the GPU memory that nobody uses (None: no GPU here);
    the folder of a `rehearsal` is one of its own.
    Raises SpecError with every finding.
    """
    document = read_document(path)
    run_file, findings = check(document, RunFile)
    chosen = document.data.get("preset")
    if isinstance(chosen, str) and chosen not in preset_names():
        findings.append(unknown_preset(f"{document.place(('preset',))} preset", chosen))
    elif findings:
        findings += _further_findings(path, sound_part(document, RunFile))
    if run_file is None or findings:
        raise SpecError(f"{document.file} cannot be used", findings=in_file_order(findings))
    return _Loader(path, document, run_file, gpu_free_gib, rehearsal).spec()


def _further_findings(path: Path, document: Document) -> list[Finding]:
    """What the rules say of a file whose wrong keys are left out; not that something is missing, which they may be."""
    run_file, findings = check(document, RunFile)
    if run_file is None or findings:
        return []
    try:
        _Loader(path, document, run_file, lambda: None, False).spec()
    except SpecError as error:
        return [each for each in error.findings if each.level == "error" and not each.message.startswith("is missing")]
    return []


class _Loader:
    """Holds what the steps of loading one file share; lives for one call of load_spec."""

    def __init__(
        self,
        path: Path,
        document: Document,
        run_file: RunFile,
        gpu_free_gib: Callable[[], float | None],
        rehearsal: bool,
    ) -> None:
        self.path, self.document, self.run_file = path, document, run_file
        self.rehearsal = rehearsal
        self.findings: list[Finding] = []
        own = Layer(document, "run.yaml")
        defaults = Layer(parse_document(DEFAULTS, file="defaults", folder=path.parent), "defaults")
        presets = preset_layers(run_file.preset) if run_file.preset else ()
        self.layers: tuple[Layer, ...] = (defaults, *presets, own)
        top = Settings()
        for layer in self.layers:
            top.lay(layer, ())
        self.top = top
        self.pin = self._pin()
        self.trainer = top.values.get("trainer", "plain" if self.pin is ARTICLE else "extension")
        self._lay_hardware(gpu_free_gib)

    def spec(self) -> Spec:
        task = TASKS[self.top.values.get("task", "t2v-A14B")]
        base = self.document.folder
        folder = (
            self._path(self.run_file.folder, ("folder",))
            if self.run_file.folder
            else resolve_path(f"runs/{self.run_file.name}", base)
        )
        if not folder.name:
            where = f"{self.document.place(('folder',))} folder"
            self.findings.append(
                Finding(where, "is the top of a disk, and a run needs a folder of its own", "folder: /runs")
            )
            folder = folder / self.run_file.name
        if folder.name.endswith(REHEARSAL):
            key = "folder" if self.run_file.folder else "name"
            where = f"{self.document.place((key,))} {key}"
            text = f"ends in {REHEARSAL}, as the folders of rehearsals do: their caches hold nothing"
            self.findings.append(Finding(where, text, "another name"))
        plain = self.trainer == "plain"
        spec = Spec(
            file=Path(self.path).absolute(),
            name=self.run_file.name,
            folder=folder.with_name(folder.name + REHEARSAL) if self.rehearsal else folder,
            task=task,
            pin=self.pin,
            trainer=self.trainer,
            speed=self.top.values.get("speed", "reference" if plain or self.pin is ARTICLE else "fast"),
            parallel=self.top.values.get("parallel", "experts"),
            stop_grace=float(self.top.values.get("stop_grace", 30)),
            on_oom=self.top.values.get("on_oom"),
            validation=self._validation(),
            trigger=self.run_file.trigger,
            preset=self.run_file.preset,
            hardware=self.hardware,
            usable_gib=self.usable_gib,
            models=self._models(),
            datasets=tuple(self._datasets()),
            experts=tuple(self._expert(task, name) for name in task.experts),
            cache_latents=self._step_options("cache-latents"),
            cache_text=self._step_options("cache-text"),
            origins=self.top.origins,
            notes=tuple(self.notes),
        )
        found = [*self.findings, *broken_rules(spec, self.document)]
        errors = [finding for finding in found if finding.level == "error"]
        if errors:
            raise SpecError(f"{self.document.file} cannot be used", findings=in_file_order(found))
        return _with_notes(spec, found)

    def _validation(self) -> ValidationSettings | None:
        given = self.top.values.get("validation")
        return None if given is None else ValidationSettings.model_validate(given)

    def _pin(self) -> Pin:
        try:
            return pin_named(str(self.top.values.get("pin", DEFAULT.name)))
        except ValueError:
            where = str(self.top.origins["pin"])
            self.findings.append(Finding(where, "is no revision that this program knows", "pin: v0.3.4, or article"))
            return DEFAULT

    def _lay_hardware(self, gpu_free_gib: Callable[[], float | None]) -> None:
        """Finds out for how much GPU memory the run is planned.

        musubi's own program also gets its class's settings, between the presets and run.yaml; for the trainer extension
        plan/choice.py chooses them once the pictures are known.
        """
        self.notes: list[Finding] = []
        self.usable_gib: float | None = None
        self.hardware = str(self.top.values.get("hardware", "auto"))
        laid = self.hardware
        free = gpu_free_gib() if self.hardware == "auto" else None
        if self.hardware == "auto":
            if free is None:
                text = "no GPU here, so no memory settings beyond the preset's"
                self.notes.append(Finding("hardware: auto", text, level="warning"))
                return
            found = hardware_for(free)
            if found is None:
                text = f"{free:.1f} GiB of the GPU are free; musubi needs about 16 GB for a 14B expert"
                self.notes.append(Finding("hardware: auto", text, "nvidia-smi shows who uses it", level="warning"))
            laid = found or "16gb"
        hardware, document = read_hardware(laid)
        self.usable_gib = hardware.usable_gib if free is None else max(0.0, free - CONTEXT_GIB)
        if self.trainer == "plain":
            self.hardware, self.usable_gib = laid, min(hardware.usable_gib, self.usable_gib)
            kind = "videos" if self._has_clips() else "images"
            *before, own = self.layers
            self.layers = (*before, Layer(document, "hardware", train=(kind,)), own)

    def _has_clips(self) -> bool:
        entries = [self.run_file, *(self.run_file.datasets or ())]
        return any(entry.videos or getattr(entry, "video_jsonl", None) for entry in entries)

    def _expert(self, task: Task, name: ExpertName) -> Expert:
        settings = Settings()
        options = Settings()
        own = Layer(parse_document(_range_yaml(task, name), file="task", folder=self.path.parent), "task")
        settings.lay(own, ("train",))
        for layer in self.layers:
            settings.lay(layer, layer.train, ("experts", name))
            options.lay(layer, ("musubi", "train"), ("musubi", f"train-{name}"))
        values = dict(settings.values)
        for key in ("checkpoint", "network_weights"):
            if key in values:
                origin = settings.origins[key]
                values[key] = str(self._path(values[key], origin.path, origin))
        return Expert(
            origins=settings.origins,
            fallback=self._fallback("train"),
            prefix="train",
            name=name,
            settings=TrainSettings.model_validate(values),
            options=self._with_paths(options),
            option_origins=options.origins,
        )

    def _datasets(self) -> Iterator[Dataset]:
        entries: list[tuple[KeyPath, dict[str, Any]]] = []
        for key in ("images", "videos"):
            if self.document.data.get(key) is not None:
                entries.append(((), {key: self.document.data[key]}))
        for index, entry in enumerate(self.document.data.get("datasets") or []):
            entries.append((("datasets", index), entry))
        if not entries:
            where = f"{self.document.file}:1:1 images"
            text = "is missing: `images:`, `videos:` or `datasets:` names what to train on"
            self.findings.append(Finding(where, text, "images: ./pictures"))
        for path, entry in entries:
            sources = [key for key in SOURCES if entry.get(key)]
            where = f"{self.document.place(path)} {'datasets' if path else 'images'}"
            if len(sources) != 1:
                text = f"needs exactly one of {', '.join(SOURCES)}, and has {', '.join(sources) or 'none'}"
                self.findings.append(Finding(where, text))
                continue
            yield self._dataset(path, sources[0], entry[sources[0]])

    def _dataset(self, path: KeyPath, source: str, value: str) -> Dataset:
        settings = Settings()
        for layer in self.layers:
            settings.lay(layer, ("data",))
        if path:
            settings.lay(self.layers[-1], path)
        resolved = self._path(value, (*path, source))
        keys = {key: setting for key, setting in settings.values.items() if key not in SOURCES}
        return Dataset(
            origins=settings.origins,
            fallback=self._fallback("data"),
            prefix="data",
            settings=DatasetSettings.model_validate(keys),
            kind=SOURCES[source],
            directory=None if source.endswith("jsonl") else resolved,
            jsonl=resolved if source.endswith("jsonl") else None,
        )

    def _models(self) -> dict[str, Path]:
        models = Settings()
        for layer in self.layers:
            models.lay(layer, ("models",))
        return {
            key: self._path(value, models.origins[key].path, models.origins[key])
            for key, value in models.values.items()
        }

    def _step_options(self, step: str) -> StepOptions:
        options = Settings()
        for layer in self.layers:
            options.lay(layer, ("musubi", step))
        return StepOptions(self._with_paths(options), options.origins)

    def _with_paths(self, options: Settings) -> dict[str, Any]:
        values = dict(options.values)
        for key in PATH_OPTIONS:
            given, origin = values.get(key), options.origins.get(key)
            if origin is not None and isinstance(given, str | list):
                paths = [str(self._path(str(each), origin.path, origin)) for each in _listed(given)]
                values[key] = paths if isinstance(given, list) else paths[0]
        return values

    def _path(self, text: str, path: KeyPath, origin: Origin | None = None) -> Path:
        document = origin.layer.document if origin else self.document
        where = str(origin) if origin else f"{document.place(path)} {dotted(path)}"
        try:
            return resolve_path(text, document.folder)
        except ImpossiblePathError as impossible:
            self.findings.append(Finding(where, str(impossible)))
        except UnknownVariableError as unknown:
            fix = f"export {unknown}=…"
            self.findings.append(Finding(where, f"the environment variable {unknown} is not set", fix))
        return document.folder / "unknown"

    def _fallback(self, key: str) -> str:
        return str(self.document.place((key,)))


def _listed(given: str | list[Any]) -> list[Any]:
    return given if isinstance(given, list) else [given]


def _range_yaml(task: Task, name: ExpertName) -> str:
    timesteps = task.timestep_range(name)
    return "{}" if timesteps is None else f"train: {{timestep_range: [{timesteps[0]}, {timesteps[1]}]}}"


def _with_notes(spec: Spec, found: list[Finding]) -> Spec:
    from dataclasses import replace

    return replace(spec, notes=(*spec.notes, *found))
