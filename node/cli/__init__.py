"""The program `bizra-node`: one module for each group of commands, imported when it is called.

`session.py` has what all commands share: the home, `--json`, how errors end. `shapes.py` draws
tables. Commands that ask the daemon go through `node.client`; none imports libp2p or a model.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import click

_COMMANDS: dict[str, tuple[str, str]] = {
    "run": ("node.cli.run:run", "Run the node in this terminal."),
    "init": ("node.cli.init:init", "Make keys and settings; with --found, a new federation."),
    "leave": ("node.cli.leave:leave", "Say good-bye to the other nodes, and end the daemon."),
    "demo": ("node.cli.demo:demo", "A whole federation on this machine, at real work."),
    "status": ("node.cli.about:status", "The running node at a glance."),
    "id": ("node.cli.about:identity", "This node's id, as other nodes know it."),
    "peers": ("node.cli.about:peers", "The nodes this one knows, or who asks to be let in."),
    "validators": ("node.cli.validators:validators", "Who decides; register, stake, leave."),
    "invite": ("node.cli.joining:invite", "Make an invite that lets one node in."),
    "admit": ("node.cli.joining:admit", "Let a node in, or speak for it as a validator."),
    "expel": ("node.cli.joining:expel", "Speak against a member that has no seat."),
    "token": ("node.cli.token:token", "What other programs may do in this node's name."),
    "tx": ("node.cli.tx:tx", "Pay, and see what became of a transaction."),
    "account": ("node.cli.account:account", "What accounts hold."),
    "block": ("node.cli.block:block", "Look at blocks."),
    "task": ("node.cli.task:task", "Hand in work, and see what came of it."),
    "leaderboard": ("node.cli.ranking:leaderboard", "Who earned the most by tasks."),
    "reputation": ("node.cli.ranking:reputation", "How reliably nodes end what they claim."),
    "fairness": ("node.cli.ranking:fairness", "How evenly rewards fall on the members."),
    "events": ("node.cli.events:events", "What happened, and what happens."),
    "chat": ("node.cli.chat:chat", "Ask a model; the answer comes as it is written."),
    "backends": ("node.cli.backends:backends", "See, add and remove model servers."),
    "caches": ("node.cli.caches:caches", "What is kept of answers, and how often it helps."),
    "models": ("node.cli.chat:models", "What models can be asked here."),
    "transfer": (
        "node.cli.transfer:transfer",
        "Hand files of any size to other nodes, by their hash.",
    ),
    "snapshot": (
        "node.cli.snapshot:snapshot",
        "The ledger's state with its proof: make one, take one.",
    ),
    "topic": ("node.cli.topic:topic", "Tell all members something, and listen to what is told."),
    "spread": ("node.cli.spread:spread", "Work given to many peers in parts."),
    "queue": ("node.cli.queue:queue", "Requests that wait for a model."),
    "trust": ("node.cli.queue:trust", "What peers' answers turned out to be."),
    "receipt": ("node.cli.proof:receipt", "Write the proof of a transaction to a file."),
    "verify": ("node.cli.proof:verify", "Check such a proof offline, with the genesis alone."),
    "audit": ("node.cli.audit:audit", "Execute a node's chain again, and compare all it says."),
    "projections": (
        "node.cli.projections:projections",
        "The read models; make one anew.",
    ),
    "replay": ("node.cli.replay:replay", "Execute the stored chain again, and compare."),
    "recover": ("node.cli.recover:recover", "Go on when validators are lost for good."),
    "config": ("node.cli.settings:config", "Show or check the settings."),
    "bench": ("node.cli.bench:bench", "Measure what the node costs on this machine."),
    "doctor": ("node.cli.doctor:doctor", "Look for what is wrong, and say what to do."),
}


class _Commands(click.Group):
    """Lists commands without importing them."""

    def list_commands(self, _ctx: click.Context) -> list[str]:
        """All names, in the order in which a newcomer meets them."""
        return list(_COMMANDS)

    def get_command(self, _ctx: click.Context, name: str) -> click.Command | None:
        """Import one command."""
        if name not in _COMMANDS:
            return None
        module, _, attribute = _COMMANDS[name][0].partition(":")
        command = getattr(import_module(module), attribute)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The list in `--help`."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in _COMMANDS.items()])


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="bizra-node", message="%(package)s %(version)s")
@click.option("--home", type=click.Path(path_type=Path), help="The node's folder.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.pass_context
def main(ctx: click.Context, home: Path | None, *, as_json: bool) -> None:
    """Run a node of a federation, and talk to it.

    Begin with `bizra-node demo`, or `bizra-node run`. Exit codes: 0 done, 1 failed, 2 wrong usage,
    3 node not reachable.
    """
    ctx.obj = (home, as_json)
