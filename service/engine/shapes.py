"""Types with shapes: ``Float[Tensor, "rows d_model"]``.

Only the tests need jaxtyping, which checks the shapes at run time. A type checker reads such an annotation as plain
``Tensor``, as does Python if jaxtyping is not installed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

if TYPE_CHECKING:
    from typing import Annotated as Bool
    from typing import Annotated as Float
    from typing import Annotated as Int
else:
    try:
        from jaxtyping import Bool, Float, Int
    except ModuleNotFoundError:

        class _Unchecked:
            """Replaces jaxtyping's types: subscripted, it is the bare array type."""

            def __class_getitem__(cls, item):
                array_type, _shape = item
                return array_type

        Bool = Float = Int = _Unchecked

__all__ = ["Bool", "Float", "Int", "Tensor"]
