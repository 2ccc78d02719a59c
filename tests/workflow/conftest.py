"""The scripts of users are no package: tests take them from their files."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

SCRIPTS = Path(__file__).parents[2] / "workflow" / "scripts"


@pytest.fixture
def script() -> Callable[[str | Path], ModuleType]:
    """Load a script of the demonstration by name, or any by path."""

    def load(name: str | Path) -> ModuleType:
        path = SCRIPTS / f"{name}.py" if isinstance(name, str) else name
        spec = importlib.util.spec_from_file_location(f"demo_{path.stem}", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return load
