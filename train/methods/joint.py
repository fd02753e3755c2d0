"""Joint (multitask) training on all tasks' clips, shuffled. The upper bound."""

from avstore.train.methods.finetune import Finetune


class Joint(Finetune):
    """Finetunes on the union of the tasks."""

    union_of_tasks = True
