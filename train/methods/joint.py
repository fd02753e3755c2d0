"""Joint (multitask) training: all tasks' clips at once, shuffled. The upper bound."""

from avstore.train.methods.finetune import Finetune


class Joint(Finetune):
    """Finetuning on the union of the tasks."""

    union_of_tasks = True
