"""What may not be published is refused, by real folders that have it; a secret is named and never shown."""

import json
import shutil

import pyarrow
import pytest
import torch
from pyarrow import parquet
from safetensors.torch import load_file, save_file
from support.made import MOBILE
from support.paths import SAMPLE
from support.tampering import FIVES, appended, edited, metrics, rows

from medllm_hf.errors import UserError
from medllm_hf.evaluation.commands.mcq import mcq
from medllm_hf.hub.behaviour_files import check_behaviour
from medllm_hf.hub.checks import check_files, check_repository
from medllm_hf.hub.publish import publish_model
from medllm_hf.hub.secret_patterns import SECRETS as PATTERNS
from medllm_hf.hub.secret_patterns import kinds_of_secrets

# Put together here, so that no line of this file looks like a secret itself.
SECRETS = {
    "a token of the Hugging Face Hub": "hf_" + "AbCdEfGhIj" * 3 + "KLMN",
    "a key of an API": "sk-" + "proj-Ab12Cd34" * 3,
    "a key of Amazon": "AKIA" + "IOSFODNN7" + "EXAMPLE",
    "a token of GitHub": "ghp_" + "a1B2c3D4e5F6" * 3,
    "a key of Google": "AIza" + "Sy0123456" + "a" * 26,
    "a private key": "-----BEGIN RSA " + "PRIVATE KEY-----",
    "a token in a header": "Authorization: Bearer " + "abc123" * 5,
    "a key in a setting": '"api' + '_key": "q1w2e3r4t5y6u7"',
    "a token of ModelScope": "ms-" + "0a1b2c3d-4e5f-6071-8293-a4b5c6d7e8f9",
    "a key of Aliyun": "LTAI" + "5tQwErTyUiOpAsDf",
    "a key of Tencent Cloud": "AKID" + "z8Xy" * 8,
    "a key of Volcengine": "AKLT" + "YjQ2" * 10,
    "a key of Qianfan": "bce-v3/" + "ALTAK-qwertyuiop/" + "0a1b" * 8,
    "a key of Zhipu": "0123456789abcdef" * 2 + "." + "QwErTyUiOpAsDfGh",
    "a token of GitLab": "glpat-" + "Ab12Cd34Ef56Gh78Ij90",
    "a token of Slack": "xoxb-" + "123456789012-abcdef",
    "a JSON web token": "eyJ" + "hbGciOiJIUzI1NiJ9." + "eyJ" + "zdWIiOiIxMjM0NTY3ODkwIn0." + "Zm9vYmFyYmF6cXV4",
    "a password in an address": "https://doctor:" + "geheim7@example.org/x",
}
# Further ways of writing one kind.
ALSO = ("api" + "_key: q1w2e3r4t5y6u7i8o9p0", "OPENAI_API" + "_KEY=q1w2e3r4t5y6u7i8o9p0", "密" + "钥：'q1w2e3r4t5y6u7'")
# What looks alike and is none.
NO_SECRETS = (
    *("api_key: your_key_goes_here", "api_key=os.environ['KEY_OF_MINE_1']", "access_token: ${HF_TOKEN}", "password: ********"),
    *(
        '"pad_token": "<|reserved_special_token_0|>"',
        "eos_token_id: 151645",
        "token: <|endoftext|>",
        "http://127.0.0.1:8000/v1",
    ),
    *("model.layers.10.self_attn.q_proj.weight", "tokens: 12345678901234567890123", "sha256: " + "0a" * 32),
)


@pytest.fixture(scope="module")
def model(tiny, tmp_path_factory):
    """A model folder with a run on four questions in it."""
    folder = tmp_path_factory.mktemp("checked") / "model"
    shutil.copytree(tiny["base"], folder)
    lines = (SAMPLE / "questions_test.jsonl").read_text(encoding="utf-8").splitlines()[:4]
    (folder.parent / "four.jsonl").write_text("\n".join(lines), encoding="utf-8")
    mcq(str(folder), str(folder.parent / "four.jsonl"), str(folder / "run"), score="text")
    return folder


@pytest.fixture
def own(model, tmp_path):
    return shutil.copytree(model, tmp_path / "model")


def published(model, tmp_path):
    out = tmp_path / "repository"
    publish_model(str(model), "org/tiny", [str(model / "run")], "apache-2.0", None, str(out), False)
    return out


def refusal(model, tmp_path):
    """The message with which a model folder is refused, and that nothing was written."""
    with pytest.raises(UserError) as error:
        published(model, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    return str(error.value)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"max_position_embeddings": 10**400}, "max_position_embeddings"),
        ({"num_attention_heads": False}, "num_attention_heads"),
        ({"auto_map": {"AutoModel": "x/y--m.M"}}, "names code of its own"),
        ({"quantization_config": {"load_in_4bit": True}}, "quantization_config"),
    ],
)
def test_a_config_for_which_a_verification_would_fail_is_not_pushed(tiny, tmp_path, fields, named):
    folder = shutil.copytree(tiny["base"], tmp_path / "model")
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps({**config, **fields}), encoding="utf-8")
    with pytest.raises(UserError, match=named):
        check_behaviour(folder)


def test_a_good_folder_passes(own, tmp_path):
    check_repository(published(own, tmp_path))


@pytest.mark.parametrize("kind", SECRETS)
def test_a_secret_is_named_by_file_and_line_and_not_shown(own, tmp_path, kind):
    appended("chat_template.jinja", "\n{# a note\n" + SECRETS[kind] + " #}")(own)
    line = len((own / "chat_template.jinja").read_text(encoding="utf-8").splitlines())
    message = refusal(own, tmp_path)
    assert f"chat_template.jinja line {line}: {kind}" in message
    assert SECRETS[kind] not in message


@pytest.mark.parametrize("text", ALSO)
def test_a_key_in_a_setting_needs_no_quotes(text):
    assert kinds_of_secrets(text) == ["a key in a setting"]


@pytest.mark.parametrize("text", NO_SECRETS)
def test_what_looks_like_a_secret_and_is_none(text):
    assert kinds_of_secrets(text) == []


def test_every_kind_of_secret_is_tried():
    assert SECRETS.keys() == PATTERNS.keys()


@pytest.mark.parametrize("name", ["run/outputs.jsonl", "run/manifest.json", "provenance.json", "config.json", "LICENSE"])
def test_a_secret_is_found_in_every_kind_of_file(own, tmp_path, name):
    token = SECRETS["a token of the Hugging Face Hub"]
    if name.endswith(".json"):
        edited(name, lambda found: found.update(note=token))(own)
    elif name.endswith(".jsonl"):
        rows(name, lambda found: found[1].update(note=token))(own)
    else:
        (own / name).write_text(token, encoding="utf-8")
    message = refusal(own, tmp_path)
    assert name.replace("run/", "eval/run/") + " line " in message
    assert token not in message


def test_a_secret_in_the_header_of_the_weights(own, tmp_path):
    token = SECRETS["a token of the Hugging Face Hub"]
    shutil.rmtree(own / "run")
    save_file(load_file(own / "model.safetensors"), own / "model.safetensors", metadata={"format": "pt", "note": token})
    with pytest.raises(UserError, match="model.safetensors line 1: a token of the Hugging Face Hub"):
        publish_model(str(own), "org/tiny", [], "mit", None, str(tmp_path / "repository"), False)


def test_secrets_and_personal_data_in_rows_of_parquet(tmp_path):
    (tmp_path / "data").mkdir()
    file = tmp_path / "data" / "train.parquet"
    for text, named in ((SECRETS["a key of an API"], "line 2: a key of an API"), (f"请打{MOBILE}", "line 2: mobile")):
        table = pyarrow.Table.from_pylist([{"text": "头痛"}, {"text": text}])
        parquet.write_table(table, file, compression="zstd")
        with pytest.raises(UserError, match=f"data/train.parquet {named}") as error:
            check_files({"data/train.parquet": file})
        assert text not in str(error.value) and MOBILE not in str(error.value)


def test_pickles_are_refused_by_name_and_by_content(tmp_path):
    weights = {"x": torch.zeros(2)}
    files = {name: tmp_path / name for name in ("old.bin", "plain.safetensors", "hidden.json", "legacy.dat", "good.json")}
    for name in ("old.bin", "hidden.json"):
        torch.save(weights, files[name])
    torch.save(weights, files["legacy.dat"], _use_new_zipfile_serialization=False)
    save_file(weights, files["plain.safetensors"])
    files["good.json"].write_text("{}")
    with pytest.raises(UserError, match="run code: old.bin; hidden.json; legacy.dat; expected"):
        check_files(files)
    for suffix in (".pt", ".pkl", ".ckpt", ".pth"):
        (tmp_path / f"empty{suffix}").touch()
        with pytest.raises(UserError, match="can run code"):
            check_files({f"empty{suffix}": tmp_path / f"empty{suffix}"})


def test_personal_data_in_the_evidence_is_refused(own, tmp_path):
    rows("run/scores.jsonl", lambda found: found[2].update(question=f"我的手机号是{MOBILE}，怎么办？"))(own)
    message = refusal(own, tmp_path)
    assert "eval/run/scores.jsonl line 3: mobile" in message
    assert MOBILE not in message


def test_figures_that_the_evidence_does_not_give_are_refused(own, tmp_path):
    metrics("run", accuracy=0.99)(own)
    assert "eval/run/metrics.json accuracy (0.99, where the evidence gives" in refusal(own, tmp_path)


def test_an_edited_card_is_refused(own, tmp_path):
    folder = published(own, tmp_path)
    appended("README.md", "\nIt reaches 99.9% on CMExam.\n")(folder)
    with pytest.raises(UserError, match="99.9% on CMExam"):
        check_repository(folder)


def test_a_run_of_another_kind_is_refused(own, tmp_path):
    edited("run/manifest.json", lambda found: found.update(kind="judge"))(own)
    assert "a run of kind judge" in refusal(own, tmp_path)


def test_what_only_looks_like_a_secret_passes(tmp_path):
    text = json.dumps({"eos_token": "</s>", "sha256": "0a" * 32, "api_key": "EMPTY", "note": "hf_hub sk-learn", "key": 3})
    (tmp_path / "config.json").write_text(text)
    check_files({"config.json": tmp_path / "config.json"})


def test_secrets_of_verdicts_are_none(tmp_path):
    (tmp_path / "eval").mkdir()
    (tmp_path / "eval" / "outputs.jsonl").write_text(json.dumps({"reply": FIVES, "id": "0" * 64}) + "\n")
    check_files({"eval/outputs.jsonl": tmp_path / "eval" / "outputs.jsonl"})
