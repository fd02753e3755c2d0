"""An order with defects; a module of its own, which worker processes import quickly."""

import os
import signal
import time
from dataclasses import dataclass

from avstore.train.data import EpochOrder, Rows


@dataclass(frozen=True)
class Troubled(EpochOrder):
    """An order that does something at a step, in worker processes only.

    Workers ask for the rows of their following step too.
    """

    trouble: str = ""
    step: int = 3
    main: int = 0

    def rows(self, step: int) -> Rows:
        if step == self.step and os.getpid() != self.main:
            if self.trouble == "kill":
                os.kill(os.getpid(), signal.SIGKILL)
            if self.trouble == "sleep":
                time.sleep(600)
            raise ZeroDivisionError("a defect of the order")
        return super().rows(step)
