"""Measure training steps a second, beside a straightforward form and the machine's ceiling.

    python -m benchmarks.train_step --shards data --size tiny --batch 12
    python -m benchmarks.train_step --shards data --size full --batch 48 --precision bf16   # GPU

Both forms take turns in one run. Utilisation is the floating-point operations of a step's matrix
products (counted by torch) a second, as a share of what one large matrix product reaches.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from functools import partial
from itertools import count
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from avstore.train.config import Config, load_config
from avstore.train.data import (
    Batch,
    ContinualPlan,
    Loader,
    OpenStore,
    PlanSpec,
    open_store,
    sources,
)
from avstore.train.experiment import batch_spec
from avstore.train.methods import find_method
from avstore.train.methods.base import Memory, Method, ReplayMethod, Setup
from avstore.train.optim import make_optimizer
from avstore.train.progress import Meter
from avstore.train.step import Stepper
from avstore.train.systems.cavmae.model import CAVMAE
from benchmarks.common import table, write
from benchmarks.plain_step import plain_method, same_weights, system


def main() -> None:
    """Measure the methods, print a table and write the numbers."""
    args = parse()
    device = torch.device(args.device)
    store = open_store(args.shards)
    result: dict[str, Any] = {"arguments": vars(args), "device": name_of(device)}
    result["ceiling_flops"] = ceiling = matmul_flops(device, args.precision)
    rows = []
    for method in args.methods.split(","):
        measured = measure(args, method, store, device)
        measured["utilisation"] = measured["flops"] / measured["ours_s"] / ceiling
        result[method] = measured
        rows.append(
            [
                *(method, args.batch / measured["ours_s"], args.batch / measured["plain_s"]),
                *(
                    measured["ratio"],
                    measured["utilisation"],
                    measured["with_data"],
                    measured["wait_share"],
                ),
            ]
        )
    table(
        f"{args.size}, batch {args.batch}, {args.precision}, {name_of(device)}; "
        f"ceiling {ceiling / 1e9:.0f} GFLOP/s",
        ["method", "samples/s", "plain form", "ratio", "utilisation", "with data", "data wait"],
        rows,
    )
    print(write(f"train_step-{args.size}-{device.type}", result))


def parse() -> argparse.Namespace:
    """Parse the command line."""
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    p.add_argument("--shards", required=True, help="a store, or its shards folder")
    p.add_argument(
        "--size",
        choices=["tiny", "full"],
        default="tiny",
        help="small model or ViT-B (default: tiny)",
    )
    p.add_argument(
        "--methods",
        default="finetune,stella",
        help="separated by commas (default: finetune,stella)",
    )
    p.add_argument("--batch", type=int, default=12, help="rows of a batch (default: 12)")
    p.add_argument("--steps", type=int, default=10, help="steps to measure (default: 10)")
    p.add_argument("--workers", type=int, default=1, help="loader processes (default: 1)")
    p.add_argument(
        "--precision",
        choices=["fp32", "bf16"],
        default="fp32",
        help="of the forward pass (default: fp32)",
    )
    p.add_argument(
        "--compile", action="store_true", help="compile the blocks of the trainer's form"
    )
    p.add_argument(
        "--device",
        default="cuda" if torch.cuda.is_available() else "cpu",
        help="cpu, cuda or cuda:N (default: cuda if available)",
    )
    return p.parse_args()


def measure(
    args: argparse.Namespace, name: str, store: OpenStore, device: torch.device
) -> dict[str, Any]:
    """Return seconds a step of both forms on loaded batches, and of ours with the loader."""
    config = configuration(args)
    ours = stepper(our_method(name, config, 4 * args.batch), config, device)
    plain_config = config.model_copy(update={"precision": "fp32"})
    method = plain_method(name, config.model, 4 * args.batch)
    same_weights(ours.method, method)
    plain = stepper(method, plain_config, device)
    loaded = iter(loader(args, config, ours.method, store))
    first, *ready = (next(loaded) for _ in range(3))  # the first replays nothing
    flops = count_flops(our_method(name, config, 4 * args.batch), config, [first, ready[1]], device)
    numbers = count()
    for form in (ours, plain):  # the first steps warm up, and fill what is kept
        for batch in (first, *ready):
            form.step(batch, next(numbers))
    times: dict[str, list[float]] = {"ours": [], "plain": []}
    for turn in range(args.steps):
        batch = ready[turn % 2]
        for kind, form in (("ours", ours), ("plain", plain)):
            work = partial(form.step, batch, next(numbers))
            times[kind].append(timed(work, device))
    meter = Meter()
    for _, batch in zip(range(args.steps), meter.timed(loaded), strict=False):
        ours.step(batch, next(numbers))
        meter.samples += len(batch)
    medians = {form: statistics.median(seconds) for form, seconds in times.items()}
    return {
        "ours_s": medians["ours"],
        "plain_s": medians["plain"],
        "ratio": statistics.median(
            p / o for p, o in zip(times["plain"], times["ours"], strict=True)
        ),
        "flops": flops,
        "with_data": meter.rate,
        "wait_share": meter.wait_share,
        "times": times,
        "largest_memory_bytes": torch.cuda.max_memory_allocated()
        if device.type == "cuda"
        else None,
    }


def configuration(args: argparse.Namespace) -> Config:
    """Return the config of the small model, or of the paper's ViT-B."""
    name = "tiny" if args.size == "tiny" else "continual_vs"
    sets = [f"batch_size={args.batch}", f"precision={args.precision}", "data.workers=0"]
    config = load_config(name, {}, [*sets, f"model.compile={str(args.compile).lower()}"])
    return config


def our_method(name: str, config: Config, memory: int) -> Method:
    """Return a method of the trainer with a new model."""
    found = find_method(name)
    sized = {"memory_size": memory} if "memory_size" in found.Options.model_fields else {}
    return found(system(CAVMAE(config.model)), found.Options(**sized), Setup(config.batch_size))


def stepper(method: Method, config: Config, device: torch.device) -> Stepper:
    """Return a stepper on the device."""
    method.to(device)
    layout = method.objective.layout
    return Stepper(method, method, make_optimizer(method, config.optim, layout), config, device)


def loader(args: argparse.Namespace, config: Config, method: Method, store: OpenStore) -> Loader:
    """Return the loader of a run on all of the store's clips, with what the method replays."""
    samples, tasks = sources(store, {"all": "SELECT clip_id FROM trainable"})
    memory = method.memory if isinstance(method, ReplayMethod) else Memory(0, 1)
    spec = PlanSpec(
        batch_size=args.batch, epochs=10_000, replay=method.replay * args.batch,
        memory=memory.rows, reservoirs=memory.reservoirs, drop_last=True,
    )  # fmt: skip
    return Loader(
        ContinualPlan(samples, tasks, spec, seed=0),
        batch_spec(config, training=True),
        workers=args.workers,
    )


def count_flops(method: Method, config: Config, ready: list[Batch], device: torch.device) -> int:
    """Return the floating-point operations of one step's matrix products, with replay.

    Attention counts as two matrix products, whatever kernel computes it.
    """
    full_precision = config.model_copy(update={"precision": "fp32"})
    for module in method.modules():
        if hasattr(module, "plain"):
            module.plain = True  # type: ignore[assignment]
    counted = stepper(method, full_precision, device)
    counted.step(ready[0], 0)
    with FlopCounterMode(display=False) as counter:
        counted.step(ready[1], 1)
    return int(counter.get_total_flops())


def timed(work: Callable[[], Any], device: torch.device) -> float:
    """Return the seconds that `work` takes, with an empty device queue before and after."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    begin = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def matmul_flops(device: torch.device, precision: str) -> float:
    """Return the floating-point operations a second of one large product, the ceiling."""
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    size = 8192 if device.type == "cuda" else 1536
    a, b = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    best = min(timed(lambda: a @ b, device) for _ in range(8))
    return 2 * size**3 / best


def name_of(device: torch.device) -> str:
    """Return the device's name."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"CPU, {torch.get_num_threads()} thread(s)"


if __name__ == "__main__":
    main()
