"""The error messages of the installed msgspec: an upgrade that changes them fails here."""

from typing import Annotated, Any, Literal

import msgspec
import pytest

from llmctl.misfits import Misfit, misfit_of


class Inner(msgspec.Struct, forbid_unknown_fields=True):
    share: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.0
    device: Annotated[str, msgspec.Meta(pattern=r"^(cpu|cuda(:\d+)?)$")] = "cpu"
    kind: Literal["a", "b"] = "a"


class Outer(msgspec.Struct):
    inner: Inner = msgspec.field(default_factory=Inner)
    names: list[str] | None = None


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({"names": 3}, {"field": "names", "kinds": ("array", "null")}),
        ({"names": ["x", 4]}, {"field": "names[1]", "kinds": ("str",)}),
        ({"inner": {"share": 2.0}}, {"field": "inner.share", "kinds": ("float",), "bound": "<=", "limit": "1"}),
        ({"inner": {"device": "tpu"}}, {"field": "inner.device", "pattern": r"^(cpu|cuda(:\d+)?)$"}),
        ({"inner": {"kind": "c"}}, {"field": "inner.kind", "is_enum": True}),
        ({"inner": {"shape": 1}}, {"field": "inner", "unknown": "shape"}),
        ([], {"field": "", "kinds": ("object",)}),
    ],
)
def test_each_kind_of_msgspec_error_is_recognised(values: Any, expected: dict[str, Any]) -> None:
    with pytest.raises(msgspec.ValidationError) as error:
        msgspec.convert(values, Outer)
    found = misfit_of(str(error.value))
    assert found == Misfit(**{"words": found.words, **expected})
