"""docs/compatibility.md is what its laws say, and the cells that always run leave no pair out."""

from tests.integration import compatibility


def test_the_page_is_not_stale() -> None:
    assert compatibility.PAGE.read_text() == compatibility.page(), "python -m tests.integration.compatibility"


def test_every_pair_of_values_always_runs() -> None:
    seen = set().union(*map(compatibility.pairs_of, compatibility.pairs()))
    assert seen == set().union(*map(compatibility.pairs_of, compatibility.cells()))
    assert len(compatibility.pairs()) < 60
