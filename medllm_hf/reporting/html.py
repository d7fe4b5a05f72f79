"""Reports as HTML pages that need nothing from elsewhere: Jinja escapes what is put in, and only the page's script may run."""

import base64
import hashlib
import re
from collections.abc import Callable
from functools import partial
from importlib.resources import files
from pathlib import Path


def page_of(name: str) -> Callable[..., str]:
    """A function that fills in the page `name`.html.j2, with the script `name`.js as the only one that its policy lets run.

    `name` is a path below the package; the page may extend those of this room.
    """
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    package, template = files("medllm_hf"), f"{name}.html.j2"
    script = (package / f"{name}.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()

    def read(file: str) -> str:
        return (package / file if file == template else package / "reporting" / file).read_text(encoding="utf-8")

    environment = Environment(
        loader=FunctionLoader(read), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return partial(environment.get_template(template).render, script=script, digest=digest)


def pictures(folder: Path) -> dict[str, str]:
    """Name → SVG of each picture in `folder` as it may stand in a page, so that its names can be searched and copied."""
    return {path.stem: _element(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.svg"))}


def _element(svg: str) -> str:
    """The svg element of a file that matplotlib wrote, without what only a file has: declarations, metadata, names of parts."""
    before, _, rest = svg[svg.index("<svg") :].partition("<metadata>")
    element = before + rest.partition("</metadata>")[2]
    # Parts that are used elsewhere have names by their content; the others' are the same in every picture.
    return re.sub(r'<g id="[^"]*">', "<g>", element)
