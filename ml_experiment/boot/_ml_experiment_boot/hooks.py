"""Calling a function once a module has been imported, without importing it ourselves."""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import ModuleType
    from typing import Any


class _Loader:
    """Stands in for a module's loader until the module has been executed."""

    def __init__(self, inner: Any, after: Callable[[Any], None]) -> None:
        self._inner = inner
        self._after = after

    def create_module(self, spec: Any) -> Any:
        create = getattr(self._inner, "create_module", None)
        return create(spec) if create else None

    def exec_module(self, module: ModuleType) -> None:
        # The module, and whoever looks at it later, sees its true loader.
        if module.__spec__ is not None:
            module.__spec__.loader = self._inner
        module.__loader__ = self._inner
        self._inner.exec_module(module)
        self._after(sys.modules.get(module.__name__, module))

    def __getattr__(self, name: str) -> Any:
        return getattr(object.__getattribute__(self, "_inner"), name)


class Watch:
    """A finder that finds nothing by itself and looks only at the modules it was asked about.

    It works below lazy loaders (a module is seen when it is executed, not when it is found) and
    for reloads (it is seen again), and holds no lock of its own: Python's module locks do.
    """

    def __init__(self) -> None:
        self._actions: dict[str, Callable[[Any], None]] = {}

    def install(self) -> None:
        """Ask it first from now on."""
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)

    def remove(self) -> None:
        """Ask it no more."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def when_imported(self, name: str, action: Callable[[Any], None]) -> None:
        """Call `action(module)` now if `name` is there, and after each execution of it."""
        self._actions[name] = action
        module = sys.modules.get(name)
        if module is not None and type(module).__name__ != "_LazyModule":
            action(module)

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: Any = None) -> Any:
        """The spec that the other finders give, with our loader around theirs."""
        action = self._actions.get(name)
        if action is None:
            return None
        for finder in list(sys.meta_path):
            find = None if finder is self else getattr(finder, "find_spec", None)
            spec = find(name, path, target) if find else None
            if spec is None:
                continue
            if hasattr(spec.loader, "exec_module"):
                spec.loader = _Loader(spec.loader, action)
            return spec
        return None


class Standalone:
    """Finds `ml_experiment` where it is not installed, for the `report` of trials: asked last."""

    @staticmethod
    def install() -> None:
        """Ask it after all others."""
        if Standalone not in sys.meta_path:
            sys.meta_path.append(Standalone)  # type: ignore[arg-type]

    @staticmethod
    def find_spec(name: str, *_: object) -> Any:
        """The file with `report`."""
        if name != "ml_experiment":
            return None
        from importlib.util import spec_from_file_location

        return spec_from_file_location(name, os.path.join(os.path.dirname(__file__), "trial.py"))
