"""How a torch model becomes a batch function: evaluation mode, no gradients, true float32."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avstore.pipelines.features.extractor import Batch


def batch_of(model: Any, device: str, forward: Callable[[Any], Any]) -> Batch:
    """A batch function of `forward`, which takes and gives tensors on `device`.

    TensorFloat-32 is off: it would make a GPU's numbers others than a CPU's in the third digit.
    """
    import torch  # noqa: PLC0415 -- heavy

    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False
    model.eval().requires_grad_(False).to(device)

    def run(items: NDArray[Any]) -> NDArray[Any]:
        with torch.inference_mode():
            given = torch.from_numpy(np.ascontiguousarray(items)).to(device)
            found: NDArray[Any] = forward(given).float().cpu().numpy()
            return found

    return run
