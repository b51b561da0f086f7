"""Which packages a run asks of musubi's environment beyond what musubi installs itself."""

from __future__ import annotations

from dataclasses import dataclass

from wan22lora.doctor.needs import modules_for
from wan22lora.errors import Finding
from wan22lora.machine.torch_build import TorchBuild
from wan22lora.musubi.environment import OPTIMIZER_PACKAGES, trackers_of
from wan22lora.musubi.pins import ARTICLE, Pin
from wan22lora.spec.resolved import Spec

_THERE_ANYWAY = frozenset({"torch", "transformers", "bitsandbytes", "accelerate"})


@dataclass(frozen=True)
class Extras:
    """What is installed beside torch and musubi, by the way it must be installed."""

    torch: tuple[str, ...] = ()
    """From torch's own index, together with torch."""
    plain: tuple[str, ...] = ()
    compiled: tuple[str, ...] = ()
    """Compiled here, against the installed torch: needs nvcc and, without a finished wheel, an hour."""

    def __bool__(self) -> bool:
        return bool(self.torch or self.plain or self.compiled)

    @property
    def all(self) -> tuple[str, ...]:
        return (*self.torch, *self.plain, *self.compiled)

    def beyond(self, installed: frozenset[str]) -> Extras:
        """Those that are not installed."""
        return Extras(*(tuple(each for each in kind if each not in installed) for kind in self._kinds()))

    def joined(self, other: Extras) -> Extras:
        """Both, each once and in a fixed order."""
        pairs = zip(self._kinds(), other._kinds(), strict=True)
        return Extras(*(tuple(sorted({*mine, *theirs})) for mine, theirs in pairs))

    def _kinds(self) -> tuple[tuple[str, ...], ...]:
        return (self.torch, self.plain, self.compiled)


def extras_for(spec: Spec | None, pin: Pin, build: TorchBuild, *, article: bool) -> tuple[Extras, tuple[Finding, ...]]:
    """What a run (None: any) needs at a revision of musubi, and what setup cannot install for it."""
    extras = Extras()
    if (
        pin.name == ARTICLE.name
    ):  # its transformers reads the T5 tokenizer through protobuf; the article installs both by hand
        extras = extras.joined(Extras(plain=("protobuf", "six")))
    if article:
        extras = extras.joined(Extras(torch=(f"xformers=={build.xformers}",)))
    findings: list[Finding] = []
    for expert in spec.experts if spec else ():
        attention = expert.settings.attention
        if attention == "xformers":
            extras = extras.joined(Extras(torch=(f"xformers=={build.xformers}",)))
        elif attention == "flash":
            extras = extras.joined(Extras(compiled=("flash-attn",)))
        elif attention == "flash3":
            text = "setup cannot install FlashAttention 3: it must be compiled from its repository, for Hopper GPUs"
            fix = "attention: sdpa, or install it into musubi's environment by hand"
            findings.append(Finding(expert.where("attention"), text, fix, "warning"))
        package, unknown = _optimizer_package(expert.settings.optimizer or "")
        extras = extras.joined(Extras(plain=package))
        if unknown:
            text = f"setup does not know which package holds {unknown}"
            fix = "install it into musubi's environment by hand"
            findings.append(Finding(expert.where("optimizer"), text, fix, "warning"))
        extras = extras.joined(Extras(plain=trackers_of(expert.options)[0]))
    return extras, tuple(dict.fromkeys(findings))


def _optimizer_package(optimizer: str) -> tuple[tuple[str, ...], str]:
    """bitsandbytes, for `…8bit`, is among musubi's own requirements at both pins."""
    module, dot, _ = optimizer.partition(".")
    if not dot or module in _THERE_ANYWAY:
        return (), ""
    return ((OPTIMIZER_PACKAGES[module],), "") if module in OPTIMIZER_PACKAGES else ((), module)


def modules_of(extras: Extras, spec: Spec | None) -> tuple[str, ...]:
    """What Python must be able to import once the extras are there."""
    by_package = {package: module for module, package in OPTIMIZER_PACKAGES.items()}
    by_package |= {"xformers": "xformers.ops", "flash-attn": "flash_attn", "protobuf": "google.protobuf"}
    names = [each.partition("==")[0] for each in extras.all]
    modules = [by_package.get(name, name) for name in names]
    return tuple(dict.fromkeys((*modules, *(modules_for(spec) if spec else ()))))
