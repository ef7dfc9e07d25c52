"""What each call accepts, read at run time from the parameter types of the pinned SDK.

A name that the SDK's TypedDicts don't know is refused as Stripe refuses it, at any depth, so that a retired or misspelt
parameter can't pass here and fail in production. A parameter that Stripe knows and the stand-in doesn't act on is
refused too, with a code of its own: it is never ignored silently.
"""

from __future__ import annotations

import importlib
import re
import sys
import types
import typing
from collections.abc import Mapping
from functools import cache
from typing import Any, Literal, Union, get_args, get_origin

import typing_extensions
from stripe import RequestOptions

from sandbox.stripe.errors import ApiError, Fields, not_covered
from sandbox.stripe.form_encoding import Tree
from sandbox.stripe.rules import (
    METADATA_COUNT_MAXIMUM,
    METADATA_KEY_LENGTH_MAXIMUM,
    METADATA_VALUE_LENGTH_MAXIMUM,
    RETIRED_PARAMETERS,
    STRING_LENGTH_MAXIMUM,
)
from sandbox.stripe.semantics import Semantic, Semantics

_REQUEST_OPTIONS = frozenset(RequestOptions.__annotations__)
_INTEGER = re.compile(r"-?[0-9]{1,18}\Z")


def sdk_parameters(name: str, *, area: str | None = None) -> type:
    """The SDK's parameter type of that name, such as `PaymentIntentCreateParams`; `area` is its part of the SDK."""
    module_name = re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()
    package = f"stripe.params.{area}" if area else "stripe.params"
    parameters: type = getattr(importlib.import_module(f"{package}._{module_name}"), name)
    return parameters


@cache
def accepted(shape: type) -> dict[str, Any]:
    """Name and type of every parameter of a TypedDict; the SDK's own request options are none."""
    namespace = {**vars(sys.modules[shape.__module__]), "StripeContext": object, "Mapping": Mapping}
    hints = typing_extensions.get_type_hints(shape, globalns=namespace)
    if shape.__module__.startswith("stripe.") and set(hints) >= _REQUEST_OPTIONS:
        return {name: hint for name, hint in hints.items() if name not in _REQUEST_OPTIONS}
    return hints


def read(given: Tree, *, shape: type, covered: frozenset[str], semantics: Semantics) -> Fields:
    """The parameters as Python values, or the refusal that Stripe would answer.

    Values that were given empty to unset something come back as None. `covered` are the top-level names that the
    calling operation acts on.
    """
    clean = _read_object(given, shape=shape, prefix="", semantics=semantics)
    for name in clean:
        if name not in covered:
            raise not_covered(f"the parameter '{name}'", param=name)
    return clean


def _read_object(given: Tree, *, shape: type, prefix: str, semantics: Semantics) -> Fields:
    hints = accepted(shape)
    unknown = [name for name in given if name not in hints]
    for name in unknown:
        is_retired = name in RETIRED_PARAMETERS and "allowed_payment_method_types" in hints
        if is_retired and semantics.has(Semantic.RETIRED_PARAMETERS):
            raise ApiError(
                f"The parameter '{name}' is no longer supported in this API version. "
                "Use 'allowed_payment_method_types' instead.",
                code=RETIRED_PARAMETERS[name],
                param=name,
            )
    if unknown and semantics.has(Semantic.UNKNOWN_PARAMETERS):
        names = ", ".join(_named(name, prefix=prefix) for name in unknown)
        raise ApiError(
            f"Received unknown parameter{'s' if len(unknown) > 1 else ''}: {names}",
            code="parameter_unknown",
            param=_named(unknown[0], prefix=prefix),
        )
    required: frozenset[str] = getattr(shape, "__required_keys__", frozenset())
    for name in hints:
        if name in required and name not in _REQUEST_OPTIONS and name not in given:
            param = _named(name, prefix=prefix)
            raise ApiError(f"Missing required param: {param}.", code="parameter_missing", param=param)
    return {
        name: _read_value(value, hint=hints[name], param=_named(name, prefix=prefix), semantics=semantics)
        for name, value in given.items()
        if name in hints
    }


def _named(name: str, *, prefix: str) -> str:
    return f"{prefix}[{name}]" if prefix else name


def _alternatives(hint: Any) -> list[Any]:
    if get_origin(hint) in (Union, types.UnionType):
        return [inner for option in get_args(hint) for inner in _alternatives(option)]
    return [hint]


def _read_value(value: Tree | str, *, hint: Any, param: str, semantics: Semantics) -> Any:
    options = _alternatives(hint)
    literals = [literal for option in options if get_origin(option) is Literal for literal in get_args(option)]
    if value == "":
        if "" in literals or _mapping_value(options) is not None:
            return None
        raise ApiError(
            f"You passed an empty string for '{param}'. We assume empty values are an attempt to unset a parameter; "
            f"however '{param}' cannot be unset. You should remove '{param}' from your request or supply a non-empty "
            "value.",
            code="parameter_invalid_empty",
            param=param,
        )
    if isinstance(value, dict):
        return _read_tree(value, options=options, param=param, semantics=semantics)
    literals = [literal for literal in literals if literal != ""]
    return _read_text(value, options=options, literals=literals, param=param, semantics=semantics)


def _read_tree(value: Tree, *, options: list[Any], param: str, semantics: Semantics) -> Any:
    for option in options:
        if get_origin(option) in (list, typing.List):  # noqa: UP006 -- the SDK spells its lists this way.
            positions = sorted(value, key=lambda key: int(key) if key.isdigit() else -1)
            if not all(key.isdigit() for key in positions):
                raise ApiError("Invalid array", param=param)
            (inner,) = get_args(option)
            return [
                _read_value(value[key], hint=inner, param=f"{param}[{key}]", semantics=semantics) for key in positions
            ]
        if typing_extensions.is_typeddict(option):
            return _read_object(value, shape=option, prefix=param, semantics=semantics)
    inner = _mapping_value(options)
    if inner is not None:
        return _read_mapping(value, inner=inner, param=param, semantics=semantics)
    raise ApiError("Invalid string: a hash was given where a simple value is expected", param=param)


def _mapping_value(options: list[Any]) -> Any:
    """The type of the values where any key is allowed, as in metadata; None where no such type is among the options."""
    for option in options:
        origin = get_origin(option)
        if origin is dict:
            return get_args(option)[1]
        if isinstance(origin, type) and origin.__name__ == "UntypedStripeObject":
            return get_args(option)[0]
    return None


def _read_mapping(value: Tree, *, inner: Any, param: str, semantics: Semantics) -> Fields:
    if len(value) > METADATA_COUNT_MAXIMUM:
        raise ApiError(f"Too many keys in '{param}': at most {METADATA_COUNT_MAXIMUM} are allowed.", param=param)
    clean: Fields = {}
    for key, item in value.items():
        named = f"{param}[{key}]"
        if len(key) > METADATA_KEY_LENGTH_MAXIMUM:
            raise ApiError(f"Metadata keys can be at most {METADATA_KEY_LENGTH_MAXIMUM} characters long.", param=named)
        if isinstance(item, str) and len(item) > METADATA_VALUE_LENGTH_MAXIMUM:
            raise ApiError(
                f"Metadata values can be at most {METADATA_VALUE_LENGTH_MAXIMUM} characters long.", param=named
            )
        clean[key] = None if item == "" else _read_value(item, hint=inner, param=named, semantics=semantics)
    return clean


def _read_text(value: str, *, options: list[Any], literals: list[Any], param: str, semantics: Semantics) -> Any:
    if bool in options and value in ("true", "false"):
        return value == "true"
    if int in options and _INTEGER.match(value):
        return int(value)
    if value in literals or not semantics.has(Semantic.TYPED_PARAMETERS):
        return value
    if literals and (str in options or len(literals) == len(options) or bool in options):
        allowed = ", ".join(str(literal) for literal in literals)
        raise ApiError(f"Invalid {param}: must be one of {allowed}", param=param)
    if str in options:
        if len(value) > STRING_LENGTH_MAXIMUM or "\x00" in value:
            raise ApiError(f"Invalid string: '{param}' must be at most {STRING_LENGTH_MAXIMUM} characters", param=param)
        return value
    if int in options:
        raise ApiError(f"Invalid integer: {value}", code="parameter_invalid_integer", param=param)
    if bool in options:
        raise ApiError(f"Invalid boolean: {value}", param=param)
    if any(get_origin(option) is list for option in options):
        raise ApiError("Invalid array", param=param)
    if any(typing_extensions.is_typeddict(option) for option in options) or _mapping_value(options) is not None:
        raise ApiError("Invalid hash", param=param)
    raise not_covered(f"the type of the parameter '{param}'", param=param)
