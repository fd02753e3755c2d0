"""The SQL of `status` and the policies of the verdicts agree."""

import pytest

from avstore.manifests.catalogue import open_write
from avstore.manifests.lock import writing
from avstore.manifests.store import Store
from avstore.manifests.verdicts import EXTRACTED_AGAIN, POLICIES, Verdict

# What an extraction can find in a clip that it does not store.
FOUND = {v for v in Verdict if POLICIES[v].status == "rejected"} | {
    *EXTRACTED_AGAIN, Verdict.SILENT, Verdict.STILL, Verdict.BLACK,
}  # fmt: skip


def test_sql_knows_the_verdicts_that_are_extracted_again(tmp_path) -> None:
    store = Store(tmp_path)
    with writing(store), open_write(store) as writer:
        status = "SELECT extraction_status(?, ?)"
        for verdict in FOUND:
            (found,) = writer.con.execute(status, [False, verdict]).fetchone()
            expected = POLICIES[verdict].status
            assert found == ("rejected" if expected == "stored" else expected)
            assert writer.con.execute(status, [True, verdict]).fetchone() == ("stored",)
        assert writer.con.execute(status, [True, None]).fetchone() == ("stored",)


@pytest.mark.parametrize("verdict", sorted(EXTRACTED_AGAIN))
def test_they_are_tried_by_the_next_build_without_a_limit(verdict: Verdict) -> None:
    policy = POLICIES[verdict]
    assert (policy.status, policy.retry_after_s, policy.max_attempts) == ("retryable", 0.0, None)
