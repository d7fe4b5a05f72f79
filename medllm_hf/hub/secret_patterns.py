"""Tokens and keys by what they look like, of the services that users of this field have keys of."""

import re

SECRETS = {
    "a token of the Hugging Face Hub": r"\bhf_[A-Za-z0-9]{20,}",
    "a token of ModelScope": r"\bms-[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}\b",
    "a key of an API": r"\bsk-[A-Za-z0-9_-]{20,}",
    "a key of Amazon": r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b",
    "a key of Aliyun": r"\bLTAI[A-Za-z0-9]{12,26}\b",
    "a key of Tencent Cloud": r"\bAKID[A-Za-z0-9]{32}\b",
    "a key of Volcengine": r"\bAK(?:LT|TP)[A-Za-z0-9_-]{30,}",
    "a key of Qianfan": r"\bbce-v3/ALTAK-[A-Za-z0-9]{10,}/[0-9a-f]{20,}",
    "a key of Zhipu": r"\b[0-9a-f]{32}\.[A-Za-z0-9]{16}\b",
    "a token of GitHub": r"\b(?:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{30,})",
    "a token of GitLab": r"\bglpat-[A-Za-z0-9_-]{20,}",
    "a token of Slack": r"\bxox[abeoprs]-[A-Za-z0-9-]{10,}",
    "a key of Google": r"\bAIza[0-9A-Za-z_-]{35}",
    "a JSON web token": r"\beyJ[A-Za-z0-9_-]{10,}\.eyJ[A-Za-z0-9_-]{10,}\.[A-Za-z0-9_-]{10,}",
    "a private key": r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----",
    "a password in an address": r"\b[a-z][a-z0-9+.-]{1,14}://[^\s/:@\"'<>{}$]{1,64}:[^\s/:@\"'<>{}$]{3,128}@[\w.-]",
    "a token in a header": r"(?i)\bbearer\s{1,9}(?=[a-z._~+/-]*[0-9])[a-z0-9._~+/-]{20,}",
    # A word or a placeholder has no digits, or is not so long; without quotes it must be longer, and be all of the value.
    "a key in a setting": r"""(?ix) (?:api_?key|api-key|app_?key|secret(?:_?(?:key|id|access_key))?
        |access_?key(?:_?(?:id|secret))?|access_token|auth_token|(?<![a-z_])token|passwd|password|密钥|密码)
        ["']?[ \t]{0,9} (?: [:=：][ \t]{0,9} ["'] (?!<) (?=[^"'\s]{0,200}[0-9]) [^"'\s]{12,200} ["']
        | [:=：][ \t]{0,9} (?=[a-z_-]{0,200}[0-9]) (?=[0-9_-]{0,200}[a-z]) [a-z0-9_-]{20,200} (?![\w./:(<>]) )""",
}
_SECRETS = {kind: re.compile(pattern) for kind, pattern in SECRETS.items()}


def kinds_of_secrets(text: str) -> list[str]:
    """What tokens and keys a line holds, by their kinds."""
    return [kind for kind, pattern in _SECRETS.items() if pattern.search(text)]
