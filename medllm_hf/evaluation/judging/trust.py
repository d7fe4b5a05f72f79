"""What tells how far a judge's scores can be believed, as blocks: agreement, full marks, length, failures, canaries."""

from collections.abc import Iterator

from medllm_hf.evaluation.costs.prices import cost_text
from medllm_hf.evaluation.judging.report import CEILING
from medllm_hf.evaluation.judging.wording import listed, score, signed, words
from medllm_hf.reporting.blocks import Block, Heading, Paragraph, Table, percent


def repeated_blocks(one: dict) -> Iterator[Block]:
    """Kappa and alpha between the samples of each run that has several."""
    runs = [run for run in one["runs"] if run["repeated"]]
    if not runs:
        return
    yield Heading(3, "Repeated samples of the judge")
    lines = []
    for run in runs:
        systems = [row for row in one["systems"] if row["run"] == run["run"]]
        for name, found in run["repeated"]["criteria"].items():
            spread = ", ".join(f"{row['name']} {score(row['within_item_sd'][name])}" for row in systems)
            counts = (str(run["repeated"]["n"]), str(run["repeated"]["samples"]))
            lines.append((run["run"], words(name), *counts, score(found["kappa"]), score(found["alpha"]), spread))
    head = ("run", "criterion", "dialogues", "samples", "weighted kappa", "Krippendorff's alpha", "standard deviation within")
    yield Table(head, tuple(lines))
    yield Paragraph("Kappa: quadratic weights, the mean over the pairs of samples. Alpha: interval scale. –: no score differs.")


def ceiling_blocks(one: dict) -> Iterator[Block]:
    """The share of full marks, with a warning."""
    yield Heading(3, "Share of full marks")
    names = [*one["rubric"]["criteria"], "all"]
    rows = [*((row["name"], row["ceiling"]) for row in one["systems"]), ("all systems", one["all"]["ceiling"])]
    lines = [(name, *(percent(shares[key]) for key in names)) for name, shares in rows]
    yield Table(("system", *map(words, names[:-1]), "all criteria at once"), tuple(lines))
    shares = one["all"]["ceiling"]
    high = [name for name in names[:-1] if shares[name] is not None and shares[name] >= CEILING]
    if high:
        told = ", ".join(f"{words(name)} {percent(shares[name])}" for name in high)
        yield Paragraph(
            f"Warning: at the ceiling, with {percent(CEILING)} or more of all verdicts at full marks: {told}. Such a criterion "
            "cannot tell good systems apart."
        )


def length_blocks(one: dict) -> Iterator[Block]:
    """The rank correlation of the doctor's characters with each score."""
    yield Heading(3, "Length and score")
    names = [*one["rubric"]["criteria"], "overall"]
    rows = [*((row["name"], row["length"]) for row in one["systems"]), ("all systems", one["all"]["length"])]
    lines = []
    for name, length in rows:
        mean = "–" if length["doctor_characters"] is None else f"{length['doctor_characters']:.0f}"
        lines.append((name, mean, *(signed(length["spearman"][key]) for key in names)))
    yield Table(("system", "doctor's characters", *map(words, names)), tuple(lines))
    yield Paragraph("Spearman's rank correlation of a score with the number of the doctor's characters in the dialogue.")


def judging_blocks(one: dict) -> Iterator[Block]:
    """Unscored replies, canaries and costs of each run, and whether it has a headline figure."""
    yield Heading(3, "Replies of the judge")
    head = (
        "run",
        "dialogues",
        "replies",
        "unscored",
        "limit",
        "canaries failed",
        "headline",
        "calls",
        "tokens in",
        "tokens out",
    )
    lines = []
    for run in one["runs"]:
        failures, usage = run["failures"], run["usage"]
        share = f"{failures['unscored']} ({percent(failures['rate'])})"
        failed = sum(not canary["passed"] for canary in run["canaries"])
        canaries = f"{failed} of {len(run['canaries'])}" if run["canaries"] else "none judged"
        counts = [str(usage[name]) for name in ("calls", "prompt_tokens", "completion_tokens")]
        cells = (run["run"], str(run["data"]["n"]), str(failures["replies"]), share, percent(failures["limit"]), canaries)
        lines.append((*cells, "no" if run["no_headline"] else "yes", *counts))
    yield Table(head, tuple(lines))
    for run in one["runs"]:
        if "cost" in run:
            yield Paragraph(f"Cost of the judge in {run['run']}: {cost_text(run['cost'])}.")
        if run["unscored_reasons"]:
            told = "; ".join(f"{reason} ({count})" for reason, count in run["unscored_reasons"].items())
            yield Paragraph(f"Unscored in {run['run']}: {told}.")
    lines = [
        (run["run"], canary["id"], canary["unscored"] or ", ".join(f"{words(k)} {v:g}" for k, v in canary["scores"].items()),
         "passed" if canary["passed"] else "failed")
        for run in one["runs"] for canary in run["canaries"]
    ]  # fmt: skip
    if lines:
        yield Table(("run", "dialogue that must score low", "scores", "judge"), tuple(lines))


def agreement_blocks(rows: list[dict]) -> Iterator[Block]:
    """Kappa and alpha between runs over the same dialogues."""
    if not rows:
        return
    yield Heading(2, "Agreement on the same dialogues")
    lines = []
    for row in rows:
        sides = [f"{row[side]} ({judge})" for side, judge in zip(("first", "second"), row["judges"], strict=True)]
        for name, found in row["criteria"].items():
            figures = [score(found[key]) for key in ("kappa", "alpha")]
            lines.append((*sides, words(name), str(found["n"]), *figures, percent(found["exact"]), signed(found["difference"])))
    head = ("first", "second", "criterion", "n", "weighted kappa", "Krippendorff's alpha", "equal", "first minus second")
    yield Table(head, tuple(lines))
    yield Paragraph("n: dialogues that both scored. Kappa: quadratic weights. Alpha: interval scale. –: no score differs.")
    for row in rows:
        for name, ids in ((row["first"], row["only_first"]), (row["second"], row["only_second"])):
            if ids:
                yield Paragraph(f"Dialogues only in {name}, beside the other: {listed(ids)}.")
        if row["other_words"]:
            yield Paragraph(f"Ids with other words in {row['first']} than in {row['second']}: {listed(row['other_words'])}.")
