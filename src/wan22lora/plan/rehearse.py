"""A plan played by stand-ins."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace

from wan22lora.plan.model import Plan
from wan22lora.spec.resolved import Spec


def rehearse(plan: Plan, spec: Spec) -> Plan:
    """The same plan with this program's stand-ins in front of each command: nothing is trained."""
    stand_in = (sys.executable, "-m", "wan22lora.rehearsal")
    return replace(
        plan,
        steps=tuple(
            replace(
                step,
                argv=(*stand_in, *step.argv),
                cwd=spec.folder,
                env={**_without_musubi(step.env), "WAN22LORA_PIN": spec.pin.name, "WAN22LORA_STEP": step.id},
                can_wait=False,  # a stand-in has nothing to import
            )
            for step in plan.steps
        ),
    )


def _without_musubi(env: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if name != "PYTHONPATH"}
