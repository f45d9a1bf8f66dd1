"""Ids in addresses: a route only matches what can be an id, so nothing else reaches a query."""

from __future__ import annotations

from starlette.convertors import Convertor, register_url_convertor

from kloc.crowd.endpoint.ids import ENTITY


class EntityConvertor(Convertor[str]):
    regex = ENTITY.pattern

    def convert(self, value: str) -> str:
        return value

    def to_string(self, value: str) -> str:
        return value


def register() -> None:
    """Make ``{name:entity}`` known to the router."""
    register_url_convertor("entity", EntityConvertor())
