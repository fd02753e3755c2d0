"""Send a user's function to other processes."""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Portable:
    """A function that can be sent to other processes, also a lambda, or one of a notebook.

    Attributes:
        function: The function.
    """

    function: Callable[..., Any]

    def __call__(self, *arguments: Any) -> Any:
        """Call the function."""
        return self.function(*arguments)

    def __reduce__(self) -> Any:
        import cloudpickle  # noqa: PLC0415 -- only for loaders with a function and processes

        # Compressed: what cloudpickle sends by value must not look like a reference to the user's
        # script, which would be run again.
        return _restored, (zlib.compress(cloudpickle.dumps(self.function)),)


def _restored(content: bytes) -> Portable:
    import cloudpickle  # noqa: PLC0415 -- see above

    return Portable(cloudpickle.loads(zlib.decompress(content)))
