"""Puts the code of an edited module in the place of the code that runs, in this process.

The module itself is not imported anew, because others hold its classes and functions: functions get other code,
values at its top other values, wherever they were imported to.
"""

import inspect
import sys
from datetime import timedelta
from functools import cached_property
from types import CodeType, FunctionType, ModuleType
from typing import Any

from billing.credits.hot_calls import HotCall
from billing.tests.mutation.edits import Mutant

_PLAIN = (int, str, frozenset, tuple, timedelta)


def module_name(path: str) -> str:
    """The module of a path that is relative to the checkout."""
    return path.removesuffix(".py").replace("/", ".")


def install(mutant: Mutant) -> None:
    """Patch this process.

    Raises:
        SyntaxError, and whatever the edited module raises while it is imported: the mutant is none.
    """
    name = module_name(mutant.path)
    module = sys.modules[name]
    edited = ModuleType(name)
    edited.__file__ = module.__file__
    edited.__package__ = module.__package__
    # Dataclasses look their module up while they are made.
    sys.modules[name] = edited
    try:
        exec(compile(mutant.edit.applied(mutant.text), mutant.path, "exec"), edited.__dict__)  # noqa: S102
    finally:
        sys.modules[name] = module
    for key, new in list(vars(edited).items()):
        old = vars(module).get(key)
        if isinstance(old, type) and getattr(old, "__module__", None) == name:
            _patch_class(old, new)
        elif _function(old) is not None and _function(old).__module__ == name:  # type: ignore[union-attr]
            _patch_function(old, new)
        elif isinstance(old, _PLAIN) and not key.startswith("__") and old != new:
            _replace_value(key, old, new)
        elif isinstance(old, HotCall):
            vars(old).update(vars(new))
        elif isinstance(old, dict) and not key.startswith("__"):
            old.clear()
            old.update(new)


def _function(value: Any) -> FunctionType | None:
    """The function behind a value: itself, what a decorator wraps, or what a property reads by."""
    if isinstance(value, property):
        value = value.fget
    elif isinstance(value, cached_property):
        value = value.func
    elif isinstance(value, classmethod | staticmethod):
        value = value.__func__
    value = inspect.unwrap(value) if callable(value) else value
    return value if isinstance(value, FunctionType) else None


def _patch_function(old: Any, new: Any) -> None:
    before, after = _function(old), _function(new)
    if before is None or after is None:
        return
    before.__code__ = after.__code__
    before.__defaults__ = after.__defaults__
    before.__kwdefaults__ = after.__kwdefaults__
    if hasattr(old, "cache_clear"):
        old.cache_clear()


def _patch_class(old: type, new: type) -> None:
    for key, value in vars(new).items():
        if key in vars(old) and _function(value) is not None and key not in ("__init__", "__eq__", "__repr__"):
            _patch_function(vars(old)[key], value)


def _replace_value(key: str, old: Any, new: Any) -> None:
    for module in list(sys.modules.values()):
        if (module.__name__ or "").split(".")[0] in ("accounts", "billing", "console") and vars(module).get(key) is old:
            setattr(module, key, new)


def codes(module: ModuleType) -> dict[CodeType, str]:
    """The functions of a module by their code, with the names that mutants have."""
    found: dict[CodeType, str] = {}
    for key, value in vars(module).items():
        members = [(key, value)]
        if isinstance(value, type) and value.__module__ == module.__name__:
            members = [(f"{key}.{inner}", member) for inner, member in vars(value).items()]
        for name, member in members:
            function = _function(member)
            if function is not None and function.__module__ == module.__name__:
                found[function.__code__] = name
    return found
