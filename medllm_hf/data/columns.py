"""Names of columns and of roles, as published files have them: the tables stand here once."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from medllm_hf.errors import UserError

_TALKS = (
    *("dialogue", "dialog", "conversation", "conv", "convo", "transcript", "session", "chat", "thread", "consultation"),
    *("consult", "encounter", "visit", "interview", "call", "case", "对话", "会话"),
)  # fmt: skip
_COUNTED = ("id", "no", "num", "number", "index", "idx", "order")
# What a column holds → its names, the likeliest first; compared without case, spaces, - and _.
COLUMNS: dict[str, tuple[str, ...]] = {
    "turns": (
        *("messages", "conversation", "conversations", "dialogue", "dialogues", "dialog", "dialogs", "data", "dialoginfo"),
        *("dialoguecontent", "dialogueturns", "turns", "utterances", "chat", "rounds", "对话", "对话内容", "会话", "text"),
    ),
    "user": (
        *("question", "questions", "问题", "提问", "ask", "query", "inquiry", "prompt", "instruction", "instruct", "input"),
        *("inputs", "问", "患者问题", "患者提问", "用户问题", "用户", "user", "human", "patient", "患者", "病人", "q"),
        *("userquery", "userinput", "patientquestion", "病人提问", "client", "seeker", "来访者", "求助者"),
        *("problem", "context", "text"),
        # Korean, Japanese, Spanish and Portuguese, French, German, Russian, Vietnamese, Arabic, Indonesian, Turkish, Italian.
        *("질문", "문의", "유저", "사용자", "환자", "질의", "내담자", "質問", "質問文", "質問内容", "相談内容", "ユーザー"),
        *("ユーザ",),
        *("pregunta", "preguntas", "usuario", "paciente", "pergunta", "perguntas", "usuário", "frage", "fragen", "benutzer"),
        *("utilisateur", "вопрос", "вопросы", "пациент", "пользователь", "câuhỏi", "cauhoi", "bệnhnhân", "ngườidùng"),
        *("سؤال", "السؤال", "المريض", "المستخدم", "pertanyaan", "soru", "domanda"),
    ),
    "assistant": (
        *("answer", "answers", "回答", "答案", "response", "responses", "output", "outputs", "target", "targets"),
        *("completion",),
        *("reply", "回复", "答", "医生回答", "医生回复", "chosen", "responsechosen", "assistant", "gpt", "bot", "doctor"),
        *("医生", "a", "referenceanswer", "reference", "参考答案", "标准答案", "botresponse", "assistantresponse"),
        *("modeloutput", "doctoranswer", "doctorresponse", "doctorreply", "therapist", "counselor", "counsellor", "咨询师"),
        *("physician", "psychologist", "psychotherapist", "心理咨询师", "goldanswer", "groundtruthanswer", "groundtruth"),
        *("stdanswer", "standardanswer", "solution", "expectedanswer", "expectedoutput", "expectedresponse", "idealanswer"),
        *("idealresponse", "goldresponse", "标准回答", "preferredoutput"),
        *("답변", "응답", "대답", "챗봇", "의사", "상담사", "해결책", "応答", "返答", "返信", "医師", "医師の回答"),
        *("アシスタント",),
        *("respuesta", "respuestas", "asistente", "médico", "medico", "resposta", "respostas", "assistente", "antwort"),
        *("antworten", "arzt", "réponse", "réponses", "médecin", "ответ", "ответы", "врач", "ассистент", "câutrảlời"),
        *("cautraloi", "trảlời", "bácsĩ", "جواب", "الجواب", "إجابة", "الإجابة", "اجابة", "الاجابة", "الطبيب", "المساعد"),
        *("jawaban", "cevap", "yanıt", "risposta"),
    ),
    "system": ("system", "systemprompt", "systemmessage", "系统", "系统提示"),
    "history": ("history", "历史"),
    "preferred": ("chosen", "responsechosen", "preferredoutput"),
    "instruction": ("instruction", "instruct"),
    "input": ("input",),
    "title": ("title", "questiontitle", "标题"),
    # Of an object that is one turn.
    "role": ("role", "from", "speaker", "sender", "author", "interlocutor", "角色", "说话人"),
    "content": ("content", "value", "text", "sentence", "utterance", "message", "内容", "文本"),
    # Beside a turn, or a round, that has a row of its own: which dialogue it is of, and its place there.
    "dialogue": (
        *(f"{what}{which}" for what in _TALKS for which in ("id", "no", "number", "index", "idx", "key")),
        *("对话id", "对话编号", "对话序号", "会话id", "会话编号", "会话序号", "问诊id", "问诊编号", "咨询id", "咨询编号"),
        *_TALKS,
        *("对话", "会话", "id"),
    ),
    "place": (
        *(f"{what}{which}" for what in ("utterance", "turn", "round", "sentence", "utt") for which in _COUNTED),
        *("turn", "round", "轮次", "序号", "轮", "句子编号"),
    ),
}  # fmt: skip
# What may stand behind the name of a side or of a content: seeker_post, answer_text, 患者内容.
_ENDINGS = ("text", "body", "post", "message", "utterance", "content", "内容", "文本")


_PLACES = {kind: {name: place for place, name in reversed(list(enumerate(names)))} for kind, names in COLUMNS.items()}


@lru_cache(maxsize=4096)
def _rank(kind: str, name: str) -> int | None:
    """How likely a name says that a column holds something, 0 the most; None if it does not.

    A side may be named by two of its names, such as bot_reply or 患者提问; a letter alone may be that of an option.
    """
    places = _PLACES[kind]
    if name in places or kind not in ("user", "assistant", "content"):
        return places.get(name)
    for length in range(1, len(name)):
        word, end = name[:length], name[length:]
        ends = end in _ENDINGS or (kind != "content" and end in places and (len(end) > 1 or not end.isascii()))
        if ends and word in places and (length > 1 or not word.isascii()):
            return len(places) * (places[word] + 1) + places.get(end, 0)
    return None


# People who talk say several things in a row; a model and its user take turns.
_PEOPLE = {
    "user": (
        *("patient", "client", "seeker", "help seeker", "help-seeker", "helpseeker", "pt", "caller", "parent", "caregiver"),
        *("patient_guest", "guest_family", "speaker", "患者", "病人", "病患", "来访者", "来访", "求助者", "求助人", "求询者"),
        *("咨询者", "提问者", "家属", "患者家属", "病人家属", "患儿家长", "家长", "家屬", "民眾", "個案"),
        *("customer", "환자", "내담자", "相談者", "クライアント", "paciente", "patiente", "patientin", "пациент", "клиент"),
        *("bệnh nhân", "المريض", "مريض"),
    ),
    "assistant": (
        *("doctor", "dr", "doc", "physician", "clinician", "nurse", "pharmacist", "guest_clinician", "therapist"),
        *("counselor",),
        *("counsellor", "psychologist", "psychotherapist", "psychiatrist", "supporter", "helper", "listener", "provider"),
        *("医生", "医师", "大夫", "护士", "药师", "咨询师", "心理咨询师", "心理医生", "治疗师", "心理治疗师"),
        *("倾听者", "支持者"),
        *("醫師", "醫生", "護理師", "藥師", "心理師", "諮商師"),
        *("agent", "의사", "상담사", "상담자", "医師", "看護師", "カウンセラー", "médico", "médica", "terapeuta", "médecin"),
        *("docteur", "thérapeute", "arzt", "ärztin", "therapeut", "therapeutin", "врач", "доктор", "психолог", "терапевт"),
        *("bác sĩ", "الطبيب", "طبيب"),
    ),
}  # fmt: skip
_MACHINES = {
    "user": (
        *(
            "user",
            "usr",
            "human",
            "prompter",
            "用户",
            "人类",
            "问",
            "问题",
            "유저",
            "사용자",
            "ユーザー",
            "ユーザ",
            "質問",
            "질문",
        ),
        *("usuario", "usuário", "utilisateur", "benutzer", "nutzer", "пользователь", "người dùng", "المستخدم"),
    ),
    "assistant": (
        *("assistant", "gpt", "chatgpt", "bot", "chatbot", "model", "ai", "助手", "机器人", "答", "回答", "챗봇", "답변"),
        *("アシスタント", "asistente", "assistente", "assistent", "ассистент", "trợ lý", "المساعد"),
    ),
    "system": ("system", "sys", "系统", "developer"),
}
MACHINES = {name for names in _MACHINES.values() for name in names}
ROLES = {name: role for table in (_PEOPLE, _MACHINES) for role, names in table.items() for name in names}
# Who speaks where a tool is called; `tool_calls` stands beside a role in the OpenAI API's format.
CALLS = ("tool_calls", "function_call")
TOOLS = {"tool", "tools", "tool_call", "tool_calls", "tool_response", "function", "function_call", "observation", "ipython"}
OWN_COLUMNS = ("user", "assistant", "system", "messages", "dialogue", "role", "content")
# What `--columns` must name at least, beside a system turn; and, of a turn a row, may name besides.
_WHOLE = ({"user", "assistant"}, {"messages"}, {"role", "content"})


@dataclass(frozen=True)
class Names:
    """The names that a user gave, beside the common ones.

    columns: of OWN_COLUMNS what has a column of its own, by a path of names with dots; empty for the common names. Of user
        and assistant several paths may be joined by `+`.
        With a column `role` a row is one turn.
    roles: a name of a role in small letters → user, assistant or system; the common names are in it.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    roles: Mapping[str, str] = field(default_factory=lambda: ROLES)


def parse_names(columns: str | None, roles: str | None) -> Names:
    """The names in `--columns user=ask,assistant=answer` and `--roles user=patient,assistant=doctor`.

    Raises:
        UserError: something else than KEY=NAME, an unknown key, one twice, or columns that make no dialogue.
    """
    own = _pairs(columns, "--columns", OWN_COLUMNS)
    given = dict(own)
    if len(given) < len(own):
        raise UserError(f"--columns {columns!r} with one key twice", "each once", "leave one out")
    if given and given.keys() - {"system"} - ({"dialogue"} if "role" in given else set()) not in _WHOLE:
        expected = "user and assistant, or messages alone, or role and content of a turn a row, beside dialogue"
        raise UserError(f"--columns {columns!r}", expected, "name the columns of a dialogue")
    parts = [part for path in given.values() for part in path.split("+")]
    if len(set(parts)) < len(parts):
        raise UserError(f"--columns {columns!r} with one column twice", "a column for each", "name the other one")
    pairs = [(name.casefold(), role) for role, name in _pairs(roles, "--roles", ("user", "assistant", "system"))]
    named = dict(pairs)
    if len(set(pairs)) > len(named):
        raise UserError(f"--roles {roles!r} with one name for two roles", "one role a name", "leave one out")
    return Names(given, {**ROLES, **named})


def _pairs(text: str | None, flag: str, keys: tuple[str, ...]) -> list[tuple[str, str]]:
    pairs = []
    for part in (text or "").split(",") if text is not None else []:
        key, _, name = (word.strip() for word in part.partition("="))
        if key not in keys or not name:
            raise UserError(f"{flag} {text!r}", f"KEY=NAME,… with the keys {', '.join(keys)}", "write it so")
        pairs.append((key, name))
    return pairs


@lru_cache(maxsize=4096)
def known(columns: tuple[str, ...]) -> dict[str, tuple[str, ...]]:
    """What columns may hold → those of the `columns` that have a name for it, the likeliest first."""
    named = [(column, plain(column)) for column in columns]
    found = {}
    for kind in COLUMNS:
        ranked = [
            (rank, place, column) for place, (column, name) in enumerate(named) if (rank := _rank(kind, name)) is not None
        ]
        found[kind] = tuple(column for _, _, column in sorted(ranked))
    return found


def value_at(value: object, path: str) -> object:
    """What stands at a path such as `meta.question` or `choices.0.text`, whose names may hold dots; None if nothing does."""
    if isinstance(value, list):
        place, _, rest = path.partition(".")
        entry = value[int(place)] if place.isdecimal() and int(place) < len(value) else None
        return value_at(entry, rest) if rest else entry
    if not isinstance(value, dict):
        return None
    if path in value:
        return value[path]
    heads = [path[:i] for i, char in enumerate(path) if char == "." and path[:i] in value]
    return value_at(value[heads[-1]], path[len(heads[-1]) + 1 :]) if heads else None


def parts_at(row: object, path: str) -> list[tuple[str, object]]:
    """The path and what stands there; of paths joined by `+`, unless a column is called so, each with what it has."""
    whole = value_at(row, path)
    if whole is not None:
        return [(path, whole)]
    return [(part, value) for part in path.split("+") if (value := value_at(row, part)) is not None] if "+" in path else []


@lru_cache(maxsize=4096)
def plain(name: str) -> str:
    """A name as it is compared: in small letters, without blanks, `_` and `-`."""
    return re.sub(r"[\s_-]+", "", name).casefold()


# What shows nothing: spaces, controls, marks of direction and width, fillers of Hangul, an empty pattern of Braille.
_SHOWS = re.compile(
    r"[^\s\x00-\x1f\x7f-\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    r"\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e0fff]"
)


def is_blank(text: str) -> bool:
    """Whether nothing of a text can be seen."""
    return _SHOWS.search(text) is None


def is_prose(text: str) -> bool:
    """Whether a text may be what somebody says: not empty, a number or an address."""
    return bool(re.search(r"[^\W\d_]", text)) and not re.match(r"https?://\S*$", text)
