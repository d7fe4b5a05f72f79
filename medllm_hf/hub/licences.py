"""What the licence of a base model demands of the models made from it, for their cards."""

import re
from dataclasses import dataclass

from medllm_hf.errors import UserError


@dataclass(frozen=True)
class Terms:
    """A licence that the Hub has no id for: what the metadata say, and its terms in English and Chinese."""

    name: str
    title: str
    link: str
    english: str
    chinese: str


# The terms in our own words. Source: the README of https://github.com/baichuan-inc/Baichuan2
BAICHUAN2 = Terms(
    "baichuan2-community-license",
    "Community License for Baichuan2 Model",
    "https://huggingface.co/baichuan-inc/Baichuan2-7B-Base/tree/main",
    "These weights are a derivative of Baichuan2 and stay under its community licence, whose text lies beside the base "
    "weights, together with Apache-2.0. Research is free. Commercial use needs a permission that is asked for by e-mail "
    "(opensource@baichuan-inc.com), and is open only to those whose services, with those of their affiliates, have fewer than "
    "1 million daily active users, who are no provider of software or cloud services, and who do not pass the permission on to "
    "others without Baichuan's consent.",
    "本权重是 Baichuan2 的衍生品，仍受其社区许可协议（全文在基座权重旁）和 Apache-2.0 约束。研究可自由使用；商业使用须发邮件至 "
    "opensource@baichuan-inc.com 申请许可，且须同时满足：自身及关联方服务的日活跃用户低于 100 万；不是软件或云服务提供商；"
    "未经百川同意不把许可再授予他人。",
)


def terms_of(base_model: str | None, provenance: dict) -> Terms | None:
    """The terms that come with the base model, by the names that the publisher and the conversion give; None if none do."""
    names = (base_model, provenance.get("source"), provenance.get("base"))
    known = any("baichuan2" in re.sub(r"[^a-z0-9]", "", (name or "").lower()) for name in names)
    return BAICHUAN2 if known else None


def check_licence(licence: str, terms: Terms | None) -> None:
    """Check that the licence may stand for these weights.

    Raises:
        UserError: the base has terms of its own, which no licence id of the Hub says.
    """
    if terms and licence != "other":
        found = f"--license {licence} for weights made from Baichuan2"
        raise UserError(found, f"--license other, for which the card names the {terms.title}", "write it so")
