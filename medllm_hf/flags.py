"""The arguments of every verb, one function a verb; defaults and choices are read from the settings of the rooms."""

import argparse

from medllm_hf.flag_groups import (
    add_extra_body,
    add_output,
    add_personal_data,
    add_placement,
    add_setting,
    add_spending,
    add_thinking,
)
from medllm_hf.flag_types import batch_size, port, real, seed, whole

Parser = argparse.ArgumentParser
# What `medllm demo` writes.
DEMO = "medllm-demo"


def tiny_base(parser: Parser) -> None:
    """Adds the arguments of `medllm tiny-base`."""
    from medllm_hf.checkpoint.settings import TinyBaseSettings as Settings

    parser.add_argument("dst", metavar="DIR", help="folder to write")
    add_setting(parser, Settings, "layers")
    add_setting(parser, Settings, "hidden", help="width; 4096 is the 7B's")
    add_setting(parser, Settings, "vocab", help="tokens; 125696 is Baichuan2's")
    add_setting(parser, Settings, "dtype")
    add_setting(parser, Settings, "seed")
    add_output(parser)


def convert(parser: Parser) -> None:
    """Adds the arguments of `medllm convert`."""
    from medllm_hf.checkpoint.settings import ConvertSettings as Settings

    parser.add_argument("src", metavar="SRC", help="checkpoint folder or Hub id")
    parser.add_argument("dst", metavar="DST", help="folder to write")
    add_setting(parser, Settings, "template", help="chat template to stamp in")
    add_setting(parser, Settings, "dtype", help="auto keeps the source's")
    parser.add_argument("--revision", help="branch, tag or commit of a Hub repository")
    add_output(parser)


def merge(parser: Parser) -> None:
    """Adds the arguments of `medllm merge`."""
    from medllm_hf.checkpoint.settings import MergeSettings

    parser.add_argument("adapter", metavar="ADAPTER", help="LoRA adapter folder")
    parser.add_argument("dst", metavar="DST", help="folder to write")
    parser.add_argument("--base", help="base checkpoint; default: the one that the adapter names")
    add_setting(parser, MergeSettings, "dtype", help="auto keeps the base's")
    add_output(parser)


def _data_inputs(parser: Parser) -> None:
    from medllm_hf.data.dialogues import AUTO, FORMATS, Policy

    parser.add_argument(
        "inputs", metavar="INPUT", nargs="+",
        help="files (JSON, CSV, TSV, each also .gz, .xlsx, .parquet, .zip), folders, globs or Hub datasets ORG/NAME",
    )  # fmt: skip
    parser.add_argument("--format", default=AUTO, help=f"%(default)s (default), {', '.join(FORMATS)}")
    parser.add_argument(
        "--columns", metavar="KEY=NAME,…",
        help="the columns of the dialogue: user=ask,assistant=reply or messages=meta.turns, and system=…; of a turn a row "
        "dialogue=visit,role=speaker,content=text; dots go into objects, + joins: user=title+text",
    )  # fmt: skip
    roles = "other names of roles: user=patient,assistant=doctor, and system=…"
    parser.add_argument("--roles", metavar="KEY=NAME,…", help=roles)
    found = "of the text in the files; default: UTF-8, GB18030 or UTF-16, as they are found to be"
    parser.add_argument("--encoding", help=found)
    parser.add_argument("--revision", help="branch, tag or commit of the Hub datasets")
    left = "a last user turn without an answer: cut it (default), drop the dialogue, or stop"
    add_setting(parser, Policy, "trailing_user", option="--on-trailing-user", help=left)
    bad = "a row that cannot be used: drop it (default), or stop"
    add_setting(parser, Policy, "bad_row", option="--on-bad-row", help=bad)


def data_check(parser: Parser) -> None:
    """Adds the arguments of `medllm data check`."""
    _data_inputs(parser)
    parser.add_argument("--list", dest="list_file", metavar="FILE", help="write every problem to FILE as JSON lines")


def data_build(parser: Parser) -> None:
    """Adds the arguments of `medllm data build`."""
    from medllm_hf.data.settings import Options

    _data_inputs(parser)
    parser.add_argument("--out", required=True, metavar="DIR", help="dataset folder to write")
    parser.add_argument("--license", help="licence id for the card, such as apache-2.0; there is no default")
    near = "keep near-duplicates in one split (default), keep one of them, or do not look for them"
    add_setting(parser, Options, "near_duplicates", help=near)
    parser.add_argument(
        "--benchmarks", nargs="+", default=[], metavar="QUESTIONS",
        help="held-out questions to look for: files, names such as cmexam, or NAME=PATH of its published files",
    )  # fmt: skip
    personal = "mask phone numbers, ids, links (default), drop the dialogue, or stop"
    add_setting(parser, Options, "on_personal_data", help=personal)
    overlap = "a dialogue that holds a held-out question: drop it (default), keep it, or stop"
    add_setting(parser, Options, "on_overlap", help=overlap)
    add_setting(parser, Options, "test_fraction", help="share of the dialogues in the test split")
    add_setting(parser, Options, "seed")
    add_output(parser)


def _examinee(parser: Parser) -> None:
    from medllm_hf.evaluation.exams.settings import BATCH_TOKENS, Settings

    who = parser.add_mutually_exclusive_group(required=True)
    who.add_argument("--model", metavar="SPEC", help="folder of a checkpoint or LoRA adapter, Hub id, or URL#MODEL")
    who.add_argument("--url", metavar="URL#MODEL", help="the same as --model URL#MODEL: an OpenAI-compatible endpoint")
    parser.add_argument("--revision", help="branch, tag or commit of a Hub repository")
    parser.add_argument("--base", help="base checkpoint of an adapter; default: the one that it names")
    add_placement(parser)
    tokens = f"tokens in one forward (default: {BATCH_TOKENS}; on a CPU what takes some seconds)"
    add_setting(parser, Settings, "batch_tokens", metavar="N", help=tokens)
    size = "the most questions in one forward (default: auto, as many as --batch-tokens holds)"
    parser.add_argument("--batch-size", "--batch_size", type=batch_size, metavar="N|auto", help=size)


def eval_mcq(parser: Parser) -> None:
    """Adds the arguments of `medllm eval mcq`."""
    from medllm_hf.endpoints.address import KEY_ENV, Endpoint
    from medllm_hf.evaluation.exams.settings import NEW_TOKENS, READINGS, REASONING_TOKENS, Settings

    _examinee(parser)
    several = "question files, or names such as cmexam, or NAME=PATH of its published files; separated by commas, or repeated"
    parser.add_argument("--data", "--tasks", required=True, action="append", metavar="FILE_OR_BENCHMARK,…", help=several)
    folder = "run folder to write, or to go on with; of several readings or benchmarks the folder of RUN/BENCHMARK/READING"
    parser.add_argument("--out", "--output_path", required=True, metavar="RUN", help=folder)
    add_setting(parser, Settings, "limit", metavar="N", help="ask the first N questions alone, for a trial: never published")
    parser.add_argument("--data-path", metavar="PATH", help="a benchmark's published files; default: its copy on the Hub")
    parser.add_argument("--split", help="split of a benchmark (default: test)")
    parser.add_argument("--encoding", help="of the text of a question file in which none is found, such as big5")
    first, reply, reasoning = READINGS
    mode = (
        f"the reading, or several: {first} compares the probabilities of all answers (default with --model), {reply} reads a "
        f"short written reply (with --url), {reasoning} what is written after free reasoning"
    )
    parser.add_argument("--mode", metavar="READING,…", help=mode)
    score = "compare the letters with the options shown (default), or the texts of the answers without them"
    add_setting(parser, Settings, "score", help=score)
    divided = "what an answer's log-probability is divided by (default: nothing)"
    add_setting(parser, Settings, "normalization", help=divided)
    add_setting(
        parser, Settings, "shots", alias="--num_fewshot", metavar="N", help="solved examples first (default: %(default)s)"
    )
    parser.add_argument(
        "--examples", metavar="FILE_OR_BENCHMARK",
        help="a file of them, or a benchmark, NAME or NAME=PATH, for its dev split (default: that of --data)",
    )  # fmt: skip
    add_setting(parser, Settings, "seed", help="of examples and orders of options (default: %(default)s)")
    parser.add_argument("--shuffle-options", action="store_true", help="show each question's options in an order of its own")
    parser.add_argument("--circular", action="store_true", help="ask with every rotation of the options; right if all are")
    plain = "plain text in place of chat turns"
    parser.add_argument("--no-chat-template", dest="chat_template", action="store_false", help=plain)
    add_setting(parser, Settings, "max_new_tokens", metavar="N", help=f"of a short reply (default: {NEW_TOKENS})")
    budget = f"of a reply with reasoning, thoughts included (default: {REASONING_TOKENS}, or what the model's positions leave)"
    add_setting(parser, Settings, "reasoning_tokens", metavar="N", help=budget)
    again = "ask once more where a reply has no letter that can be read; told beside the accuracy as read"
    add_setting(parser, Settings, "finish", help=again)
    at_once = f"requests at once to the endpoint (default: {Endpoint.concurrency})"
    add_setting(parser, Settings, "concurrency", metavar="N", help=at_once)
    key = f"environment variable with the endpoint's key (default: {KEY_ENV})"
    add_setting(parser, Settings, "key_env", metavar="VAR", help=key)
    add_thinking(parser, told="by a local model in the reading reasoning alone")
    add_extra_body(parser)
    add_spending(parser)
    add_output(parser)


def eval_cases(parser: Parser) -> None:
    """Adds the arguments of `medllm eval cases`."""
    from medllm_hf.evaluation.case_facts.settings import Settings

    parser.add_argument("cases", metavar="FILE", help="cases: one of DISC's published sets, or JSON lines")
    writer = "who writes the facts: URL#MODEL of an endpoint, a checkpoint folder or a Hub id"
    parser.add_argument("--writer", required=True, metavar="SPEC", help=writer)
    parser.add_argument("--out", required=True, metavar="CASES", help="folder to write, or to go on with")
    facts_alone = "write the facts alone, without the checklist that a call of its own makes of them"
    parser.add_argument("--no-checklist", dest="checklist", action="store_false", help=facts_alone)
    _replies(parser, Settings, "writer", "cases")
    add_spending(parser)
    add_output(parser)


def eval_consult(parser: Parser) -> None:
    """Adds the arguments of `medllm eval consult`."""
    from medllm_hf.evaluation.consultations.settings import AUTO, MAX_TURNS, STYLES, Settings
    from medllm_hf.evaluation.judging.settings import Settings as JudgeSettings
    from medllm_hf.metrics.llm_judge.rubrics import LANGUAGES, RUBRICS

    spec = "URL#MODEL of an endpoint, a checkpoint folder or a Hub id"
    parser.add_argument("--cases", required=True, metavar="FILE", help="cases: one of DISC's published sets, or JSON lines")
    parser.add_argument("--doctor", required=True, metavar="SPEC", help=f"the model under test: {spec}")
    parser.add_argument("--patient", required=True, metavar="SPEC", help="who plays the patients, in the same way")
    parser.add_argument("--judge", metavar="SPEC", help="who scores the dialogues, in the same way; default: nobody")
    rubrics = "of the judge (default: that of the set of cases, or disc-medllm); checklist: those of the cases"
    parser.add_argument("--rubric", choices=list(RUBRICS), help=rubrics)
    parser.add_argument("--language", choices=list(LANGUAGES), help=f"of the rubric (default: {JudgeSettings.language})")
    several = f"the judge's replies for each dialogue (default: {JudgeSettings.samples})"
    add_setting(parser, Settings, "samples", metavar="N", help=several)
    parser.add_argument("--blind", action="store_true", help="do not show the judge the cases, as DISC's judge saw none")
    parser.add_argument("--out", required=True, metavar="RUN", help="run folder to write, or to go on with")
    add_setting(
        parser, Settings, "turns", metavar=f"N|{AUTO}", help=f"rounds (default: %(default)s), or {AUTO}: the patient ends"
    )
    most = f"the most rounds with --turns {AUTO} (default: {MAX_TURNS})"
    add_setting(parser, Settings, "max_turns", metavar="N", help=most)
    styles = f"of {', '.join(STYLES)} (default: %(default)s); several write OUT/STYLE"
    add_setting(parser, Settings, "patient_style", metavar="STYLE,…", help=styles)
    add_setting(parser, Settings, "protocol", help="disc: patients, rounds and a blind judge as DISC's (default: %(default)s)")
    add_setting(parser, Settings, "concurrency", metavar="N", help="requests at once to an endpoint (default: %(default)s)")
    add_setting(parser, Settings, "timeout", metavar="S", help="seconds for one request (default: %(default)g)")
    add_setting(parser, Settings, "seed", help="every call's own seed is made from it (default: %(default)s)")
    roles = ("doctor", "patient")
    for role in roles:
        add_setting(parser, Settings, f"{role}_temperature", metavar="T", help="default: %(default)g")
        add_setting(parser, Settings, f"{role}_max_new_tokens", metavar="N", help="default: %(default)s")
    key = "environment variable with the endpoints' key (default: %(default)s)"
    add_setting(parser, Settings, "key_env", metavar="VAR", help=key)
    for role in (*roles, "judge"):
        add_setting(parser, Settings, f"{role}_key_env", metavar="VAR", help=f"the same for the {role} alone")
        add_thinking(parser, f"{role}-", f"the {role}")
        add_extra_body(parser, f"{role}-", f"the {role}'s endpoint")
    asked = "ask the doctor after the dialogue for its three likeliest diagnoses, which are compared with the case's"
    parser.add_argument("--ask-diagnosis", action="store_true", help=asked)
    add_setting(parser, Settings, "doctor_system", metavar="TEXT", help="system message to the doctor (default: none)")
    add_personal_data(parser, "cases")
    add_spending(parser)
    add_output(parser)


def _replies(parser: Parser, settings: type, who: str, what: str) -> None:
    add_setting(parser, settings, "temperature", metavar="T", help="default: %(default)g")
    add_setting(parser, settings, "seed", help="every reply's own seed is made from it (default: %(default)s)")
    add_setting(parser, settings, "max_new_tokens", metavar="N", help="of a reply (default: %(default)s)")
    add_setting(parser, settings, "concurrency", metavar="N", help="requests at once (default: %(default)s)")
    add_setting(parser, settings, "timeout", metavar="S", help="seconds for one request (default: %(default)g)")
    key = "environment variable with the endpoint's key (default: %(default)s)"
    add_setting(parser, settings, "key_env", metavar="VAR", help=key)
    add_thinking(parser, who=f"the {who}")
    add_extra_body(parser, who=f"the {who}'s endpoint")
    add_personal_data(parser, what)


def _judge_replies(parser: Parser) -> None:
    from medllm_hf.evaluation.judging.settings import Settings

    _replies(parser, Settings, "judge", "dialogues")
    limit = "no headline figure where a larger share of the replies is unscored (default: %(default)g)"
    add_setting(parser, Settings, "failure_limit", metavar="SHARE", help=limit)
    form = "JSON by a schema where the endpoint takes one and else labelled lines (default), or these always"
    add_setting(parser, Settings, "form", help=form)


def _language(parser: Parser, what: str) -> None:
    from medllm_hf.evaluation.judging.settings import Settings
    from medllm_hf.metrics.llm_judge.rubrics import LANGUAGES

    words = f"of the {what} (default: %(default)s)"
    parser.add_argument("--language", choices=list(LANGUAGES), default=Settings.language, help=words)


def eval_judge(parser: Parser) -> None:
    """Adds the arguments of `medllm eval judge`."""
    from medllm_hf.evaluation.judging.settings import Settings
    from medllm_hf.metrics.llm_judge.rubrics import RUBRICS

    read = "dialogues, a run of `eval consult`, or a rubric benchmark"
    parser.add_argument("--dialogues", required=True, metavar="FILE_OR_RUN", help=read)
    answers = "answers to a rubric benchmark: prompt_id or case_id, response, model"
    parser.add_argument("--answers", metavar="FILE", help=answers)
    cases = "the cases of the dialogues, which the judge is then shown (default: it is not), or their checklists"
    parser.add_argument("--cases", metavar="FILE", help=cases)
    parser.add_argument("--judge", required=True, metavar="SPEC", help="URL#MODEL, a checkpoint folder or a Hub id")
    parser.add_argument("--out", required=True, metavar="RUN", help="run folder to write, or to go on with")
    parser.add_argument("--rubric", choices=list(RUBRICS), default=Settings.rubric, help="default: %(default)s")
    _language(parser, "rubric")
    add_setting(parser, Settings, "samples", metavar="N", help="replies for each dialogue (default: %(default)s)")
    _judge_replies(parser)
    add_spending(parser)
    add_output(parser)


def eval_pair(parser: Parser) -> None:
    """Adds the arguments of `medllm eval pair`."""
    from medllm_hf.evaluation.judging.settings import Settings

    one = "of one system: a dialogue file, or a run of `eval consult`"
    parser.add_argument("--first", required=True, metavar="FILE_OR_RUN", help=f"the dialogues {one}")
    parser.add_argument("--second", required=True, metavar="FILE_OR_RUN", help="those of the system to compare it with")
    parser.add_argument("--judge", required=True, metavar="SPEC", help="URL#MODEL, a checkpoint folder or a Hub id")
    parser.add_argument("--out", required=True, metavar="RUN", help="run folder to write, or to go on with")
    _language(parser, "question to the judge")
    each = "replies for each case in each of the two orders (default: %(default)s)"
    add_setting(parser, Settings, "samples", metavar="N", help=each)
    _judge_replies(parser)
    add_spending(parser)
    add_output(parser)


def eval_agree(parser: Parser) -> None:
    """Adds the arguments of `medllm eval agree`."""
    runs = "judge runs, judged runs of `eval consult`, or runs of `eval pair`"
    parser.add_argument("runs", metavar="RUN", nargs="+", help=runs)
    columns = "human labels, .jsonl or .csv: id of the dialogue (of a pair: source/case), annotator, and a column for each "
    columns += "criterion: a score, or of a pair first, second or tie"
    parser.add_argument("--labels", nargs="+", default=[], metavar="FILE", help=columns)
    few = "labels of dialogues drawn at random, 20 cases or more, by which means and win rates are corrected"
    parser.add_argument("--calibrate", nargs="+", default=[], metavar="FILE", help=few)
    parser.add_argument("--out", required=True, metavar="DIR", help="folder to write")
    add_output(parser)


def eval_import(parser: Parser) -> None:
    """Adds the arguments of `medllm eval import`."""
    parser.add_argument("--scores", required=True, nargs="+", metavar="FILE", help="result_*.jsonl, or folders of them")
    parser.add_argument("--dialogues", metavar="FILE", help="the published dialogues, file or folder, which tell the groups")
    parser.add_argument("--out", required=True, metavar="RUN", help="run folder to write")
    add_output(parser)


def report(parser: Parser) -> None:
    """Adds the arguments of `medllm report`."""
    from medllm_hf.reporting.phrases import DEFAULT, LANGUAGES

    parser.add_argument("runs", metavar="RUN", nargs="+", help="run folders, in the order of the table")
    parser.add_argument("--out", required=True, metavar="DIR", help="folder to write")
    words = "of tables, plots and page (default: %(default)s)"
    parser.add_argument("--language", choices=list(LANGUAGES), default=DEFAULT, help=words)
    add_output(parser)


def verify(parser: Parser) -> None:
    """Adds the arguments of `medllm verify`."""
    parser.add_argument("repository", metavar="REPO_OR_DIR", help="Hub id or repository folder of a published model")
    parser.add_argument("--revision", help="branch, tag or commit of the Hub repository")
    parser.add_argument("--data", nargs="+", metavar="FILE", help="questions or cases of the runs, for hashes that need them")
    parser.add_argument(
        "--rerun", type=whole, metavar="N", help="compute N answers of each exam again on the published weights"
    )
    parser.add_argument("--seed", type=seed, help="by which these are drawn")
    judge = "with --rerun: ask this judge for N verdicts of each judged run again: URL#MODEL, a checkpoint folder or a Hub id"
    parser.add_argument("--judge", metavar="SPEC", help=judge)


def web(parser: Parser) -> None:
    """Adds the arguments of `medllm web`."""
    from medllm_hf.chat.settings import HOST, PORT

    parser.add_argument("--host", default=HOST, help="address to serve at (default: %(default)s, this machine alone)")
    parser.add_argument("--port", type=port, default=PORT, help="default: %(default)s; 0 takes a free one")
    chat(parser)


def chat(parser: Parser) -> None:
    """Adds the arguments of `medllm chat`."""

    model = "checkpoint folder, Hub id, or URL#MODEL of an OpenAI-compatible endpoint"
    parser.add_argument("model", metavar="MODEL", help=model)
    parser.add_argument("--seed", type=seed, help="makes sampled answers repeat")
    parser.add_argument("--system", metavar="TEXT", help="system message that begins each conversation")
    parser.add_argument("--temperature", type=real, help="0 always takes the most probable token (default: the model's own)")
    parser.add_argument("--top-p", type=real, help="sample among the most probable tokens of this probability together")
    parser.add_argument("--top-k", type=whole, help="sample among so many of the most probable tokens; 0: all")
    parser.add_argument("--repetition-penalty", type=real, help="above 1, tokens that were used become less probable")
    parser.add_argument("--max-new-tokens", type=whole, metavar="N", help="the most tokens of one answer")
    add_thinking(parser)
    add_extra_body(parser)
    add_placement(parser)


def demo(parser: Parser) -> None:
    """Adds the arguments of `medllm demo`."""
    parser.add_argument("--out", default=DEMO, metavar="DIR", help="folder to write (default: %(default)s)")
    add_output(parser)
