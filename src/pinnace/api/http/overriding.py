"""`override`, which Python 3.11 does not have yet; it only speaks to the type checker."""

from collections.abc import Callable
from typing import TYPE_CHECKING, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

if TYPE_CHECKING:
    # Known to every type checker, never imported when the program runs.
    from typing_extensions import override
else:

    def override(method: Callable[P, R]) -> Callable[P, R]:
        """Mark a method that replaces one of its base class."""
        return method


__all__ = ["override"]
