"""Learning classes task by task: what each method keeps of the first ones, on made-up features."""

from functools import cache

import pytest
import torch

from avstore.train.methods import Setup, find_method
from tests.train.methods.replay import Replay
from tests.train.systems.uavm.features import MadeUp, system

TASKS, EPOCHS, BATCH = 2, 15, 16


@cache
def kept(name: str) -> tuple[float, float]:
    """Accuracy on the first and on the second task's clips after both, among all 20 classes."""
    data = MadeUp()
    torch.manual_seed(0)
    found = find_method(name)
    options = {"memory_size": 40} if "memory_size" in found.Options.model_fields else {}
    method = found(system(data.config()), found.Options(**options), Setup(batch_size=BATCH)).train()
    trained = [p for p in method.parameters() if p.requires_grad]
    method.optimizer = torch.optim.Adam(trained, 1e-3, (0.95, 0.999))
    replay, step = Replay(method), 0
    tasks = torch.arange(len(data.truth)).chunk(TASKS)
    draw = torch.Generator().manual_seed(0)
    for number, rows in enumerate(tasks):
        method.task_started(number)
        for _ in range(EPOCHS):
            order = rows[torch.randperm(len(rows), generator=draw)]
            for part in order.split(BATCH):
                torch.manual_seed(step)
                losses = method(*replay(data.training(part, step)))
                method.optimizer.zero_grad(set_to_none=False)
                sum(losses.values()).backward()
                method.optimizer.step()
                method.after_step()
                step += 1
        method.task_ended(number, lambda rows=rows: data.plain(rows))
    groups = {str(number): [str(row) for row in rows.tolist()] for number, rows in enumerate(tasks)}
    scores = method.evaluated().scores(data.evaluation(), groups)
    return scores["0"]["both_accuracy"], scores["1"]["both_accuracy"]


def test_finetuning_learns_the_second_task_and_forgets_the_first() -> None:
    first, second = kept("finetune")
    assert second > 90
    assert first < 50


@pytest.mark.parametrize("name", ["er", "icarl", "lwf", "ewc"])
def test_a_method_keeps_more_of_the_first_task_than_finetuning(name: str) -> None:
    first, second = kept(name)
    assert second > 90
    assert first > kept("finetune")[0] + 15
