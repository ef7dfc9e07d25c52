"""Stripe's nested form encoding: `metadata[a]=1&expand[0]=x&expand[]=y` as a tree of strings.

Nothing is interpreted here; what a value means is decided by the parameter types.
"""

from __future__ import annotations

from urllib.parse import parse_qsl

from sandbox.stripe.errors import ApiError

Tree = dict[str, "Tree | str"]
"""Lists are trees whose keys are their positions, as text."""

NESTING_MAXIMUM = 12
PARAMETER_COUNT_MAXIMUM = 2000


def pairs(text: str) -> list[tuple[str, str]]:
    """The name-value pairs of a query string or a form body, in order."""
    try:
        return parse_qsl(
            text,
            keep_blank_values=True,
            max_num_fields=PARAMETER_COUNT_MAXIMUM,
            errors="strict",
        )
    except ValueError as error:
        raise ApiError(f"Invalid request body: {error}") from error


def tree(items: list[tuple[str, str]]) -> Tree:
    """The pairs as a tree; a later value of the same name replaces an earlier one."""
    root: Tree = {}
    for name, value in items:
        _put(root, _path(name), value)
    return root


def _path(name: str) -> list[str]:
    head, bracket, rest = name.partition("[")
    if not bracket:
        return [name]
    if not name.endswith("]") or not head:
        raise ApiError(f"Invalid request: unable to parse the parameter name '{name}'.")
    keys = [head, *rest[:-1].split("][")]
    if len(keys) > NESTING_MAXIMUM or any("[" in key or "]" in key for key in keys):
        raise ApiError(f"Invalid request: unable to parse the parameter name '{name}'.")
    return keys


def _put(root: Tree, path: list[str], value: str) -> None:
    node = root
    for key in path[:-1]:
        child = node.setdefault(key or str(len(node)), {})
        if isinstance(child, str):
            raise ApiError(f"Invalid request: '{key}' is given both as a value and as a hash.")
        node = child
    last = path[-1] if path[-1] or len(path) == 1 else str(len(node))
    if isinstance(node.get(last), dict):
        raise ApiError(f"Invalid request: '{last}' is given both as a value and as a hash.")
    node[last] = value
