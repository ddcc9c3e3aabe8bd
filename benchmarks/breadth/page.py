"""Pages of the comparison: by kind, by network, and why a tool did not do it."""

from __future__ import annotations

from importlib.metadata import version

from benchmarks.breadth.kinds import KINDS, NETWORKS
from benchmarks.breadth.trial import SECONDS, TOOLS, Check, Outcome
from benchmarks.common.records import Record, Records
from benchmarks.common.tables import page, table, versions

WORDS = 220
"""Most letters of a reason in a table."""


def tables(records: Records) -> str:
    """The page of all tools."""
    return page(
        "# Breadth: small networks as people write them, by three tools",
        f"{len(NETWORKS)} networks of {len(KINDS)} kinds. "
        + versions(*(f"{name} {version(name)}" for name in ("torch-pruning", "torch-kirigami")))
        + ".",
        "Each network is to come down to half of its parameters and half of its "
        "multiply-accumulates at once, without data, in a process of its own of at most "
        f"{SECONDS} s. **Done**: both caps are met. **Held**: they are not, as too much stays "
        "whole. **Refused**: the tool says that it does not take the network. **Wrong**: the "
        "smaller network has outputs of another shape, or computes something else after nothing "
        "but planted dead channels went. **Crashed**: an error that speaks of something else. "
        "Beside the outcome of what is done stand the parts of both caps that are used "
        "(parameters / multiply-accumulates) and the seconds; = where the planted channels went "
        "and the outputs stayed.",
        "## By kind",
        by_kind(records),
        "## By network",
        by_network(records),
        *(reasons(records, tool) for tool in TOOLS),
        whole(records),
    )


def by_kind(records: Records) -> str:
    """How many networks of each kind every tool does, and how the others end."""
    rows = [[kind, str(len(cases)), *_counts(records, [c.name for c in cases])]
            for kind, cases in KINDS.items()]  # fmt: skip
    rows.append(["**all**", str(len(NETWORKS)), *_counts(records, list(NETWORKS))])
    return table(("kind", "networks", *TOOLS), rows)


def _counts(records: Records, names: list[str]) -> list[str]:
    cells: list[str] = []
    for tool in TOOLS:
        found = [r["outcome"] for r in records.of(tool=tool) if r["network"] in names]
        counts = {outcome: found.count(outcome) for outcome in Outcome}
        cells.append(", ".join(f"{n} {outcome}" for outcome, n in counts.items() if n))
    return cells


def by_network(records: Records) -> str:
    """A row a network."""
    rows: list[list[str]] = []
    for kind, cases in KINDS.items():
        for case in cases:
            found = records.of(network=case.name)
            size = [f"{found[0][cost]:,}" if found else "" for cost in ("params", "macs")]
            of = {record["tool"]: record for record in found}
            rows.append([case.name, kind, *size, *(_cell(of.get(tool)) for tool in TOOLS)])
    return table(("network", "kind", "parameters", "MACs", *TOOLS), rows)


def _cell(record: Record | None) -> str:
    if record is None:
        return ""
    if record["outcome"] != Outcome.DONE:
        return f"**{record['outcome']}**"
    used = " / ".join(f"{100 * record[f'{cost} used']:.0f}" for cost in ("params", "macs"))
    mark = " =" if record["check"] == Check.EQUAL else ""
    return f"{used} %, {record['seconds']:.1f} s{mark}"


def reasons(records: Records, tool: str) -> str:
    """Everything that a tool did not do, and what it said."""
    rows = [
        [record["network"], record["outcome"], _brief(record["reason"])]
        for record in records.of(tool=tool)
        if record["outcome"] != Outcome.DONE
    ]
    return f"## Not done by {tool}\n\n" + table(("network", "outcome", "reason"), rows)


def whole(records: Records) -> str:
    """The layers that stay whole in what ours does, and why: one row a network and reason."""
    rows: list[list[str]] = []
    for record in records.of(tool="ours", outcome=Outcome.DONE):
        for reason in dict.fromkeys(record.get("whole", {}).values()):
            layers = [name for name, why in record["whole"].items() if why == reason]
            rows.append([record["network"], _brief(", ".join(layers)), _brief(reason)])
    return "## Kept whole by ours in what it does\n\n" + table(
        ("network", "layers", "reason"), rows
    )


def _brief(reason: str) -> str:
    line = " ".join(reason.split()).replace("|", "\\|")
    return line if len(line) <= WORDS else line[: WORDS - 4] + " ..."


def kinds(records: Records) -> str:
    """The page that tells users what has been tried."""
    rows = [
        [kind, case.name, _word(records, case.name)] for kind, cases in KINDS.items()
        for case in cases
    ]  # fmt: skip
    return page(
        "# Networks that have been tried",
        "Small networks, written as their authors' readers write them, each brought to half of its "
        "parameters and half of its multiply-accumulates at once. `python -m benchmarks.breadth` "
        "writes this page; `benchmarks/breadth/breadth.md` has the same beside other tools, with "
        "reasons.",
        table(("kind", "network", "outcome"), rows),
    )


def _word(records: Records, name: str) -> str:
    found = records.of(network=name, tool="ours")
    if not found:
        return "not yet"
    if found[0]["outcome"] == Outcome.DONE:
        return "done"
    return f"**{found[0]['outcome']}**: {_brief(found[0]['reason'])}"
