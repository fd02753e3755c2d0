"""Load the object that a `module:NAME` reference names."""

import sys
from importlib import import_module
from pathlib import Path
from typing import Any


def load_object(reference: str) -> Any:
    """Return the object that a reference names.

    Modules are found as `python -m` finds them: the current directory is searched after the
    installed packages.

    Args:
        reference: `module:NAME`, such as `birds:BIRDS` for BIRDS in birds.py.

    Raises:
        LookupError: The module cannot be imported, or has no such name.
    """
    module_name, _, name = reference.partition(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as error:
        raise _not_loaded(reference, f"no module named {error.name!r}") from error
    except (ImportError, SyntaxError, ValueError) as error:
        raise _not_loaded(reference, str(error)) from error
    if not hasattr(module, name):
        raise _not_loaded(reference, f"the module {module_name} has no {name!r}")
    return getattr(module, name)


def _not_loaded(reference: str, reason: str) -> LookupError:
    return LookupError(f"{reference!r} cannot be loaded: {reason}")
