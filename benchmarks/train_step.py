"""Measure training steps a second, beside a straightforward form and the machine's ceiling.

    python -m benchmarks.train_step --shards data --size tiny --batch 12
    python -m benchmarks.train_step --shards data --size full --batch 48 --precision bf16   # GPU

Both forms take turns in one run. Utilisation is the floating-point operations of a step's matrix
products (counted by torch) a second, as a share of what one large matrix product reaches.
"""

import argparse
import json
import statistics
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
from benchmarks.step_timing import (
    add_options,
    apart,
    device_peak,
    matmul_flops,
    name_of,
    timed,
    write_attention_out,
)

_FORMS = ("ours", "plain")


def main() -> None:
    """Measure the methods, print a table and write the numbers."""
    args = parse()
    device = torch.device(args.device)
    store = open_store(args.shards)
    if args.work:
        print(json.dumps(memory(args, *args.work.split(":"), store, device)))
        return
    result: dict[str, Any] = {"arguments": vars(args), "device": name_of(device)}
    result["ceiling_flops"] = ceiling = matmul_flops(device, args.precision)
    rows = []
    for method in args.methods.split(","):
        result[method] = found = measure(args, method, store, device)
        found["utilisation"] = found["flops"] / found["ours_s"] / ceiling
        held = [apart("benchmarks.train_step", "--work", f"{method}:{form}") for form in _FORMS]
        found["memory"] = dict(zip(_FORMS, held, strict=True))
        speeds = [args.batch / found["ours_s"], args.batch / found["plain_s"], found["ratio"]]
        loop = [found["utilisation"], found["with_data"], found["wait_share"]]
        rows.append([method, *speeds, *loop, *(_megabytes(one) for one in held)])
    table(
        f"{args.size}, batch {args.batch}, {args.precision}, {name_of(device)}; "
        f"ceiling {ceiling / 1e9:.0f} GFLOP/s",
        [*("method", "samples/s", "plain form", "ratio", "utilisation", "with data", "data wait"),
         *("host (device) MB", "plain form's")],
        rows,
    )  # fmt: skip
    print(write(f"train_step-{args.size}-{device.type}", result))


def parse() -> argparse.Namespace:
    """Parse the command line."""
    p = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    p.add_argument("--shards", required=True, help="a store, or its shards folder")
    add_options(p, batch=12)
    p.add_argument(
        "--methods",
        default="finetune,stella",
        help="separated by commas (default: finetune,stella)",
    )
    p.add_argument(
        "--compile", action="store_true", help="compile the blocks of the trainer's form"
    )
    return p.parse_args()


def memory(
    args: argparse.Namespace, name: str, form: str, store: OpenStore, device: torch.device
) -> dict[str, float | None]:
    """Return the device memory of one form's first steps, in this process."""
    config = configuration(args)
    if form == "plain":
        method = plain_method(name, config.model, 4 * args.batch)
        own = stepper(method, config.model_copy(update={"precision": "fp32"}), device)
    else:
        method = our_method(name, config, 4 * args.batch)
        own = stepper(method, config, device)
    for number, batch in zip(range(3), loader(args, config, method, store), strict=False):
        own.step(batch, number)
    return device_peak(device)


def _megabytes(found: dict[str, Any]) -> str:
    device = found["device_mb"]
    return f"{found['host_mb']:.0f}" + (f" ({device:.0f})" if device is not None else "")


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
    write_attention_out(method)
    counted = stepper(method, full_precision, device)
    counted.step(ready[0], 0)
    with FlopCounterMode(display=False) as counter:
        counted.step(ready[1], 1)
    return int(counter.get_total_flops())


if __name__ == "__main__":
    main()
