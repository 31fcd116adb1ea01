"""Put a mutant in the place of code that is loaded already."""

from __future__ import annotations

import functools
import gc
import sys
import types
from collections.abc import Iterator
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from typing import Any, NamedTuple

from tools.mutation.mutants import Mutant, fingerprint
from tools.mutation.scope import ROOT, modules


class Loaded(NamedTuple):
    """What is loaded of the library: its functions, its caches of results, and the code of its modules."""

    functions: list[types.FunctionType]
    caches: list[Any]
    modules: dict[str, types.CodeType]

    @classmethod
    def now(cls) -> Loaded:
        """Find them. That can't be done any more once the collector's objects are frozen."""
        found = gc.get_objects()
        ours = str(ROOT / "envelope_codec")
        return cls(
            [
                each
                for each in found
                if isinstance(each, types.FunctionType) and each.__code__.co_filename.startswith(ours)
            ],
            [each for each in found if isinstance(each, functools._lru_cache_wrapper)],
            {module: _compiled(module, (ROOT / module).read_text("utf-8")) for module in modules()},
        )


def swap(mutant: Mutant, loaded: Loaded) -> bool:
    """Give the loaded functions the mutant's code. False if that can't be: the change is not in a function's body."""
    pairs = list(_changed(loaded.modules[mutant.module], _compiled(mutant.module, mutant.source)))
    for old, new in pairs:
        named = [found for found in loaded.functions if _is_of(found, old)]
        if not named or any(len(found.__code__.co_freevars) != len(new.co_freevars) for found in named):
            return False
        for found in named:
            found.__code__ = new
    for cache in loaded.caches:
        cache.cache_clear()
    return bool(pairs)


def _compiled(module: str, source: str) -> types.CodeType:
    return compile(source, str(ROOT / module), "exec", dont_inherit=True)


def _changed(old: types.CodeType, new: types.CodeType) -> Iterator[tuple[types.CodeType, types.CodeType]]:
    """Yield the outermost functions that differ. Nothing if more differs than the bodies of functions."""
    if _without_nested(old) != _without_nested(new):
        return
    pairs = list(zip(_nested(old), _nested(new), strict=True))
    for one, another in pairs:
        if fingerprint(one) == fingerprint(another):
            continue
        if one.co_flags & 2:  # a function: its variables are fast locals
            yield one, another
        else:
            yield from _changed(one, another)


def _nested(code: types.CodeType) -> list[types.CodeType]:
    return [constant for constant in code.co_consts if isinstance(constant, types.CodeType)]


def _without_nested(code: types.CodeType) -> object:
    constants = [
        constant.co_name if isinstance(constant, types.CodeType) else (type(constant).__name__, repr(constant))
        for constant in code.co_consts
    ]
    return code.co_code, constants, code.co_names


def _is_of(function: types.FunctionType, code: types.CodeType) -> bool:
    loaded = function.__code__
    same = loaded.co_name == code.co_name and loaded.co_firstlineno == code.co_firstlineno
    return same and loaded.co_filename == code.co_filename


class Instead(MetaPathFinder):
    """Imports the mutant in place of its module. For what runs while a module is imported."""

    def __init__(self, mutant: Mutant) -> None:
        self._source = mutant.source
        self._name = mutant.module.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    def install(self) -> None:
        """Import the mutant from now on. Nothing of the library may be loaded yet."""
        assert not any(name.split(".")[0] == "envelope_codec" for name in sys.modules)
        sys.meta_path.insert(0, self)

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
        if fullname != self._name:
            return None
        spec = PathFinder.find_spec(fullname, path)  # type: ignore[arg-type]
        assert spec is not None
        assert isinstance(spec.loader, SourceFileLoader)
        spec.loader = _Changed(spec.loader, self._source)
        return spec


class _Changed(SourceFileLoader):
    def __init__(self, loader: SourceFileLoader, source: str) -> None:
        super().__init__(loader.name, loader.path)
        self._source = source

    def get_code(self, fullname: str) -> types.CodeType:
        return compile(self._source, self.path, "exec", dont_inherit=True)
