"""Test the forecast that `avstore status --eta` prints."""

from datetime import timedelta

import pytest

from avstore.manifests.catalogue import open_read, open_write
from avstore.manifests.ledger import now
from avstore.manifests.lock import writing
from avstore.manifests.store import Store
from avstore.pipelines.fetch.eta import describe_forecast, forecast


def test_the_counts_of_the_forecast_add_up(recorded_store: Store) -> None:
    at = now()
    with open_read(recorded_store) as con:
        found = forecast(con, "toy", at)
    assert (found.published, found.stored, found.left, found.exhausted) == (20, 10, 5, 2)
    assert found.unavailable == (("private", 3),)
    unavailable = sum(count for _, count in found.unavailable)
    assert found.published == found.stored + found.left + found.exhausted + unavailable
    text = "\n".join(describe_forecast(found, at))
    assert "10 of 20 clips are fetched, 5 are left" in text
    assert "3 are unavailable: private 3" in text
    assert "avstore retry toy" in text


def test_the_rate_is_that_of_the_last_hour(recorded_store: Store) -> None:
    with writing(recorded_store), open_write(recorded_store) as writer:
        con = writer.con
        con.execute("DELETE FROM attempts")
        at = now()
        for number in range(10):  # one every 12 minutes, for two hours
            con.execute(
                "INSERT INTO attempts (clip_id, stage, started_at, outcome, charged) "
                "VALUES (?, 'fetch', ?, 'stored', true)",
                [f"toy/k{number:05d}", at - timedelta(minutes=12 * number + 1)],
            )
        found = forecast(con, "toy", at)
    assert found.rate_per_hour == pytest.approx(5)
    assert found.eta_s == pytest.approx(2 * 3600)
    assert "takes 2 h" in "\n".join(describe_forecast(found, at))
