"""`bizra-node bench`."""

from __future__ import annotations

from dataclasses import asdict

import click

from consensus.operations.transactions import MAX_OPERATIONS, MAX_REMARK_BYTES
from node.bench import endurance, flood, gossip_upkeep, throughput
from node.bench import gateway as gateway_bench
from node.bench import gossip as gossip_bench
from node.bench import lan as lan_bench
from node.bench.bft_smart import bft_smart, bft_smart_bare
from node.bench.consensus import ConsensusFigures, Work, as_json, measure
from node.bench.engine import EngineWork, measure_engine
from node.bench.etcd import etcd
from node.bench.inference import measuring as inference_bench
from node.bench.inference import model_speed, under_load
from node.bench.pysyncobj import pysyncobj
from node.bench.rivals import RivalFigures, measure_rival
from node.cli.session import Session, with_session
from node.cli.shapes import pairs, table
from node.demo.growth import LEAST_FOR_A_FAULT

RIVALS = {
    "bft-smart": bft_smart,
    "bft-smart-bare": bft_smart_bare,
    "etcd": etcd,
    "pysyncobj": pysyncobj,
}


@click.group()
def bench() -> None:
    """Measure what the node costs, on real daemons or in a small world of cores."""


@bench.command()
@click.option("--nodes", type=click.IntRange(1, 64), default=4, show_default=True)
@click.option("--clients", type=click.IntRange(1, 2000), default=64, show_default=True)
@click.option("--seconds", type=click.FloatRange(1, 600), default=10, show_default=True)
@click.option(
    "--payload",
    type=click.IntRange(0, MAX_REMARK_BYTES),
    default=128,
    show_default=True,
    help="Bytes that each transaction carries beside its payments.",
)
@click.option(
    "--operations",
    type=click.IntRange(1, MAX_OPERATIONS - 1),
    default=1,
    show_default=True,
    help="Payments of one transaction, under one signature.",
)
@click.option(
    "--against",
    type=click.Choice(sorted(RIVALS)),
    multiple=True,
    help="Run the same load on this too, where it is installed, and print the ratios.",
)
@click.option("--kill", is_flag=True, help="Kill the primary in the middle; what is left then?")
@click.option(
    "--minutes",
    type=click.FloatRange(0.1, 600),
    help="Load for so long, and look at the memory of the daemons.",
)
@click.option("--flood", "floods", is_flag=True, help="What a member costs that floods the others.")
@with_session
def consensus(
    session: Session,
    *,
    nodes: int,
    clients: int,
    seconds: float,
    payload: int,
    operations: int,
    against: tuple[str, ...],
    kill: bool,
    minutes: float | None,
    floods: bool,
) -> None:
    """Signed transfers from clients to finality: daemons, libp2p, LevelDB, votes synced to disk."""
    work = Work(clients, seconds, 1, payload)
    if floods:
        _flooded(session, flood.measure(nodes, work, _say))
        return
    if kill or minutes is not None:
        _endurance(session, nodes, work, kill=kill, minutes=minutes)
        return
    rivals = [RIVALS[name]() for name in against]
    figures = measure(nodes, Work(clients, seconds, operations, payload), _say)
    others = [
        (ours, measure_rival(one, nodes, ours.clients, seconds, _say))
        for one in rivals
        for ours in figures
    ]
    rows = [
        f"{one.clients:>7}  {one.tps:>8}  {one.p50_ms:>7}  {one.p99_ms:>7}  "
        f"{one.tx_per_cpu_second:>9}  {one.batch_mean:>6}"
        for one in figures
    ]
    last = figures[-1]
    walls = (
        f"limits of this run: {last.crypto_limit_tx_per_cpu_second} tx per CPU-second if {nodes} "
        f"nodes did nothing but check signatures; fdatasync {last.fdatasync_p50_ms} ms"
    )
    heads = "clients      tx/s   p50 ms   p99 ms  tx/CPU-s   batch"
    sent = ", ".join(f"{kind} {mean:g}" for kind, mean in last.messages_per_block.items())
    lines = [heads, *rows, "", walls, f"messages a block, sent by all nodes together: {sent}"]
    if operations > 1:
        lines.append(f"operations a second: {last.operations_per_second}")
    told: dict[str, object] = {"runs": as_json(figures)}
    if others:
        told["against"] = [_compared(ours, one) for ours, one in others]
        lines += ["", *(_rival_line(ours, one) for ours, one in others)]
    session.tell(told, "\n".join(lines))


def _flooded(session: Session, figures: flood.FloodFigures) -> None:
    session.tell(
        {"flood": asdict(figures)},
        f"{figures.tx_per_cpu_second} transactions per CPU-second, {figures.tx_per_cpu_second_flooded} while a member "
        f"floods ({100 * figures.ratio:.0f} %), {figures.cpu_percent} % of a core while they are idle; "
        f"it got rid of {figures.sent} messages; refused by the founder: {figures.refused}",
    )


def _endurance(
    session: Session, nodes: int, work: Work, *, kill: bool, minutes: float | None
) -> None:
    told: dict[str, object] = {}
    lines: list[str] = []
    if kill:
        if nodes < LEAST_FOR_A_FAULT:
            raise click.UsageError("--kill needs --nodes 4 or more: fewer tolerate no fault")
        after = endurance.kill(nodes, work, _say)
        told["kill"] = asdict(after)
        lines.append(
            f"{after.tps_before} tx/s before the primary was killed, {after.tps_after} in the "
            f"{after.seconds_after} s after it ({100 * after.ratio:.0f} %, {after.blocks_after} blocks); "
            f"nothing final for {after.recovery_ms} ms"
        )
    if minutes is not None:
        memory = endurance.soak(nodes, work, minutes, _say)
        told["memory"] = asdict(memory)
        lines += [
            f"{memory.transactions} transactions in {minutes:g} minutes; MiB in RAM over that time:",
            *(f"  {name}: {some}" for name, some in memory.resident_mib.items()),
            "of which not mapped from files:",
            *(f"  {name}: {some}" for name, some in memory.own_mib.items()),
            f"growth from the second quarter to the last: {memory.growth_mib}, of the latter {memory.own_growth_mib}",
        ]
    session.tell(told, "\n".join(lines))


def _say(text: str) -> None:
    click.echo(text, err=True)


def _compared(ours: ConsensusFigures, other: RivalFigures) -> dict[str, object]:
    return {
        **asdict(other),
        "ratio_tps": round(ours.tps / other.tps, 3),
        "ratio_tx_per_cpu_second": round(ours.tx_per_cpu_second / other.tx_per_cpu_second, 3),
        "ratio_p50": round(ours.p50_ms / other.p50_ms, 3),
        "ratio_p99": round(ours.p99_ms / other.p99_ms, 3),
    }


def _rival_line(ours: ConsensusFigures, other: RivalFigures) -> str:
    ratio = ours.tx_per_cpu_second / other.tx_per_cpu_second
    p50, p99 = ours.p50_ms / other.p50_ms, ours.p99_ms / other.p99_ms
    promises = ", ".join(
        (
            "signed" if other.signed else "unsigned",
            "bears liars" if other.byzantine else "bears crashes only",
            "synced" if other.durable else "not synced",
        )
    )
    return (
        f"{other.system}, {other.clients} clients: {other.tps} a second, p50 {other.p50_ms} ms, p99 {other.p99_ms} ms, "
        f"{other.tx_per_cpu_second} a CPU-second; this node does {ratio:.2f} times that, "
        f"and takes {p50:.2f} times as long (p99 {p99:.2f}). It: {promises}; {other.note}"
    )


@bench.command()
@click.option("--clients", type=click.IntRange(1, 2000), default=500, show_default=True)
@click.option("--blocks", type=click.IntRange(1, 2000), default=20, show_default=True)
@click.option("--payload", type=click.IntRange(0, MAX_REMARK_BYTES), default=128, show_default=True)
@with_session
def engine(session: Session, *, clients: int, blocks: int, payload: int) -> None:
    """Where a replica's CPU goes: four engines in this process, without network and HTTP.

    BLOCKS are filled with one signed transfer of each of the CLIENTS.
    """
    figures = measure_engine(EngineWork(clients, blocks, payload))
    rows = [
        (name, str(each), str(figures.us_each[name]))
        for name, each in sorted(figures.us_per_transaction.items(), key=lambda one: -one[1])
    ]
    rows.append(("in all", str(figures.us_per_transaction_in_all), ""))
    text = table(("PART", "US A TRANSACTION", "US EACH"), rows, empty="")
    session.tell(asdict(figures), text)


@bench.command()
@click.option("--seconds", type=click.FloatRange(1, 600), default=5, show_default=True)
@click.option("--blocks", type=click.IntRange(1, 500), default=5, show_default=True)
@with_session
def gateway(session: Session, *, seconds: float, blocks: int) -> None:
    """Submissions, finality over the WebSocket and reads on a real daemon; admission and blocks in process.

    SECONDS are spent on each of seven loads; BLOCKS of 2,000 transfers are executed, replayed and
    projected. Single submissions and reads need wrk, the stream's second load a compiler (Debian: wrk, gcc).
    """
    figures = gateway_bench.measure(seconds, blocks, lambda text: click.echo(text, err=True))
    rows = [
        (
            one.door,
            f"{one.taken_per_s:.0f}",
            f"{one.submit_p50_ms} {one.submit_p99_ms}",
            f"{one.final_p50_ms} {one.final_p99_ms}",
            f"{one.daemon_cpu_ms_per_transaction}",
        )
        for one in figures.batched
    ]
    compiled = {
        "stream, compiled": figures.stream_compiled,
        "batch, by wrk": figures.batches_by_wrk,
        "single": figures.single,
        "reads": figures.reads,
        "cached": figures.cached_reads,
    }
    rows += [
        (
            name,
            f"{one.per_s:.0f}",
            f"{one.p50_ms} {one.p99_ms}",
            "-",
            f"{one.daemon_cpu_ms_per_request}",
        )
        for name, one in compiled.items()
        if one is not None
    ]
    text = table(("DOOR", "PER S", "ANSWER ms", "FINAL ms", "CPU ms"), rows, empty="")
    local = pairs([(name, str(value)) for name, value in asdict(figures.in_process).items()])
    session.tell(gateway_bench.as_json(figures), f"{text}\n\np50 and p99 of each time\n\n{local}")


@bench.command()
@click.option("--full", is_flag=True, help="Federations of 32 and 1000 too; takes much longer.")
@click.option(
    "--against",
    type=click.Choice(sorted(gossip_bench.RIVALS)),
    multiple=True,
    help="A model of this in the same worlds too, and the ratios.",
)
@click.option(
    "--world",
    "worlds",
    type=click.Choice(list(gossip_bench.OWN)),
    multiple=True,
    default=("full",),
    show_default=True,
    help="full: connected with all. mesh: with some neighbours each. plot: as mesh, and liars tell each other's lies.",
)
@click.option(
    "--losses",
    type=click.IntRange(1, 1_000),
    default=gossip_bench.LEAST_LOST,
    show_default=True,
    help="So many members end in each row at least.",
)
@click.option("--markdown", is_flag=True, help="Print the table as docs/BENCHMARKS.md has it.")
@with_session
def gossip(
    session: Session,
    *,
    full: bool,
    against: tuple[str, ...],
    worlds: tuple[str, ...],
    losses: int,
    markdown: bool,
) -> None:
    """How soon a lost member is noticed, and what that costs, on a virtual clock.

    Then what all of membership says while nothing happens, connected as daemons are in any WORLD.
    """
    sizes = gossip_bench.FULL_SIZES if full else gossip_bench.SIZES
    kinds = {**gossip_bench.OWN, **gossip_bench.RIVALS}
    makes = {name: kinds[name] for name in (*worlds, *against)}
    measured = gossip_bench.measure(sizes, gossip_bench.SETTINGS, _say, makes, losses)
    told = gossip_bench.told(measured, worlds, against)
    upkeep = [(name, one) for name, figures in measured.upkeep.items() for one in figures]
    if markdown:
        rows = [(name, row) for name, figures in measured.rows.items() for row in figures]
        tables = (gossip_bench.as_markdown(rows), gossip_upkeep.as_markdown(upkeep))
        session.tell(told, "\n\n".join(tables))
        return
    text = [f"{name}:\n{_gossip_table(figures)}" for name, figures in measured.rows.items()]
    text += ["p50 and p99 of each time", f"while nothing happens:\n{_upkeep_table(upkeep)}"]
    session.tell(told, "\n\n".join(text))


def _upkeep_table(figures: list[tuple[str, gossip_upkeep.UpkeepFigures]]) -> str:
    rows = [gossip_upkeep.cells(who, one) for who, one in figures]
    return table(("NODES", "WHO", "LINKS", "MSG/s", "BYTES/s", "BYTES BY KIND"), rows, empty="")


def _gossip_table(figures: list[gossip_bench.GossipFigures]) -> str:
    rows = [
        (
            *(str(value) for value in (one.nodes, one.loss, one.slow, one.liars)),
            f"{one.detect_p50_s:.2f} {one.detect_p99_s:.2f}",
            f"{one.disseminate_p50_ms:.0f} {one.disseminate_p99_ms:.0f}",
            f"{one.dead_p50_s:.1f} {one.dead_p99_s:.1f}",
            f"{one.false_positives_per_node_hour:g}",
            f"{one.messages_per_node_s:.1f}",
            f"{one.bytes_per_node_s:.0f}",
        )
        for one in figures
    ]
    heads = ("NODES", "LOSS", "SLOW", "LIARS", "DETECT s", "SPREAD ms", "DEAD s", "FALSE/h")
    return table((*heads, "MSG/s", "BYTES/s"), rows, empty="")


@bench.command()
@click.option("--seconds", type=click.FloatRange(0.2, 600), default=4, show_default=True)
@click.option("--against", type=click.Choice(["litellm"]), help="Measure that beside the node.")
@click.option("--consensus", is_flag=True, help="Also: consensus while the model is busy.")
@with_session
def inference(session: Session, *, seconds: float, against: str | None, consensus: bool) -> None:
    """What the door for models costs beside the model: CPU, added time, memory; and the embedded model's speed.

    SECONDS are spent on each of three measurements for 1, 16 and 64 callers: plain requests, streams, and the
    same streams through a bare relay, which is the least that 20 awakenings cost here.
    """

    def say(text: str) -> None:
        click.echo(text, err=True)

    reports = inference_bench.measure(seconds, say, against=against)
    say("the embedded model beside plain onnxruntime")
    speeds = model_speed.measure(seconds)
    told = inference_bench.as_json(reports, speeds)
    if consensus:
        told["consensus"] = asdict(under_load.measure(seconds, say))
    rows = [
        (
            report.name,
            f"{report.idle_mb:.0f}",
            str(run.callers),
            f"{run.cpu_ms_per_request:.2f}",
            f"{run.cpu_ms_per_stream_20:.2f}",
            f"{run.relay_floor_ms:.2f}",
            f"{run.added_p50_ms:.2f}",
            f"{run.added_p99_ms:.2f}",
        )
        for report in reports
        for run in report.runs
    ]
    heads = ("DOOR", "IDLE MB", "CALLERS", "CPU ms/REQUEST", "CPU ms/STREAM", "BARE RELAY")
    lines = [table((*heads, "ADDED p50 ms", "p99"), rows, empty="")]
    lines += ["", "sentences per CPU-second (plain onnxruntime):"]
    lines += [
        f"{one.batch:>3} of {one.tokens} tokens: {one.sentences_per_cpu_s:.0f} "
        f"({one.plain_onnxruntime_per_cpu_s:.0f})"
        for one in speeds
    ]
    if consensus:
        lines.append(f"consensus with the model idle and busy: {told['consensus']}")
    session.tell(told, "\n".join(lines))


@bench.command()
@click.option(
    "--messages", type=click.IntRange(1000, 10_000_000), default=400_000, show_default=True
)
@click.option("--size-mb", type=click.IntRange(1, 800), default=300, show_default=True)
@with_session
def transfer(session: Session, *, messages: int, size_mb: int) -> None:
    """Small messages one way between two processes, and contents between two daemons, on loopback."""
    figures = throughput.measure(messages, size_mb, lambda text: click.echo(text, err=True))
    small = figures.messages
    rows = [
        ("messages", f"{small.messages_per_s:.0f}/s", f"{small.cpu_us_per_message} us each"),
        *(
            (f"{one.what} bytes", f"{one.mb_per_s} MB/s", f"{one.cpu_ms_per_mb} ms a MB")
            for one in figures.transfers
        ),
    ]
    text = table(("WHAT", "RATE", "CPU OF BOTH"), rows, empty="")
    session.tell(throughput.as_json(figures), text)


@bench.command()
@click.option("--nodes", type=click.IntRange(2, 60), default=30, show_default=True)
@click.option("--idle", "idle_s", type=click.FloatRange(1, 600), default=30, show_default=True)
@with_session
def lan(session: Session, *, nodes: int, idle_s: float) -> None:
    """Many daemons on this machine: how soon they know each other, what each costs while idle."""
    figures = lan_bench.measure(nodes, idle_s, lambda text: click.echo(text, err=True))
    rows = [
        ("nodes", str(figures.nodes)),
        ("all started in", f"{figures.start_s} s, {figures.start_cpu_s} s of CPU each"),
        ("all known after", f"{figures.known_s} s from the last start"),
        (
            "idle CPU",
            f"{figures.idle_cpu_percent_median} %, at most {figures.idle_cpu_percent_max} %",
        ),
        ("memory", f"{figures.memory_mb_median} MB, at most {figures.memory_mb_max} MB"),
    ]
    session.tell(lan_bench.as_json(figures), pairs(rows))
