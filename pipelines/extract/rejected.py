"""How a stage says that a clip cannot be used."""

from avstore.manifests.verdicts import Verdict


class Rejected(Exception):  # noqa: N818 - a verdict on a clip, not an error of the program
    """A clip that cannot be used: the verdict, and the signal with its value in words."""

    def __init__(self, verdict: Verdict, detail: str) -> None:
        super().__init__(f"{verdict}: {detail}")
        self.verdict = verdict
        self.detail = detail
