"""The report of judge runs as blocks: headings, tables, notes and figures made from its values."""

from collections.abc import Iterator

from medllm_hf.evaluation.consultations.figures import described
from medllm_hf.evaluation.consultations.manners import STYLES
from medllm_hf.evaluation.costs.prices import cost_text
from medllm_hf.evaluation.judging.axis_tables import axis_blocks, style_blocks
from medllm_hf.evaluation.judging.inventions import inventions_text
from medllm_hf.evaluation.judging.report import CEILING
from medllm_hf.evaluation.statistics.bootstrap import NO_INTERVAL, ends_text, score_text
from medllm_hf.reporting.blocks import (
    Block,
    Figure,
    Heading,
    Paragraph,
    Table,
    chance_text,
    figure_name,
    listed,
    percent,
    score,
    signed,
    words,
)


def judge_blocks(values: dict) -> list[Block]:
    """The whole report without the single dialogues."""
    blocks: list[Block] = [Heading(1, "Consultations scored by a judge")]
    blocks += [*axis_blocks(values["axes"]), *style_blocks(values["styles"])]
    if len(values["sets"]) > 1:
        other = "Scores by another judge or rubric, by one that was shown the cases and one that was not, or of other dialogues"
        blocks += [Paragraph(f"{other}, cannot be compared with each other.")]
    for number, one in enumerate(values["sets"], start=1):
        blocks += [Heading(2, f"{one['name']}, judged by {one['judge_label']}"), *_asked(one), *_notices(one), *_results(one)]
        blocks += _benchmark(one)
        for part in (_figures(one, number), _groups(one, number), _coverage(one), _comparisons(one), _repeated(one)):
            blocks += part
        for part in (_ceiling(one), _length(one), _replies(one)):
            blocks += part
    return [*blocks, *_agreement(values["agreement"]), *_consultations(values["consultations"])]


def _with_interval(row: dict, name: str) -> str:
    return score_text(row[name], row["intervals"][name], row["n"] - row["unscored"])


def _believed(system: dict, row: dict, name: str) -> str:
    return "withheld" if system["withheld"] else _with_interval(row, name)


_SHOWN = {
    "case": "The judge was shown the case of each dialogue: its description, and its diagnosis where it has one.",
    "reference": "The judge was shown what the file of dialogues says of their cases.",
    "points": "The judge was shown the points of each case.",
    "nothing": "The judge was shown the dialogues alone, not the cases.",
}


def _asked(one: dict) -> Iterator[Block]:
    rubric, runs = one["rubric"], one["runs"]
    text = f"Rubric {rubric['name']}, version {rubric['version']}, language {rubric['language']}, SHA-256 "
    text += f"{rubric['sha256'][:16]}; scores from {rubric['low']:g} to {rubric['high']:g}."
    known = {name: value for name, value in one["judge"].items() if name != "id"}
    text += " Judge: " + ", ".join([one["judge"]["id"], *(f"{words(name)} {value}" for name, value in known.items())]) + "."
    text += f" {_SHOWN[one['shown']]}"
    equal = {name: value for name, value in runs[0]["settings"].items() if name not in one["settings_differ"]}
    text += " Settings: " + ", ".join(f"{words(name)} {value}" for name, value in equal.items()) + "."
    if any(run["imported"] for run in runs):
        text += " Imported: the replies are the published ones, and the scores were read from them anew."
    yield Paragraph(text)
    if one["settings_differ"]:
        names = ", ".join(map(words, one["settings_differ"]))
        yield Paragraph(f"The runs' settings differ ({names}): a difference can come from them, not from the systems.")


def _notices(one: dict) -> Iterator[Block]:
    for run in one["runs"]:
        where = f" of {run['run']}" if len(one["runs"]) > 1 else ""
        if run["no_headline"]:
            yield Paragraph(
                f"No headline figure{where}: {'; '.join(run['no_headline'])}. The scores and the comparisons are withheld "
                "here; results.json has them."
            )
        for text in run["warnings"]:
            yield Paragraph(f"Warning{where}: {text}.")


def _results(one: dict) -> Iterator[Block]:
    names = one["rubric"]["criteria"]
    lines = [
        (row["name"], *(_believed(row, row, name) for name in (*names, "overall")), str(row["n"]), str(row["unscored"]))
        for row in one["systems"]
    ]
    yield Table(("system", *map(words, names), "overall", "n", "unscored"), tuple(lines))
    note = "Means over the scored dialogues with 95% intervals (bootstrap over dialogues); overall is the mean of the criteria."
    yield Paragraph(f"{note} n counts the unscored dialogues too. {NO_INTERVAL}")
    for row in one["systems"]:
        if row["unscored"] and not row["withheld"]:
            ends = "; ".join(
                f"{words(name)} {score(row['bounds'][name][0])} to {score(row['bounds'][name][1])}" for name in names
            )
            low, high = f"{one['rubric']['low']:g}", f"{one['rubric']['high']:g}"
            yield Paragraph(f"{row['name']}, if all unscored dialogues had {low}, and if all had {high}: {ends}.")


_CLIPS = {True: "averaged and then cut to 0 and 1", False: "cut to 0 and 1 and then averaged"}


def _benchmark(one: dict) -> Iterator[Block]:
    """Whose benchmark the dialogues are, and its score as it is published."""
    for run in one["runs"]:
        if not (known := run.get("benchmark")):
            continue
        whose = f"{known['name']} (licence {known['licence']}, {known['source']})"
        text = f"Benchmark of {run['run']}: {whose}, {known['cases']} cases."
        if known["unanswered"]:
            text += f" Without an answer are {len(known['unanswered'])}: {listed(known['unanswered'])}."
        if known["other_answers"]:
            text += f" Answers to other cases, left out: {known['other_answers']}."
        text += f" Score as published, the points reached over those that can be, {_CLIPS[known['clips_mean']]}: "
        parts = []
        for system in (row for row in one["systems"] if row["run"] == run["run"]):
            found = system["published"]
            shown = score_text(found["value"], found["interval"], found["n"] - found["unscored"])
            figure = "withheld" if system["withheld"] else shown
            parts.append(f"{system['name'] or '(none)'} {figure}, n {found['n']}, unscored {found['unscored']}")
        text += (
            "; ".join(parts) + ". The publishers ask their judge for one point at a time; here all points of a case are one "
        )
        yield Paragraph(text + "question, so figures of their judges and of this one differ for that too.")


def _figures(one: dict, number: int) -> Iterator[Block]:
    if all(system["withheld"] for system in one["systems"]):
        return
    yield Figure(figure_name("criteria", number), "mean score by criterion and system with 95% intervals")
    if len(one["rubric"]["criteria"]) > 2:
        yield Figure(figure_name("radar", number), "mean score by criterion and system on one scale")


def _groups(one: dict, number: int) -> Iterator[Block]:
    if len(one["groups"]) < 2:
        return
    yield Heading(3, "By group")
    of = [{row["group"]: row for row in system["groups"]} for system in one["systems"]]
    lines = []
    for place, group in enumerate(one["groups"], start=1):
        counts = sorted({own[group]["n"] for own in of if group in own})
        n = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
        there = zip(one["systems"], of, strict=True)
        cells = [_group_cell(system, own[group]) if group in own else "–" for system, own in there]
        lines.append((str(place), group or "(none)", n, *cells))
    yield Table(("#", "group", "n", *(system["name"] for system in one["systems"])), tuple(lines))
    yield Paragraph("Overall scores; those of the single criteria are in results.json.")
    if not all(system["withheld"] for system in one["systems"]):
        yield Figure(figure_name("groups", number), "mean overall score by group and system with 95% intervals")


def _group_cell(system: dict, row: dict) -> str:
    return _believed(system, row, "overall") + (f", {row['unscored']} unscored" if row["unscored"] else "")


def _coverage(one: dict) -> Iterator[Block]:
    without = [name for run in one["runs"] for name in run["without_scores"]]
    if not one["coverage"] and not without:
        return
    yield Heading(3, "Cases that not all systems have")
    for row in one["coverage"]:
        count = f"{len(row['cases'])} case{'s' * (len(row['cases']) > 1)}"
        if len(row["in"]) <= len(row["not_in"]):
            yield Paragraph(f"{count} only in {', '.join(row['in'])}: {listed(row['cases'])}.")
        else:
            yield Paragraph(f"{count} missing in {', '.join(row['not_in'])}: {listed(row['cases'])}.")
    if without:
        yield Paragraph(f"Dialogues without published scores: {listed(without)}.")


def _comparisons(one: dict) -> Iterator[Block]:
    rows = [row for row in one["comparisons"] if not row["withheld"]]
    if not rows:
        return
    yield Heading(3, "Differences on the same cases")
    head = (
        "first minus second",
        "cases",
        "overall",
        "95% interval",
        "p",
        "p, Holm",
        "detectable",
        "at equal length",
        "95% interval",
    )
    lines = []
    for row in rows:
        cells = [f"{row['first']} minus {row['second']}", str(row["n"]), signed(row["difference"])]
        cells += [
            _ends(row, "interval"),
            chance_text(row["p"]),
            chance_text(row["p_holm"]),
            score(row["detectable_difference"]),
        ]
        lines.append((*cells, signed(row["equal_length_difference"]), _ends(row, "equal_length")))
    yield Table(head, tuple(lines))
    yield Paragraph(
        "Intervals: percentiles of a paired bootstrap over cases, not corrected for the number of pairs. p: a test by random "
        f"signs; Holm: corrected for all {len(one['comparisons'])} pairs. Detectable: the smallest difference that such a test "
        "at 5% finds 8 times in 10. At equal length: by a straight line through the differences in the doctor's characters."
    )
    for row in rows:
        if row["unpaired_first"] or row["unpaired_second"]:
            apart = f"{row['unpaired_first']} of {row['first']} and {row['unpaired_second']} of {row['second']}"
            yield Paragraph(f"Scored cases without a partner, left out of the comparison: {apart}.")


def _ends(row: dict, name: str) -> str:
    low, high = row[f"{name}_low"], row[f"{name}_high"]
    return ends_text(None, row["n"]) if low is None else f"{low:+.2f} to {high:+.2f}"


_DISC = (
    "held by DISC's protocol, for comparison with its published dialogues: three rounds, patients that ask in their turns, "
    "tell what they like of their case and never say that they do not know, a judge that sees no case. What differs: DISC has "
    "published no prompt of its patients, so these follow its dialogues; turns that leave the role are said again or left out; "
    "the judge has rubrics worded anew, gives its reasons first, and must score canaries low."
)


def _consultations(rows: list[dict]) -> Iterator[Block]:
    if not rows:
        return
    yield Heading(2, "Simulated consultations")
    findings = list(rows[0]["findings"])
    lines = []
    for row in rows:
        means = [score(row[f"mean_{name}"]) for name in ("rounds", "doctor_characters")]
        said = f"{percent(row['said_diagnosis']['share'])} of {row['said_diagnosis']['n']}"
        shares = [percent(row["findings"][name]) for name in findings]
        played = row["patient"] + (f", {row['patients']}" if row["patients"] != STYLES[0] else "")
        lines.append((row["run"], played, str(row["n"]), str(row["failed"]), *means, said, *shares))
    head = ("run", "patient", "dialogues", "failed", "rounds", "doctor's characters", "patient said the diagnosis")
    yield Table((*head, *map(words, findings)), tuple(lines))
    yield Paragraph("Shares of dialogues in which a check found something; failed dialogues are not judged.")
    if disc := [row["run"] for row in rows if row["patients"] == "disc"]:
        yield Paragraph(f"{', '.join(disc)}: {_DISC}")
    yield from (Paragraph(text) for text in map(_gate, rows) if text)
    yield from (Paragraph(f"{row['run']}: {text}.") for row in rows for text in described(row))
    for row in rows:
        if "cost" in row:
            yield Paragraph(f"Cost of the dialogues in {row['run']}: {cost_text(row['cost'])}.")


def _gate(row: dict) -> str:
    """What the gate of consultations found; "" for runs of before there was one."""
    if (gate := row.get("gate")) is None:
        return ""
    text = f"{row['run']}: of {gate['turns']} turns of the patient {gate['asked_again']} were asked for again, since they did "
    text += f"not keep to its role; {gate['invalid']} of {gate['of']} dialogues stayed so and are not judged"
    faults = ", ".join(f"{words(name)} {count}" for name, count in gate["faults"].items())
    cases = f" (cases {listed(gate['cases'])}: {faults})" if gate["invalid"] else ""
    kept = {row["id"]: "kept" if row["passed"] else ", ".join(map(words, row["faults"])) for row in gate["canaries"]}
    tempted = ", ".join(f"{name} ({how})" for name, how in kept.items())
    return f"{text}{cases}. Canaries of the patient: {tempted}. {inventions_text(row['inventions'])}."


def _repeated(one: dict) -> Iterator[Block]:
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


def _ceiling(one: dict) -> Iterator[Block]:
    """The share of full marks, with a warning."""
    yield Heading(3, "Share of full marks")
    names = [*one["rubric"]["criteria"], "all"]
    withheld = [row["withheld"] for row in one["systems"]]
    rows = [*((row["name"], row["ceiling"]) for row in one["systems"]), ("all systems", one["all"]["ceiling"])]
    lines = [
        (name, *("withheld" if hidden else percent(shares[key]) for key in names))
        for (name, shares), hidden in zip(rows, [*withheld, any(withheld)], strict=True)
    ]
    yield Table(("system", *map(words, names[:-1]), "all criteria at once"), tuple(lines))
    if any(withheld):
        return
    shares = one["all"]["ceiling"]
    high = [name for name in names[:-1] if shares[name] is not None and shares[name] >= CEILING]
    if high:
        text = ", ".join(f"{words(name)} {percent(shares[name])}" for name in high)
        yield Paragraph(
            f"Warning: at the ceiling, with {percent(CEILING)} or more of all verdicts at full marks: {text}. Such a criterion "
            "cannot tell good systems apart."
        )


def _length(one: dict) -> Iterator[Block]:
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


def _replies(one: dict) -> Iterator[Block]:
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
            text = "; ".join(f"{reason} ({count})" for reason, count in run["unscored_reasons"].items())
            yield Paragraph(f"Unscored in {run['run']}: {text}.")
    lines = [
        (run["run"], canary["id"], canary["unscored"] or ", ".join(f"{words(k)} {v:g}" for k, v in canary["scores"].items()),
         "passed" if canary["passed"] else "failed")
        for run in one["runs"] for canary in run["canaries"]
    ]  # fmt: skip
    if lines:
        yield Table(("run", "dialogue that must score low", "scores", "judge"), tuple(lines))


def _agreement(rows: list[dict]) -> Iterator[Block]:
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
