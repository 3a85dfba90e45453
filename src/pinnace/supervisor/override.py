"""The `override` mark for type checkers; `typing` has it from Python 3.12 on."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing_extensions import override
else:

    def override(method: object) -> object:
        """Return the method as it is."""
        return method


__all__ = ["override"]
