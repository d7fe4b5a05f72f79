"""The report of comparisons of two systems as blocks: headings, tables and notes made from its values."""

from collections.abc import Iterator

from medllm_hf.evaluation.costs.prices import cost_text
from medllm_hf.evaluation.preferences.derive import COUNTS
from medllm_hf.evaluation.statistics.bootstrap import FEWEST, share_text
from medllm_hf.reporting.blocks import Block, Heading, Paragraph, Table, chance_text, interval, listed, percent, words

_OUTCOMES = tuple(COUNTS.values())


def pair_blocks(values: dict) -> list[Block]:
    """The whole report without the single dialogues."""
    blocks: list[Block] = [Heading(1, "Consultations of two systems compared by a judge")]
    for one in values["runs"]:
        names = one["systems"]
        title = f"{names['first']} against {names['second']}, judged by {one['judge']['id']}"
        blocks += [Heading(2, title), _asked(one), *_notices(one), *_results(one), *_orders(one), *_replies(one)]
    note = "In the list of report.html 1 is a case that the system wins, 0.5 a tie or an inconsistent one, 0 one that it loses."
    return [*blocks, Heading(2, "How to read the dialogues"), Paragraph(note)]


def _asked(one: dict) -> Block:
    rubric, judge = one["rubric"], one["judge"]
    text = f"Run {one['run']}. Rubric {rubric['name']}, version {rubric['version']}, language {rubric['language']}, SHA-256 "
    text += f"{rubric['sha256'][:16]}. Judge: "
    text += ", ".join([judge["id"], *(f"{words(name)} {value}" for name, value in judge.items() if name != "id")]) + "."
    text += " Settings: " + ", ".join(f"{words(name)} {value}" for name, value in one["settings"].items()) + "."
    return Paragraph(text + " Each case was judged in both orders, without the names of the systems.")


def _notices(one: dict) -> Iterator[Block]:
    if one["no_headline"]:
        text = "; ".join(one["no_headline"])
        yield Paragraph(f"No headline figure: {text}. The figures are withheld here; results.json has them.")
    for text in one["warnings"]:
        yield Paragraph(f"Warning: {text}.")


def _results(one: dict) -> Iterator[Block]:
    lines = []
    for name, found in one["criteria"].items():
        if one["no_headline"]:
            lines.append((words(name), str(found["n"]), *("withheld" for _ in range(len(_OUTCOMES) + 3))))
            continue
        cells = (percent(found["win_rate"]), share_text(found["interval"], found["n"]), chance_text(found["p"]))
        lines.append((words(name), str(found["n"]), *(str(found[key]) for key in _OUTCOMES), *cells))
    yield Table(("criterion", "cases", *_OUTCOMES, "win rate", "95% interval", "p"), tuple(lines))
    yield Paragraph(
        f"Wins and losses are those of {one['systems']['first']}. A win or a loss: both orders prefer the same system. A tie: "
        "both orders call it one, or one of them does. Inconsistent: the orders prefer different systems. Ties and "
        "inconsistent cases count half in the win rate. Intervals: bootstrap over cases; Wilson's where all cases end alike; "
        f"none of fewer than {FEWEST} cases. p: exact binomial test of wins against losses, not corrected for the number of "
        "criteria."
    )
    if one["unscored"]:
        bounded = {} if one["no_headline"] else {key: found["bounds"] for key, found in one["criteria"].items()}
        ends = "; ".join(f"{words(name)} {interval(*own)}" for name, own in bounded.items() if own)
        said = f" Win rates if all were losses, and if all were wins: {ends}." if ends else ""
        yield Paragraph(f"{one['unscored']} of {one['n']} cases are unscored.{said}")


def _orders(one: dict) -> Iterator[Block]:
    yield Heading(3, "Both orders")
    lines = []
    for name, found in one["criteria"].items():
        position = found["position"]
        ends = share_text(position["interval"], found["n"])
        lines.append((words(name), percent(found["consistency"]), str(position["n"]), percent(position["share"]), ends))
    head = ("criterion", "same verdict in both orders", "verdicts that prefer one", "the one shown first", "95% interval")
    yield Table(head, tuple(lines))
    yield Paragraph("A judge without a preference for a position has half of these verdicts for the dialogue shown first.")
    length, names = one["length"], one["systems"]
    yield Paragraph(
        f"Length: {names['first']} says {length['first']:.0f} characters a dialogue, {names['second']} says "
        f"{length['second']:.0f}. Cases with a winner on the whole in which one says more: {length['n']}; of these the longer "
        f"one wins {percent(length['longer_wins'])}."
    )
    for side in ("first", "second"):
        if names := one[f"only_{side}"]:
            yield Paragraph(f"Cases only {one['systems'][side]} has, left out: {listed(names)}.")


def _replies(one: dict) -> Iterator[Block]:
    yield Heading(3, "Replies of the judge")
    failures, usage = one["failures"], one["usage"]
    share = f"{failures['unscored']} ({percent(failures['rate'])})"
    counts = [str(usage[name]) for name in ("calls", "prompt_tokens", "completion_tokens")]
    head = ("replies", "unscored", "limit", "headline", "calls", "tokens in", "tokens out")
    cells = (str(failures["replies"]), share, percent(failures["limit"]), "no" if one["no_headline"] else "yes", *counts)
    yield Table(head, (cells,))
    if "cost" in one:
        yield Paragraph(f"Cost: {cost_text(one['cost'])}.")
    if one["unscored_reasons"]:
        text = "; ".join(f"{reason} ({count})" for reason, count in one["unscored_reasons"].items())
        yield Paragraph(f"Unscored: {text}.")
    lines = []
    for row in one["canaries"]:
        text = row["unscored"] or ", ".join(f"{words(key)} {found}" for key, found in row["outcomes"].items())
        lines.append((row["id"], text, "passed" if row["passed"] else "failed"))
    yield Table(("pair with a known answer", "outcome for the real consultation", "judge"), tuple(lines))
