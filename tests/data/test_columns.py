"""Columns and roles under the names that published files give them, and under names that the user gives."""

import json

import pytest
from support.commands import run

from medllm_hf.data.column_hints import no_column
from medllm_hf.data.columns import Names, parse_names
from medllm_hf.data.commands.check import check
from medllm_hf.data.dialogues import Policy, dialogue
from medllm_hf.data.files import BadRow
from medllm_hf.errors import UserError
from tests.data.test_formats import GOOD, SYSTEM, TWO_ROUNDS, USUAL, write_lines

ASKED, ANSWERED = "头痛两天", "发热吗？"


def read(row, columns=None, roles=None):
    """The turns of a row and what was repaired in it."""
    found, repair = dialogue(row, "auto", "x", Policy(names=parse_names(columns, roles)))
    return found["messages"], repair


@pytest.mark.parametrize(
    ("user", "assistant"),
    [
        *(("question", "answer"), ("问题", "回答"), ("提问", "回答"), ("ask", "answer"), ("query", "response")),
        *(
            ("prompt", "response"),
            ("input", "output"),
            ("input", "target"),
            ("instruction", "response"),
            ("instruct", "output"),
        ),
        *(("Question", "Answer"), ("QUERY", "Response"), ("prompt", "completion"), ("Question", "Complex_CoT Response")),
        *(
            ("user", "assistant"),
            ("Patient", "Doctor"),
            ("患者", "医生"),
            ("human", "gpt"),
            ("问", "答"),
            ("questions", "answers"),
        ),
        *(("seeker_post", "response_post"), ("ClientText", "therapist_utterance"), ("来访者内容", "咨询师内容")),
        *(("user_input", "bot_reply"), ("患者提问", "咨询师回复"), ("Client Query", "TherapistAnswer")),
    ],
)
def test_a_question_and_its_answer(user, assistant):
    names = assistant.split()
    row = {user: ASKED, **dict.fromkeys(names, "想一想"), names[-1]: ANSWERED, "department": "内科", "rank": 1}
    assert read(row) == (GOOD, None)
    assert read({**row, "system_prompt": "你是医生"}) == ([SYSTEM, *GOOD], None)


@pytest.mark.parametrize(
    "row",
    [
        {"conversations": [{"role": "user", "content": ASKED}, {"role": "assistant", "content": ANSWERED}]},
        {"messages": [{"from": "Human", "value": ASKED}, {"from": "Assistant", "value": ANSWERED}]},
        {"dialogue": [{"speaker": "患者", "sentence": ASKED}, {"speaker": "医生", "sentence": ANSWERED}]},
        {"messages": [{"role": "patient", "content": ASKED}, {"role": "DOCTOR", "content": ANSWERED}]},
        {"Dialogue": ["病人：" + ASKED, "医生：" + ANSWERED]},
        ["患者:" + ASKED, "医生:" + ANSWERED],
        [{"role": "user", "content": ASKED}, {"role": "assistant", "content": ANSWERED}],
        {"turns": [{"human": ASKED, "assistant": ANSWERED}]},
        {"对话": [{"病人": ASKED}, {"医生": ANSWERED}]},
        {"conversation": [[ASKED, ANSWERED]]},
        {"conversations": {"from": ["human", "gpt"], "value": [ASKED, ANSWERED]}},
        {"messages": json.dumps([{"role": "user", "content": ASKED}, {"role": "assistant", "content": ANSWERED}])},
        {"messages": [{**GOOD[0], "content": [{"type": "text", "text": ASKED}]}, {**GOOD[1], "content": [ANSWERED]}]},
        {"instruction": [ASKED], "input": "", "output": [ANSWERED]},
        {"questions": [[ASKED]], "answers": [ANSWERED]},
        {"prompt": [{"role": "user", "content": ASKED}], "completion": [{"role": "assistant", "content": ANSWERED}]},
        {"text": f"<human>: {ASKED}\n<bot>: {ANSWERED}"},
        {"ask": "无", "title": ASKED, "answer": ANSWERED},
        {"context": f"问题：{ASKED}\n回答：", "target": ANSWERED},
        {"Context": ASKED, "Response": ANSWERED},
        {"messages": [{"role": "user", "content": [{"type": "text", "value": ASKED}]}, GOOD[1]]},
        {"text": ASKED, "answer": ANSWERED},
        {"conversations": [{"from": "human", "value": ASKED}], "chosen": {"from": "gpt", "value": ANSWERED}, "rejected": "x"},
        {"messages": GOOD[:1], "chosen": ANSWERED, "rejected": "别问了"},
        {"prompt": ASKED, "chosen": [GOOD[1]], "rejected": [GOOD[0]]},
        {"questionTitle": "标题", "questionText": ASKED, "answerText": ANSWERED},
        {"dialogue": f"[patient] {ASKED}\n[doctor] {ANSWERED}"},
        {"messages": [f"【患者】{ASKED}", f"【医生】：{ANSWERED}"]},
        {"history": [], "query": ASKED, "response": ANSWERED, "text": "别的"},
        {"data": "2020-01-01", "question": ASKED, "answer": ANSWERED},
    ],
)  # fmt: skip
def test_one_round_in_many_layouts(row):
    assert read(row) == (GOOD, None)


@pytest.mark.parametrize(
    ("asked", "column"),
    [
        (f" <user>: {ASKED} <bot>: {ANSWERED} <user>: 没有", "instruction"),
        (f"病人：{ASKED}\\n医生：{ANSWERED}\\n病人：没有\\n医生：", "input"),
        (f"<s>问：\n{ASKED}\n答：\n{ANSWERED}\n问：\n没有\n答：\n", "query"),
        (f"Human: {ASKED}\nAssistant: {ANSWERED}\nHuman: 没有\nAssistant:", "prompt"),
    ],
)
def test_a_question_that_holds_the_whole_dialogue_is_split(asked, column):
    assert read({column: asked, "output": "多休息。"}) == (TWO_ROUNDS, None)


def test_a_round_may_bring_the_system_turn():
    rounds = [{"system": "你是医生", "input": ASKED, "output": ANSWERED}, {"input": "没有", "output": "多休息。"}]
    assert read({"conversation": rounds})[0] == [SYSTEM, *TWO_ROUNDS]


def test_what_stands_before_a_dialogue_in_one_text_is_the_system_turn():
    asked = f"你是医生\n来访者：{ASKED}\n医生：{ANSWERED}\n来访者：没有\n医生："
    assert read({"instruction": asked, "output": "多休息。"})[0] == [SYSTEM, *TWO_ROUNDS]
    for asked in (
        "请判断类型：\n答：",
        f"你是医生\n来访者：{ASKED}",
        "医生：\n医生：",
        "说明：\n来访者：",
        "：",
        "a:",
        "头痛两天。\n问题：这是什么症状\n答：",
        "病历\n患者：头痛\n医生：多久了\n问题：总结对话\n答：",
    ):
        assert read({"instruction": asked, "output": "好"})[0][0]["content"] == asked


def test_a_question_that_begins_like_a_mark_is_left_as_it_is():
    assert read({"text": "[男] 头痛", "answer": ANSWERED})[0][0]["content"] == "[男] 头痛"
    for asked in ("患者：男，45岁，头痛两天", "问：头痛两天怎么办", "主诉：头痛\n医生：开了布洛芬", "I asked: why?"):
        assert read({"question": asked, "answer": ANSWERED})[0][0]["content"] == asked
    assert read({"instruction": f"<user>: {ASKED}", "output": ANSWERED})[0] == GOOD


@pytest.mark.parametrize(
    ("row", "where", "reason"),
    [
        ({"instruction": "<user>: 头痛 <bot>: 多久了", "output": "休息"}, "instruction", "does not end with a question"),
        ({"instruction": "<user>: 头痛 <user>: 发热", "output": "休息"}, "turn 1", "where assistant"),
        ({"messages": [GOOD[0], {"role": "assistant", "content": None, "tool_calls": [{}]}]}, "turns", "tool"),
        ({"chat": [{"from": "human", "value": "几点"}, {"from": "observation", "value": "9"}]}, "turns", "tool"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}, "messages[0]", "image_url"),
        ({"messages": [{"role": "甲方", "content": "甲"}]}, "turn 0", "--roles says whose"),
        ({"messages": [{"谁": "甲", "说": "乙"}]}, "messages[0]", "with 谁, 说"),
        ({"title": "标题", "body": {"q": "头痛两天了", "a": "多休息为好"}}, "row", "--columns user=body.q,assistant=body.a"),
        ({"system_prompt": "你是护士"}, "row", "among system_prompt"),
    ],
)  # fmt: skip
def test_what_cannot_be_a_dialogue_says_why(row, where, reason):
    with pytest.raises(BadRow) as caught:
        dialogue(row, "auto", "x", USUAL)
    assert (caught.value.where, reason in caught.value.reason) == (where, True), caught.value.reason


def test_several_wordings_and_several_messages_in_a_row_are_repaired():
    assert read({"questions": [[ASKED, "头疼两天"]], "answers": [ANSWERED]}) == (
        GOOD,
        "the first of several wordings was taken",
    )
    said = [{"speaker": "患者", "text": "头痛"}, {"speaker": "患者", "text": "两天"}, {"speaker": "医生", "text": ANSWERED}]
    turns, repair = read({"dialogue": said})
    assert (turns[0]["content"], repair) == ("头痛\n两天", "what one side said in several turns was joined")
    opened = {"dialogue": "Doctor: Hello!\nPatient: 头痛两天\nDoctor: 发热吗？"}
    assert read(opened) == (GOOD, "what was said before the first question was left out")
    with pytest.raises(BadRow, match="where assistant"):  # a model's user does not
        read({"messages": [GOOD[0], *GOOD]})


def test_as_many_answers_as_questions_are_rounds():
    turns, note = read({"input": [ASKED, "没有"], "output": [ANSWERED, "多休息。"]})
    assert (turns, note) == (TWO_ROUNDS, "as many answers as questions were taken as rounds")
    answers = [{"answer_text": ANSWERED, "has_label": 1}, {"answer_text": "多休息。"}]
    assert read({"question": ASKED, "answers": answers}) == (GOOD, "the first of several wordings was taken")
    assert read({"prompt": ASKED, "chosen": {"answer": ANSWERED, "chain_of_thought": "想"}}) == (GOOD, None)
    for answers in ([], [{}], [None], {"x": "y"}, [[[]]], [{"role": "x"}]):
        with pytest.raises(BadRow):
            read({"question": ASKED, "answers": answers})


def test_a_content_in_lines_is_joined():
    turns, _ = read(
        {"conversations": [{"from": "user", "value": ["头痛", "两天"]}, {"from": "assistant", "value": ["嗯", "发热吗"]}]}
    )
    assert [turn["content"] for turn in turns] == ["头痛\n两天", "嗯\n发热吗"]
    for part in ({"type": ["x"], "text": "y"}, {"type": {}}):
        with pytest.raises(BadRow):
            read({"messages": [{"role": "user", "content": [part, {"type": "audio"}]}, GOOD[1]]})


def test_names_that_the_user_gives(tmp_path, capsys):
    nested = {"meta": {"asks": ASKED, "who": "你是医生"}, "replies": [{"t": ANSWERED}], "messages": [GOOD[0]]}
    assert read(nested, "user=meta.asks, assistant=replies.0.t,system=meta.who") == ([SYSTEM, *GOOD], None)
    assert read({"a.b": {"talk": GOOD}, "question": "x", "answer": "y"}, "messages=a.b.talk")[0] == GOOD
    said = {"dialogue": [{"role": "来访", "content": ASKED}, {"role": "Nurse", "content": ANSWERED}]}
    assert read(said, roles="user=来访,assistant=nurse") == (GOOD, None)
    assert read({"说": ["来访：" + ASKED, "NURSE: " + ANSWERED]}, "messages=说", "user=来访,assistant=nurse") == (GOOD, None)
    path = write_lines(tmp_path / "a.jsonl", [{"asks": ASKED, "says": ANSWERED}])
    assert check([path], columns="user=asks,assistant=says") == 0
    assert check([path], columns="user=asks,assistant=nothing") == 1
    assert "no column nothing among the columns asks, says" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flag", "value"),
    [
        *(("--columns", "ask"), ("--columns", "user=a"), ("--columns", "user=a,messages=c"), ("--columns", "bot=a")),
        *(("--columns", "system=a"), ("--columns", "user=,assistant=b"), ("--columns", "user=a,user=b,assistant=c")),
        *(("--columns", ""), ("--columns", "user=a,assistant=a"), ("--roles", "user=a,assistant=a")),
        *(("--roles", "doctor=医生"), ("--roles", "user"), ("--roles", "user=a,")),
    ],
)  # fmt: skip
def test_names_that_are_refused(flag, value, tmp_path, refused):
    path = write_lines(tmp_path / "a.jsonl", [{"messages": GOOD}])
    assert flag in refused("data", "check", path, flag, value)
    with pytest.raises(UserError):
        parse_names(**{flag.removeprefix("--"): value, **{"columns" if flag == "--roles" else "roles": None}})


def test_what_to_try_is_said_of_the_columns():
    assert no_column({"id": "12345678", "topic": "头痛", "text_a": "头痛两天了", "text_b": "请多休息"}, Names()).endswith(
        "user=text_a,assistant=text_b"
    )
    assert no_column({"id": 1, "items": [{"question": "x", "answer": "y"}]}, Names()).endswith("messages=items")
    assert no_column({"link": "https://a.cn/1", "says": ASKED, "hears": "多喝水"}, Names()).endswith(
        "user=says,assistant=hears"
    )
    # Nothing that `--columns` cannot name, and of a table without a header that it has none.
    assert no_column({"a,b": "头痛两天了", "": "请休息", "c": "请多休息"}, Names()).endswith("or messages=…")
    assert "write a first row" in no_column({"头痛怎么办？": "头痛两天了", "多休息": "请休息"}, Names())
    assert "among none" in no_column({}, Names()) and Names() == Names()


def test_a_letter_or_the_other_side_makes_no_name_of_two_words():
    for row in ({"question": "x", "answer_a": "y"}, {"question": "x", "human_answers": "y"}):
        assert "no columns of a dialogue" in no_column(row, Names())
        with pytest.raises(BadRow):
            read(row)


def test_a_table_without_a_header_is_told_so(tmp_path, capsys):
    path = tmp_path / "bare.csv"
    path.write_text("".join(f"头痛{i}天怎么办,{'多喝水。' * 30}{i}\n" for i in range(3)), encoding="utf-8")
    assert check([path]) == 1
    shown = capsys.readouterr().out
    assert "write a first row with the names of the columns, such as question and answer" in shown
    assert "多喝水。" * 16 not in shown


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("头痛怎么办,多休息\n咳嗽怎么办,多喝水\n", "assistant=多休息, or write a first row with the names"),
        ("What can I do about a cough?,Drink tea\nAnd a cold?,Rest\n", "; write a first row with the names of the columns"),
        ("1,头痛怎么办,多休息\n2,咳嗽怎么办,多喝水\n", "; write a first row with the names of the columns"),
        ("头痛,好的\n咳嗽,好的\n", "or write a first row with the names of the columns"),
        ("好的,好的\n是的,是的\n", "write a first row of names if this one is data"),
        ("subject,reason_text\n头痛怎么办,多休息\n咳嗽怎么办,多喝水\n", "try --columns user=subject,assistant=reason_text\n"),
    ],
)
def test_the_first_row_of_a_table_is_not_proposed_as_names_without_a_word(text, said, tmp_path):
    path = tmp_path / "bare.csv"
    path.write_text(text, encoding="utf-8")
    done = run("medllm", "data", "check", str(path))
    assert done.returncode and said in done.stdout + done.stderr


def test_a_table_of_turns_that_names_no_dialogue_is_told_what_to_name(tmp_path, capsys):
    path = tmp_path / "turns.csv"
    path.write_text("room,interlocutor,utterance_text,web\n1,client,头痛两天,a\n1,therapist,发热吗？,b\n", encoding="utf-8")
    assert check([path]) == 1
    shown = capsys.readouterr().out
    assert "the columns interlocutor and utterance_text are one turn, not a dialogue; try --columns dialogue=…,role=" in shown
    assert "none of its first 2 rows" in shown
    assert check([path], columns="dialogue=room,role=interlocutor,content=utterance_text") == 0


def test_a_column_for_the_system_turn_that_no_row_has(tmp_path, capsys):
    rows = [{"asks": "头痛", "says": "请休息"}] * 3
    columns = "user=asks,assistant=says,system=role"
    assert check([write_lines(tmp_path / "a.jsonl", rows)], columns=columns) == 1
    assert "rows has the column role" in capsys.readouterr().out
    assert check([write_lines(tmp_path / "b.jsonl", [*rows, {**rows[0], "role": "你是医生"}])], columns=columns) == 0


@pytest.mark.parametrize("prompt", [ASKED, [{"role": "user", "content": ASKED}]])
def test_a_preferred_answer_that_repeats_the_prompt(prompt):
    assert read({"prompt": prompt, "chosen": GOOD, "rejected": GOOD}) == (GOOD, None)
    other = [{"role": "user", "content": "没有"}, GOOD[1]]
    with pytest.raises(BadRow, match="role 'user' where assistant"):
        read({"prompt": prompt, "chosen": other, "rejected": other})


def test_a_long_run_of_blanks_is_a_text_like_others():
    """A search for marks began anew at each blank: 20,000 took 22 seconds."""
    asked = "头痛" + " " * 100_000 + "怎么办："
    assert read({"question": asked, "answer": "多休息。"})[0][0]["content"] == asked


@pytest.mark.parametrize(
    "turns",
    [
        [{"role": "assistant", "content": "您好，我能帮什么？"}, *GOOD],
        [{"from": "gpt", "value": "您好"}, {"from": "human", "value": ASKED}, {"from": "gpt", "value": ANSWERED}],
        [
            {"speaker": "Listener", "text": "您好"},
            {"speaker": "Speaker", "text": ASKED},
            {"speaker": "Listener", "text": ANSWERED},
        ],
        [{"speaker": "sys", "text": "您好"}, {"speaker": "usr", "text": ASKED}, {"speaker": "sys", "text": ANSWERED}],
        [{"護理師": "您好"}, {"病患": ASKED}, {"護理師": ANSWERED}],
    ],
)
def test_a_greeting_before_the_first_question_is_left_out_and_said(turns):
    assert read({"messages": turns}) == (GOOD, "what was said before the first question was left out")
    assert read({"instruction": "<bot>: 您好 <user>: 头痛", "output": "休息"})[0][0]["content"] == "头痛"


def test_texts_without_roles_are_taken_by_turns_and_said():
    by_turns = "texts without roles were taken as user and assistant by turns"
    assert read({"data": [turn["content"] for turn in TWO_ROUNDS]}) == (TWO_ROUNDS, by_turns)
    assert read({"dialog": [ASKED, ANSWERED, "没有"]})[1].startswith(by_turns)
    assert read({"messages": [{"message": turn["content"], "attrs": [{"x": 1}]} for turn in GOOD]}) == (GOOD, by_turns)
    for texts in ([ASKED], ["甲：头痛", "乙：发热吗"], ['{"role": "user"}', "{}"], ["问：头痛", "阿姨：好"]):
        with pytest.raises(BadRow):
            read({"data": texts})
    with pytest.raises(BadRow):  # paragraphs
        read({"text": [ASKED, ANSWERED]})


def test_lists_as_python_writes_them():
    assert read({"conversation": f"[{{'human': '{ASKED}', 'assistant': '{ANSWERED}'}}]"}) == (GOOD, None)
    for text in ("[{'human': open('x')}]", "['" + "[" * 5_000, "[{'a'"):
        with pytest.raises(BadRow):
            read({"conversation": text})


def test_all_calls_of_tools_are_one_reason(tmp_path, capsys):
    calls = [
        [
            GOOD[0],
            {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "x"}}]},
            {"role": "tool", "content": "1"},
        ],
        [GOOD[0], {"role": "assistant", "content": "", "function_call": {"name": "x"}}],
        [{"from": "human", "value": ASKED}, {"from": "function_call", "value": "{}"}, {"from": "observation", "value": "1"}],
        [{"role": "user", "content": ASKED}, {"role": "assistant", "content": "好"}, {"role": "function", "content": "1"}],
    ]
    path = write_lines(tmp_path / "a.jsonl", [{"conversations": turns, "tools": "[]"} for turns in [*calls, GOOD]])
    assert check([path]) == 1
    rejected = [line for line in capsys.readouterr().out.splitlines() if line.startswith("rejected")]
    assert len(rejected) == 1 and rejected[0].startswith(f"rejected 4, such as {path}:1 turns: the call of a tool")


def test_an_answer_that_nobody_wants_is_left_out():
    assert read({"messages": GOOD, "label": True}) == (GOOD, None)
    with pytest.raises(BadRow, match="trl kto"):
        read({"prompt": ASKED, "completion": ANSWERED, "label": False})


@pytest.mark.parametrize("column", ["gold_answer", "ground_truth", "std_answer", "expected_output"])
def test_answers_of_test_sets(column):
    assert read({"question": ASKED, column: ANSWERED, "answer_llm": "x"}) == (GOOD, None)


def test_dialogues_by_their_names(tmp_path, capsys):
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"甲": GOOD, "乙": TWO_ROUNDS}), encoding="utf-8")
    assert check([path]) == 0
    assert "accepted 2" in capsys.readouterr().out


def test_a_column_called_dialogue_that_holds_none_is_one_line(tmp_path, capsys):
    path = write_lines(tmp_path / "a.jsonl", [{"role": "旁白", "dialogue": f"第{i}句"} for i in range(9)])
    assert check([path]) == 1
    assert "rejected 1" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("user", "assistant"),
    [
        *(("질문", "답변"), ("유저", "챗봇"), ("質問", "回答"), ("相談内容", "返答"), ("Pregunta", "Respuesta")),
        *(("Pergunta", "Resposta"), ("Question", "Réponse"), ("Frage", "Antwort"), ("Вопрос", "Ответ")),
        *(("Câu hỏi", "Câu trả lời"), ("السؤال", "الجواب"), ("pertanyaan", "jawaban"), ("input", "preferred_output")),
    ],
)
def test_a_question_and_its_answer_in_other_languages(user, assistant):
    assert read({user: ASKED, assistant: ANSWERED, "no": 1}) == (GOOD, None)


def test_rounds_of_one_dialogue_in_an_object_and_in_a_row(tmp_path, capsys):
    rounds = [
        {"turn": 1, "patient_question": "", "doctor_response": "您好"},
        {"turn": 2, "patient_question": ASKED, "doctor_response": ANSWERED},
    ]
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"model": "x", "dropped": [], "conversation": rounds}, ensure_ascii=False), encoding="utf-8")
    assert check([str(path)]) == 0 and "turns in conversation" in capsys.readouterr().out
    assert read({"conversation": rounds}) == (GOOD, "what was said before the first question was left out")
    # Rows under a name of many stay rows.
    path.write_text(json.dumps({"data": [{"question": ASKED, "answer": ANSWERED}] * 2}), encoding="utf-8")
    assert check([str(path)]) == 0 and "read 2: accepted 2" in capsys.readouterr().out


def test_preferences_alone_and_in_other_layouts():
    whole = f"\n\nHuman: {ASKED}\n\nAssistant: {ANSWERED}"
    assert read({"chosen": whole, "rejected": "x"}) == (GOOD, None)
    assert read({"chosen": GOOD, "rejected": GOOD[:1]}) == (GOOD, None)
    row = {"input": {"messages": GOOD[:1]}, "preferred_output": GOOD[1:], "non_preferred_output": GOOD[:1]}
    assert read(row) == (GOOD, None)
    assert read({"conversation": {"messages": GOOD}}) == (GOOD, None)
    with pytest.raises(BadRow, match="people do not want"):
        read({"question": ASKED, "answer": ANSWERED, "label": "-1.0"})


def test_columns_that_are_joined(tmp_path, capsys):
    row = {"head": "请教", "body": ASKED, "says": ANSWERED, "a+b": "甲", "meta": {"more": "谢谢"}}
    assert read(row, "user=head+body+meta.more,assistant=says")[0][0]["content"] == f"请教\n{ASKED}\n谢谢"
    assert read({**row, "head": None}, "user=head+body,assistant=says")[0][0]["content"] == ASKED
    assert read({**row, "head": ASKED[:2]}, "user=head+body,assistant=says")[0][0]["content"] == ASKED
    assert read(row, "user=a+b,assistant=says")[0][0]["content"] == "甲"
    path = write_lines(tmp_path / "a.jsonl", [row] * 2)
    assert check([path], columns="user=head+body,assistant=says") == 0
    assert "columns with text that were not read (in so many rows): a+b (2), meta (2)" in capsys.readouterr().out
    # A part that no row has is a slip, and would be lost.
    assert check([path], columns="user=haed+body,assistant=says") == 1
    assert "none of its first 2 rows has the column haed" in capsys.readouterr().out


@pytest.mark.parametrize(
    "text", ["\u200b", " \ufeff\u00ad", "\u2800", "\u3164\u115f", "\x00\x1b\x7f", "\u202e\u2060", "\U000e0041"]
)
def test_what_cannot_be_seen_is_no_text(text):
    with pytest.raises(BadRow, match="empty content"):
        read({"question": ASKED, "answer": text})
    with pytest.raises(BadRow, match="empty content"):
        read({"question": text, "answer": ANSWERED})
    assert read({"messages": [{"role": "system", "content": text}, *GOOD]}) == (GOOD, "empty system turn was left out")
    with pytest.raises(BadRow, match="option is not a text"):
        read({"question": ASKED, "options": ["甲", text, "丙"], "answer": "A"})
    assert read({"question": ASKED, "answer": f"好{text}"})[0][1]["content"] == f"好{text}"
