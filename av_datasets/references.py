"""Load the object that a `module:NAME` reference names."""

import re
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

_MODULE = re.compile(r"(?!.*\.py$)[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")


def load_object(reference: str) -> Any:
    """Return the object that a reference names.

    Modules are found as `python -m` finds them: the current directory is searched after the
    installed packages.

    Args:
        reference: `module:NAME`, such as `birds:BIRDS` for BIRDS in birds.py.

    Raises:
        LookupError: The reference has another form, the module cannot be imported, or it has no
            such name.
    """
    module_name, _, name = reference.partition(":")
    if not _MODULE.fullmatch(module_name):
        stem = Path(module_name).name.removesuffix(".py")
        raise _not_loaded(
            reference,
            f"write the module's name and not a path, as {stem or 'module'}:{name}, "
            "and run the command in its folder",
        )
    if str(Path.cwd()) not in sys.path:
        sys.path.append(str(Path.cwd()))
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as error:
        raise _not_loaded(reference, f"no module named {error.name!r}") from error
    except Exception as error:  # whatever the user's module raises
        raise _not_loaded(reference, f"{type(error).__name__}: {error}") from error
    if not hasattr(module, name):
        raise _not_loaded(reference, f"the module {module_name} has no {name!r}")
    return getattr(module, name)


def _not_loaded(reference: str, reason: str) -> LookupError:
    return LookupError(f"{reference!r} cannot be loaded: {reason}")
