"""All cases."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.e2e.build_corpus import (
    buildkit,
    copying,
    errors,
    metadata,
    running,
    stages,
    variables,
)

if TYPE_CHECKING:
    from tests.e2e.build_corpus.model import Case

MODULES = (metadata, variables, copying, running, stages, errors, buildkit)
CASES: tuple[Case, ...] = tuple(case for module in MODULES for case in module.CASES)
RECORDED: tuple[Case, ...] = tuple(case for case in CASES if case.expected is None)
EXPECTED: tuple[Case, ...] = tuple(case for case in CASES if case.expected is not None)
