"""What every model of a YAML file has in common: no unknown keys, and the values that the JSON schema takes."""

from __future__ import annotations

from collections.abc import Iterator
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, Strict, StringConstraints, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

Positive = Annotated[int, Field(gt=0)] | Annotated[float, Field(gt=0)]
NotNegative = Annotated[int, Field(ge=0)] | Annotated[float, Field(ge=0)]
Side = Annotated[int, Field(le=8192)]
PathText = Annotated[str, StringConstraints(min_length=1)]
Scalar = bool | int | float | str
Argument = Scalar | list[Scalar]
Count = Annotated[int, Strict(), Field(ge=0)] | Annotated[float, Strict(), Field(ge=0)]
Percentage = Annotated[str, StringConstraints(pattern=r"^\d+(\.\d+)?%$")]
OptionValue = bool | int | float | str | list[int | float | str]


class Keys(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, strict=False, allow_inf_nan=False
    )

    @field_validator("*", mode="before")
    @classmethod
    def _as_the_json_schema_reads_it(cls, value: Any, info: ValidationInfo) -> Any:
        """pydantic takes true for 1, "16" for 16 and yes for true; editors that check by the JSON schema do not."""
        kinds = set(_kinds(cls.model_fields[info.field_name or ""].annotation))
        if bool in kinds and not kinds & {int, float, str} and not isinstance(value, bool | None):
            raise PydanticCustomError("bool_type", "Input should be true or false")
        if kinds & {int, float} and (
            (isinstance(value, bool) and bool not in kinds) or (isinstance(value, str) and str not in kinds)
        ):
            wanted = "a number" if float in kinds else "a whole number"
            raise PydanticCustomError("number_type", f"Input should be {wanted}")
        return value


def _kinds(annotation: Any) -> Iterator[type]:
    """The plain types that a field's annotation allows; words of a Literal count as str."""
    if get_origin(annotation) is Literal:
        yield str
    elif get_origin(annotation) is Annotated:
        yield from _kinds(get_args(annotation)[0])
    elif get_origin(annotation) in (Union, UnionType):
        for part in get_args(annotation):
            yield from _kinds(part)
    elif isinstance(annotation, type):
        yield annotation
