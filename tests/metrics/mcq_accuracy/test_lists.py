"""Lists of letters, however they are written: all of the list or nothing, never a part of it."""

from itertools import product

import pytest

from medllm_hf.metrics.mcq_accuracy.extraction import extract_choice

DRUGS = {"A": "青霉素", "B": "链霉素", "C": "维生素B", "D": "庆大霉素", "E": "红霉素"}
CUES = ("{}", "答案：{}", "答案为 {}", "故选{}。", "The answer is {}.", "Answer: {}", "<answer>{}</answer>", "\\boxed{{{}}}")
CUES += ('{{"answer": "{}"}}', "{}是正确答案。", "因此{}。", "所以选{}，因为很明显。", "选项{}正确")
JOINERS = (
    "、",
    "，",
    ",",
    ", ",
    ";",
    "；",
    " and ",
    ", and ",
    "和",
    "与",
    "及",
    "以及",
    " & ",
    "+",
    " ",
    "/",
    "|",
    "·",
    "跟",
    " plus ",
)
FORMS = {
    "bare": str,
    "bracket": lambda c: f"({c})",
    "square": lambda c: f"[{c}]",
    "closed": lambda c: f"{c})",
    "bold": lambda c: f"**{c}**",
    "wide": lambda c: chr(ord(c) + 0xFEE0),
    "circle": lambda c: chr((0x24D0 if c.islower() else 0x24B6) + ord(c.lower()) - ord("a")),
    "item": lambda c: f"{c}项",
}
CASES = (str.upper, str.lower, str.title, lambda s: s[:-1].lower() + s[-1])


def part_of(found, letters):
    return found is not None and set(found) < set(letters)


@pytest.mark.parametrize("cue", CUES)
def test_a_list_is_read_whole_or_not_at_all(cue):
    read, parts = 0, []
    for joiner, form, case, letters in product(JOINERS, FORMS.values(), CASES, ("BD", "BCD", "ACDE")):
        reply = cue.format(joiner.join(map(form, case(letters))))
        found = extract_choice(reply, DRUGS)
        read += found == letters
        if part_of(found, letters) or (found and found != letters):
            parts.append((reply, found))
    assert parts == []
    assert read > 300


@pytest.mark.parametrize("cue", ["答案：{}", "The answer is {}.", "故选{}", "\\boxed{{{}}}", "{}"])
@pytest.mark.parametrize("case", CASES)
def test_a_letter_a_line(cue, case):
    for letters in ("BD", "BCD"):
        assert extract_choice(cue.format("\n".join(case(letters))), DRUGS) in (None, letters)
    assert extract_choice("答案：\n" + "\n".join(case("BCD")), DRUGS) == "BCD"


@pytest.mark.parametrize(
    ("reply", "chosen"),
    [
        *[
            ("答案：b,c,d", "BCD"),
            ("故选a、b、d。", "ABD"),
            ('{"answer": ["b","c","d"]}', "BCD"),
            ("Answer: a, b and d", "ABD"),
        ],
        *[("Answer: (b), (c), (d)", "BCD"), ("答案为 b c d", "BCD"), ("b,c,d", "BCD"), ("答案：🅑、🅓", "BD")],
        *[("The answer is a virus", None), ("a and b are proteins", None), ("Answer: B, a drug of old", "B")],
        *[("Answer: B, e.g. in children", "B"), ("选B，C项错误", "B"), ("D. A项错误，因为它不对", "D")],
        *[("g D i.e., gentle words", "D"), ("g B (链霉素) Ref: a book", "B"), ("g. Ans. is 'a' i.e., something", "A")],
        *[("答案是选项B$5 \\mathrm{kV}$。", "B"), ("It lies in the (A) north, (B) south, or (D) west.", None)],
        *[("答え: b", "B"), ("答えはaとc", "AC"), ("正解はDです。", "D"), ("정답: C", "C"), ("Gabarito: C", "C")],
        *[("A resposta correta é a C.", "C"), ("A resposta correta é a", None), ("A resposta não é a C.", None)],
        *[("Resposta: **D**", "D"), ("Resposta: A e C", "AC"), ("Resposta: a e c", None), ("Respuesta: A o C", None)],
        *[("La respuesta correcta es la B.", "B"), ("La bonne réponse est la D", "D"), ("Die richtige Antwort ist B.", "B")],
        *[("La risposta corretta è la C.", "C"), ("Ответ: A и C", "AC"), ("Đáp án đúng là B.", "B")],
    ],
)
def test_other_ways_to_say_it(reply, chosen):
    assert extract_choice(reply, DRUGS) == chosen


def test_a_last_line_that_concludes_ends_a_long_reasoning():
    recital = "答案可能是A。再想想，答案是C。答案也许是D，答案是A。\n\n"
    assert extract_choice(recital + "因此，答案应选B。", DRUGS) == "B"
    assert extract_choice(recital + "答案是B。接着往下看", DRUGS) is None
