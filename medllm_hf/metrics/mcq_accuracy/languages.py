"""Verdicts in languages other than Chinese and English: the few words that say nothing else.

Letters in capitals count after "the answer is" and a colon, small ones after a colon only: "é a" goes on with a word.
"""

import re
from collections.abc import Iterator

from .named_letters import Reply, places
from .statements import Statement, said, settled

_WORDS = (
    r"resposta(?:\s(?:correta|certa|final))?|(?:alternativa|opção|letra)\scorret[ao]|gabarito"  # Portuguese
    r"|respuesta(?:\s(?:correcta|final))?|(?:opción|alternativa)\scorrecta"  # Spanish
    r"|(?:bonne\s)?réponse(?:\s(?:correcte|finale|exacte))?"  # French
    r"|(?:(?:richtige|korrekte|finale)\s)?antwort|lösung"  # German
    r"|risposta(?:\s(?:corretta|esatta|finale))?|(?:opzione|alternativa)\scorretta"  # Italian
    r"|(?:правильный\s|верный\s)?ответ"  # Russian
    r"|(?:câu\strả\slời|đáp\sán)(?:\sđúng)?"  # Vietnamese
)
_IS = r"(?:é|es|est|ist|lautet|è|là)"
_OPTION = r"(?:alternativa|opção|letra|opción|option|opzione|lettera|lettre|буква|вариант|phương án)\s"
_LETTER = r"(?=\(?[A-Z](?![\w']))"
_SAYS = re.compile(
    rf"(?<!\w)(?:{_WORDS})\s?(?:(?P<colon>{_IS}?\s?:)|{_IS}(?!\w))\s{{0,3}}"
    rf"(?:(?-i:(?:a|o|la|el|l'|die|der)\s?(?:{_OPTION})?{_LETTER})|(?:{_OPTION})?{_LETTER})"
    r"|(?:答え|正解|正答|解答)\s?(?P<ja>は[:、]?|:)\s{0,3}(?:選択肢|选択肢)?\s?(?=\(?[A-Z](?![A-Z]))"
    r"|(?:정답|답)\s?(?P<ko>은|:)\s{0,3}(?=\(?[A-Z](?![A-Z]))",
    re.I,
)
_NOT = re.compile(r"\b(?:não|nao|no|ni|ne|pas|non|nicht|keine?|не|không|se|si|wenn|если|nếu)\b[^.,;:\n]{0,40}$", re.I)


def after_foreign(r: Reply) -> Iterator[Statement]:
    """The verdicts after "the answer is" in Portuguese, Spanish, French, German, Italian, Russian and three more."""
    for match in places(_SAYS, r.text):
        named = settled(r, match.end(), texts=False)
        small = (
            not (match["colon"] or match["ja"] or match["ko"])
            and r.text[match.end() : match.end() + 2].lstrip("(")[:1].islower()
        )
        if not small and not _NOT.search(r.text[max(0, match.start() - 60) : match.start()]):
            yield from said("chosen", r, match.start(), named)
