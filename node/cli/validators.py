"""`validators`: who votes, and this node's own way to a seat and back."""

from __future__ import annotations

from collections.abc import Callable

import click

from node.cli.about import tolerance
from node.cli.session import Session, end_unless, with_session
from node.cli.shapes import pairs, short, table
from node.client import Client
from node.views.records import DeedView, RegistryView, ValidatorsView

_AMOUNT = click.IntRange(1, 2**63 - 1)


@click.group()
def validators() -> None:
    """Show who decides the next block; register for a seat, stake, leave."""


@validators.command("list")
@click.option("--all", "everybody", is_flag=True, help="Candidates too, with all stakes.")
@with_session
def listed(session: Session, *, everybody: bool) -> None:
    """Show the seats of this epoch, or with --all everybody who has something at stake."""
    with session.client() as client:
        if everybody:
            registry = client.registry()
            session.tell(registry, _registry_text(registry))
            return
        view = client.validators()
    session.tell(view, _seats_text(view))


@validators.command()
@click.option(
    "--stake", type=_AMOUNT, help="How much to bind (default: the least that is allowed)."
)
@click.option("--name", help="What people read in lists (default: the name of this node).")
@with_session
def register(session: Session, *, stake: int | None, name: str | None) -> None:
    """Reserve the stake and ask for a seat.

    Validators then approve it (`bizra-node admit ID --validator`), and `activate` takes it.
    """
    with session.client() as client:
        least = client.parameters().parameters["min_stake"]
        view = client.register_validator(name or client.status().name, stake or int(least))
    session.tell(
        view,
        f"{short(view.validator_id)}: {view.status}; transaction {view.tx_hash}\n"
        "Once the validators have approved it: bizra-node validators activate",
    )
    end_unless(done=view.status == "registered")


def _deed(name: str, about: str) -> None:
    @with_session
    def command(session: Session) -> None:
        _run(session, lambda client: client.validator_deed(name, {}))

    command.__doc__ = about
    validators.command(name)(command)


def _amount_deed(name: str, about: str) -> None:
    @click.argument("amount", type=_AMOUNT)
    @with_session
    def command(session: Session, *, amount: int) -> None:
        _run(session, lambda client: client.validator_deed(name, {"amount": str(amount)}))

    command.__doc__ = about
    validators.command(name)(command)


def _delegation_deed(name: str, about: str) -> None:
    @click.argument("validator", metavar="ID")
    @click.argument("amount", type=_AMOUNT)
    @with_session
    def command(session: Session, *, validator: str, amount: int) -> None:
        wanted = {"validator": validator, "amount": str(amount)}
        _run(session, lambda client: client.validator_deed(name, wanted))

    command.__doc__ = about
    validators.command(name)(command)


_deed("activate", "Take the seat that was approved; this node must have caught up.")
_deed("leave", "Give up the seat, or the wish for one. Stake comes back after the lock.")
_deed("rotate-key", "Vote with a fresh key from the next epoch on.")
_amount_deed("stake", "Bind AMOUNT more of this node's own money.")
_amount_deed("unstake", "Take AMOUNT of it back, after the lock.")
_delegation_deed(
    "delegate", "Bind AMOUNT to the validator ID: it counts in its power and shares its risk."
)
_delegation_deed("undelegate", "Take AMOUNT back from the validator ID, after the lock.")


@validators.command()
@click.argument("node", metavar="ID")
@with_session
def remove(session: Session, *, node: str) -> None:
    """Say this validator's word against the seat of ID; more than two thirds of the power take it away."""
    _run(session, lambda client: client.validator_deed("remove", {"node_id": node}))


@validators.command()
@click.argument("name", required=False)
@click.argument("value", type=click.IntRange(0, 2**63 - 1), required=False)
@with_session
def parameters(session: Session, *, name: str | None, value: int | None) -> None:
    """Show the federation's constants, or say this validator's word for another VALUE of NAME."""
    if (name is None) != (value is None):
        raise click.UsageError("give both NAME and VALUE, or neither")
    if name is not None and value is not None:
        _run(session, lambda client: client.approve_parameter(name, value))
        return
    with session.client() as client:
        view = client.parameters()
    rows = [(key, str(shown)) for key, shown in view.parameters.items()]
    session.tell(view, pairs([*rows, ("protocol_version", str(view.protocol_version))]))


def _run(session: Session, deed: Callable[[Client], DeedView]) -> None:
    with session.client() as client:
        view = deed(client)
    session.tell(
        view,
        pairs([("done", view.operation), ("status", view.status), ("transaction", view.tx_hash)]),
    )
    end_unless(done=view.status == "finalized")


def _seats_text(view: ValidatorsView) -> str:
    rows = [
        (short(seat.node_id), str(seat.power), short(seat.voting_key)) for seat in view.validators
    ]
    head = (
        f"Epoch {view.epoch}: quorum {view.quorum} of {view.total_power}, "
        f"{tolerance(view.faults_tolerated)}"
    )
    return f"{head}\n\n{table(('NODE', 'POWER', 'VOTING KEY'), rows, empty='')}\n\nTo pin: {view.epoch}:{view.hash}"


def _registry_text(view: RegistryView) -> str:
    heads = ("NODE", "NAME", "STATE", "STAKE", "DELEGATED", "UNBONDING", "POWER")
    rows = [
        (
            short(one.id),
            one.name or "-",
            one.state,
            one.stake,
            one.delegated,
            one.unbonding,
            str(one.power),
        )
        for one in view.validators
    ]
    return table(heads, rows, empty="Nobody has anything at stake.")
