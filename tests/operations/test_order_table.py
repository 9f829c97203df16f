"""The table of docs/orders.md: each combination of a state and an order has the effect that it says."""

from itertools import product

import psycopg
import pytest
from redis import Redis

from dev.reaper import ROOT
from tests.conftest import Urls
from tests.support.order_table import ORDERS, STATES, VARIANTS, Row, Stage, rows
from tests.support.service import Service

ROWS = list(rows((ROOT / "docs" / "orders.md").read_text()))


def test_the_table_has_each_combination_once() -> None:
    """The table has a row for each state and each order, and no other."""
    assert sorted((row.state, row.order) for row in ROWS) == sorted(product(STATES, ORDERS))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.state}: {row.order}")
def test_an_order_has_the_effect_of_the_table(
    patient_shared_service: Service,
    migrated: Urls,
    database: psycopg.Connection,
    cache: Redis,
    row: Row,
) -> None:
    """Status, change of the version and status of the session are those of the row, for each variant."""
    stage = Stage(patient_shared_service, migrated["MIGRATION_DATABASE_URL"], database, cache)
    played = tuple(stage.play(row.state, row.order, variant) for variant in VARIANTS)
    assert played == row.effects
