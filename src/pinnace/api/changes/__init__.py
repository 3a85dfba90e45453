"""Differences between API versions: the only knowledge of old clients.

A request is upgraded oldest change first; an answer is downgraded newest change first. A client
of the newest version meets none of them.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache

from pinnace.api.changes import (
    v1_01,
    v1_02,
    v1_03,
    v1_04,
    v1_05,
    v1_06,
    v1_07,
    v1_08,
    v1_09,
    v1_12,
    v1_13,
    v1_15,
    v1_19,
    v1_20,
    v1_21,
    v1_22,
    v1_23,
    v1_24,
    v1_25,
    v1_28,
    v1_30,
    v1_34,
    v1_35,
    v1_39,
    v1_40,
    v1_41,
    v1_42,
    v1_43,
    v1_44,
    v1_45,
    v1_46,
    v1_47,
    v1_48,
    v1_49,
    v1_50,
    v1_51,
    v1_52,
    v1_53,
    v1_54,
    v1_55,
    v1_56,
)
from pinnace.api.changes.change import (
    EVERY_OPERATION,
    Behaviour,
    Change,
    JsonObject,
    QueryMap,
    RequestMessage,
    ResponseMessage,
)
from pinnace.api.versions import Version

CHANGES: tuple[Change, ...] = tuple(
    change
    for module in (
        v1_01,
        v1_02,
        v1_03,
        v1_04,
        v1_05,
        v1_06,
        v1_07,
        v1_08,
        v1_09,
        v1_12,
        v1_13,
        v1_15,
        v1_19,
        v1_20,
        v1_21,
        v1_22,
        v1_23,
        v1_24,
        v1_25,
        v1_28,
        v1_30,
        v1_34,
        v1_35,
        v1_39,
        v1_40,
        v1_41,
        v1_42,
        v1_43,
        v1_44,
        v1_45,
        v1_46,
        v1_47,
        v1_48,
        v1_49,
        v1_50,
        v1_51,
        v1_52,
        v1_53,
        v1_54,
        v1_55,
        v1_56,
    )
    for change in module.CHANGES
)
"""Every change, oldest first."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What one operation does for clients of one version.

    Attributes:
        behaviour: How it is carried out.
        queries: Changes that rewrite query parameters, oldest first.
        bodies: Changes that rewrite the request's body, oldest first.
        answers: Changes that rewrite the answer, newest first.
    """

    behaviour: Behaviour
    queries: tuple[Change, ...] = ()
    bodies: tuple[Change, ...] = ()
    answers: tuple[Change, ...] = ()

    def upgrade_query(self, query: QueryMap) -> None:
        """Rewrite query parameters in place."""
        for change in self.queries:
            if change.upgrade_query is not None:
                change.upgrade_query(query)

    def upgrade(self, message: RequestMessage) -> None:
        """Rewrite a JSON body in place.

        Raises:
            InvalidParameter: The old version does not allow what is asked for.
        """
        for change in self.bodies:
            if change.upgrade is not None:
                change.upgrade(message)

    def downgrade(self, message: ResponseMessage) -> None:
        """Rewrite an answer in place."""
        for change in self.answers:
            _downgrade_items(change, message)
            if change.reshape is not None:
                change.reshape(message)

    def downgrade_item(self, item: JsonObject) -> bool:
        """Rewrite one message of a stream in place; False: the client must not see it."""
        for change in self.answers:
            if change.hide is not None and change.hide(item):
                return False
            if change.downgrade is not None:
                change.downgrade(item)
        return True


@lru_cache(maxsize=4096)  # 57 versions of some 60 operations that have changes
def plan_for(operation: str, version: Version) -> Plan:
    """Return what `operation` does for clients of `version`."""
    concerned = [
        change
        for change in CHANGES
        if version < change.version
        and (operation in change.operations or EVERY_OPERATION in change.operations)
    ]
    return Plan(
        behaviour=_behaviour(concerned),
        queries=tuple(change for change in concerned if change.upgrade_query),
        bodies=tuple(change for change in concerned if change.upgrade),
        answers=tuple(
            change
            for change in reversed(concerned)
            if change.downgrade or change.hide or change.reshape
        ),
    )


def _behaviour(changes: Iterable[Change]) -> Behaviour:
    behaviour = Behaviour()
    for change in changes:
        behaviour = replace(behaviour, **change.behaviour)
    return behaviour


def _downgrade_items(change: Change, message: ResponseMessage) -> None:
    if isinstance(message.body, list):
        if change.hide is not None:
            hidden = change.hide
            message.body = [
                item for item in message.body if not (isinstance(item, dict) and hidden(item))
            ]
        items = [item for item in message.body if isinstance(item, dict)]
    else:
        items = [message.body] if isinstance(message.body, dict) else []
    if change.downgrade is not None:
        for item in items:
            change.downgrade(item)
