"""The identifiers of licences that the Hub knows."""

import difflib
import re

from medllm_hf.errors import UserError

# Source: https://huggingface.co/docs/hub/repositories-licenses
_LISTED = """
    apache-2.0 mit openrail bigscience-openrail-m creativeml-openrail-m bigscience-bloom-rail-1.0 bigcode-openrail-m afl-3.0
    artistic-2.0 bsl-1.0 bsd bsd-2-clause bsd-3-clause bsd-3-clause-clear c-uda cc cc0-1.0 cc-by-2.0 cc-by-2.5 cc-by-3.0
    cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0 cc-by-nd-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0
    cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0 cdla-sharing-1.0 cdla-permissive-1.0 cdla-permissive-2.0 wtfpl ecl-2.0
    epl-1.0 epl-2.0 etalab-2.0 eupl-1.1 eupl-1.2 agpl-3.0 gfdl gpl gpl-2.0 gpl-3.0 lgpl lgpl-2.1 lgpl-3.0 isc h-research
    intel-research lppl-1.3c ms-pl apple-ascl apple-amlr mpl-2.0 odc-by odbl openmdw-1.0 openrail++ osl-3.0 postgresql
    ofl-1.1 ncsa unlicense zlib pddl lgpl-lr deepfloyd-if-license fair-noncommercial-research-license llama2 llama3 llama3.1
    llama3.2 llama3.3 llama4 grok2-community gemma unknown other
"""
HUB_LICENCES = frozenset(_LISTED.split())


def check_licence(name: str | None) -> str:
    """The identifier itself, if the Hub knows it.

    Raises:
        UserError: none is given, or another; the error names the likeliest one.
    """
    if name is None:
        do = "give one, such as --license apache-2.0, or --license unknown"
        raise UserError("no --license", "an identifier of the Hub", do)
    if name not in HUB_LICENCES:
        near = _nearest(name)
        do = f"--license {near}?" if near else "give one of https://huggingface.co/docs/hub/repositories-licenses, or other"
        raise UserError(f"--license {name!r}", "an identifier that the Hub knows", do)
    return name


def _nearest(name: str) -> str | None:
    """The identifier that differs least, punctuation aside."""
    plain = {re.sub(r"[^a-z0-9+]", "", known): known for known in sorted(HUB_LICENCES)}
    # apache2 is apache-2.0, and so is Apache License 2.0.
    plain |= {short.removesuffix("0"): known for short, known in list(plain.items()) if known.endswith(".0")}
    asked = re.sub(r"licen[cs]e|version|[^a-z0-9+]", "", name[:50].lower())
    found = difflib.get_close_matches(asked, plain, n=1, cutoff=0.7)
    return plain[found[0]] if found else None
