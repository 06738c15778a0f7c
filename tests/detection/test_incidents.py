"""Every incident a filter could see: the signs it shows, the tier it reaches, and that no verdict repeats a leaked value."""

import json
from pathlib import Path

import pytest

import overread

from .incidents import INCIDENTS, TIERS, UNSEEN, Incident, said, table

DOCUMENT = Path(__file__).parents[2] / "docs/incidents.md"


@pytest.fixture(scope="module")
def scanner() -> overread.Scanner:
    """The shipped rules."""
    return overread.Scanner()


@pytest.mark.parametrize("incident", INCIDENTS, ids=lambda i: i.id)
def test_incident_shows_its_signs_and_keeps_its_secrets(scanner: overread.Scanner, incident: Incident) -> None:
    for response, verdict in said(scanner, incident):
        assert set(incident.signs) <= {f.rule for f in verdict.findings}
        assert TIERS.index(verdict.tier) >= TIERS.index(incident.tier)
        # Below strong every sign is still reported, with what it is worth.
        assert (verdict.bits > 0) == bool(incident.signs)
        shown = json.dumps(verdict.to_dict()) + verdict.explain() + repr(verdict)
        for secret in response.secrets:
            # Digests are hexadecimal: a secret that is so as well meets them by chance in six digits.
            size = 6 if set(secret) - set("0123456789abcdef") else 14
            for at in range(len(secret) - size + 1):
                assert secret[at : at + size] not in shown


@pytest.mark.parametrize("incident", [i for i in INCIDENTS if i.tier in ("strong", "certain")], ids=lambda i: i.id)
def test_an_alarm_names_the_place_and_adds_groups(scanner: overread.Scanner, incident: Incident) -> None:
    for response, verdict in said(scanner, incident):
        assert len({t.group for t in verdict.terms}) >= 2
        assert verdict.first_offset is not None
        # No secret leaves before the place the verdict names.
        first = min(response.body.find(s.encode()) for s in response.secrets if s.encode() in response.body)
        assert verdict.first_offset <= first


def test_rebuilt_responses_differ_and_are_the_same_again(scanner: overread.Scanner) -> None:
    for incident in INCIDENTS:
        one, two = said(scanner, incident), said(scanner, incident)
        assert [r for r, _ in one] == [r for r, _ in two]
        assert len({(r.body, r.headers, r.reason) for r, _ in one}) > 3


def test_the_committed_table_is_what_the_scanner_says() -> None:
    assert DOCUMENT.read_text() == table(), "redraw it: python -m tests.detection.incidents > docs/incidents.md"
    assert len(UNSEEN) == len(set(UNSEEN))
