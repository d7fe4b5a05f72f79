"""Whether a model prefers a place among the options, whatever stands there."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Any

from medllm_hf.evaluation.exams import phrases
from medllm_hf.evaluation.exams.derive import Answer
from medllm_hf.evaluation.statistics.tests import chi_square_p, exact_fit_p
from medllm_hf.reporting.phrases import Text

# A preference is named when chance would show it in fewer than 1 of 100 runs and it moves 5 of 100 answers.
P_LIMIT, SHARE_LIMIT = 0.01, 0.05
# Up to so many wrong answers, in so many cells, their chance is added up; chi-square says far too little of so few.
EXACT_ANSWERS, EXACT_CELLS = 15, 6
SEVERAL, UNPARSED = "several", "unparsed"


@dataclass(frozen=True)
class Place:
    """How often a place was shown, chosen, right, chosen when right, and would be chosen with the mistakes spread evenly."""

    name: str
    shown: int
    predicted: int
    right: int
    hits: int
    expected: float


@dataclass(frozen=True)
class View:
    """The places counted in one way, and the goodness-of-fit test of where the wrong answers went; p None: too few."""

    places: tuple[Place, ...]
    chi_square: float | None
    freedom: int
    p: float | None

    def strongest(self) -> Place:
        """The place whose number of predictions is furthest from the expected."""
        return max(self.places, key=lambda place: abs(place.predicted - place.expected))


def single_choices(answers: Iterable[Answer]) -> list[Answer]:
    """The answers in which one option of a single-answer question was chosen: what the places are counted over."""
    return [a for a in answers if a.kind == "single" and a.choice is not None and len(a.choice) == 1]


def letter_name(labels: str, index: int) -> str:
    """The letter of the option shown at `index`."""
    return labels[index]


def end_name(labels: str, index: int) -> str:
    """The place, from the end, of the option shown at `index`."""
    back = len(labels) - index
    return "the last option" if back == 1 else f"the last option but {back - 1}"


# The Chinese of the places from the end, by their names.
_ENDS = {end_name("x" * back, 0): "最后一项" if back == 1 else f"倒数第 {back} 项" for back in range(1, 27)}


def place_text(name: str) -> Text:
    """The name of a place as it is read: a letter, or a place from the end."""
    return Text(name, _ENDS.get(name, name))


def view(answers: list[Answer], name: Callable[[str, int], str]) -> View:
    """The places by `name`, with the test that the wrong answers went to each wrong option alike.

    Right answers say nothing about a preference for a place, and keys are not spread evenly in every exam: so the test
    compares where the wrong answers went with where they would go if each wrong option of their question drew one as
    often as another. Expected counts below 1 are pooled (Cochran 1954), and the test is exact where the answers are few.
    """
    counts: list[Counter[str]] = [Counter() for _ in range(5)]
    shown, predicted, right, hits, wrong = counts
    # Shares, of which typeshed knows no counter.
    shares: list[Any] = [Counter(), Counter()]
    expected, drawn = shares
    choices: list[list[str]] = []
    cases = Counter(("".join(a.options), a.reference, a.choice) for a in answers if a.choice is not None)
    for (labels, reference, choice), times in sorted(cases.items()):
        names = {label: name(labels, index) for index, label in enumerate(labels)}
        shown.update(dict.fromkeys(names.values(), times))
        right[names[reference]] += times
        predicted[names[choice]] += times
        if choice == reference:
            hits[names[choice]] += times
            expected[names[choice]] += times
            continue
        wrong[names[choice]] += times
        choices += [[names[label] for label in labels.replace(reference, "")]] * times
        for label in labels.replace(reference, ""):
            drawn[names[label]] += times / (len(labels) - 1)
            expected[names[label]] += times / (len(labels) - 1)
    ordered = sorted(shown, key=lambda one: (len(one), one))
    places = tuple(Place(n, shown[n], predicted[n], right[n], hits[n], expected[n]) for n in ordered)
    return View(places, *_test(choices, wrong, drawn))


def _test(choices: list[list[str]], wrong: Counter[str], drawn: Any) -> tuple[float | None, int, float | None]:
    """Chi-square of where the `wrong` answers went, its degrees of freedom, and its p.

    Args:
        choices: for each wrong answer the places that it could go to.
        drawn: how many each place would draw, a counter.
    """
    few = [n for n in drawn if drawn[n] < 1]
    groups = [[n] for n in drawn if n not in few] + ([few] if few else [])
    if len(groups) < 2:
        return None, 0, None
    seen, expected = ([sum(counts[n] for n in group) for group in groups] for counts in (wrong, drawn))
    statistic = sum((count - wanted) ** 2 / wanted for count, wanted in zip(seen, expected, strict=True))
    if len(choices) > EXACT_ANSWERS or len(groups) > EXACT_CELLS:
        return statistic, len(groups) - 1, chi_square_p(statistic, len(groups) - 1)
    cell = {n: number for number, group in enumerate(groups) for n in group}
    return statistic, len(groups) - 1, exact_fit_p([[cell[n] for n in names] for names in choices], seen, expected)


def position_bias(answers: Iterable[Answer]) -> dict | None:
    """The places by letter and from the end, and the bias in a sentence of each language; None without a single-answer choice.

    Where the questions have different numbers of options, the two views tell a liking for a letter from one for the last
    option. The view with the larger deviation is the one that is named.
    """
    chosen = single_choices(answers)
    if not chosen:
        return None
    views = {"letter": view(chosen, letter_name), "from_end": view(chosen, end_name)}
    if len({len(a.options) for a in chosen}) == 1:
        del views["from_end"]  # the same places under other names
    named = [
        (abs(place.predicted - place.expected), one.p, place)
        for one in views.values()
        if one.p is not None and one.p < P_LIMIT
        for place in [one.strongest()]
        if abs(place.predicted - place.expected) >= SHARE_LIMIT * len(chosen)
    ]
    result = {"n": len(chosen), **{key: asdict(one) for key, one in views.items()}, "bias": None}
    if named:
        # A tie goes to the letter: rounding must not decide it.
        _, p, place = max(named, key=lambda entry: round(entry[0], 6))
        return result | {"bias": place.name} | sentences(_biased(place, p, len(chosen)))
    values = [one.p for one in views.values() if one.p is not None]
    if not values:
        return result | sentences(phrases.TOO_FEW_WRONG)
    found = phrases.NO_BIAS_SMALL if min(values) < P_LIMIT else phrases.NO_BIAS
    return result | sentences(found(p=f"{min(values):.3f}", n=len(chosen)))


def sentences(text: Text) -> dict[str, str]:
    """What is said of a bias, as results.json has it."""
    return {"sentence": text.en, "sentence_zh": text.zh}


def _biased(place: Place, p: float, count: int) -> Text:
    shares = {name: f"{100 * getattr(place, name) / count:.1f}%" for name in ("predicted", "right", "expected")}
    name = place_text(place.name)
    verdict = (phrases.BIASED_TOWARDS if place.predicted > place.expected else phrases.BIASED_AGAINST)(place=name)
    return phrases.BIASED(place=name, n=count, verdict=verdict, p="p < 0.001" if p < 0.001 else f"p = {p:.3f}", **shares)


def confusion(answers: Iterable[Answer]) -> dict:
    """Right letter → predicted letter → answers to single-answer questions, as shown; columns for several and unparsed."""
    table: dict[str, Counter] = {}
    letters = set()
    for answer in answers:
        if answer.kind == "single":
            choice = answer.choice
            column = UNPARSED if choice is None else choice if len(choice) == 1 else SEVERAL
            table.setdefault(answer.reference, Counter())[column] += 1
            letters |= set(answer.options)
    columns = [*sorted(letters), SEVERAL, UNPARSED]
    rows = {right: {column: table.get(right, Counter())[column] for column in columns} for right in sorted(letters)}
    return {"columns": columns, "rows": rows}
