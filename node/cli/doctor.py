"""`bizra-node doctor`."""

from __future__ import annotations

import click

from node.checkup import Grade, check_up
from node.cli.session import Session, end_unless, with_session
from node.cli.shapes import table


@click.command()
@with_session
def doctor(session: Session) -> None:
    """Look at home, keys, databases, addresses, clock and model, and say what to do.

    Changes nothing. Ends with 1 if something failed.
    """
    findings = list(check_up(session.home))
    is_well = all(finding.grade is not Grade.FAILED for finding in findings)
    session.tell(
        {
            "ok": is_well,
            "checks": [
                {"check": one.subject, "status": one.grade.value, "detail": one.detail}
                for one in findings
            ],
        },
        table(
            ("CHECK", "STATUS", "DETAIL"),
            [(one.subject, one.grade.value, one.detail) for one in findings],
            empty="",
        ),
    )
    end_unless(done=is_well)
