"""What Wan can be trained for: the tasks, their experts and where one expert hands over to the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

TaskName = Literal["t2v-A14B", "i2v-A14B", "t2v-14B"]
ExpertName = Literal["high", "low", "single"]


@dataclass(frozen=True)
class Task:
    """A task of musubi's `--task`; `boundary` is a timestep of 0 to 1000 (wan/configs at v0.3.4: 0.875 and 0.900)."""

    name: TaskName
    boundary: int | None
    image_to_video: bool = False

    @property
    def experts(self) -> tuple[ExpertName, ...]:
        return ("single",) if self.boundary is None else ("high", "low")

    def timestep_range(self, expert: ExpertName) -> tuple[int, int] | None:
        """The timesteps at which the expert is used; None for a model that covers them all."""
        if self.boundary is None:
            return None
        return (self.boundary, 1000) if expert == "high" else (0, self.boundary)


TASKS: dict[TaskName, Task] = {
    "t2v-A14B": Task("t2v-A14B", boundary=875),
    "i2v-A14B": Task("i2v-A14B", boundary=900, image_to_video=True),
    "t2v-14B": Task("t2v-14B", boundary=None),
}
