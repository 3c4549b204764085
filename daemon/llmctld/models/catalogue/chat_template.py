"""The file of a chat template that a user sets for a model: reads it and checks that it is text.

Does not interpret the template.
"""

from llmctl.errors import ModelUnavailable
from llmctl.paths import expanded
from llmctld.models.catalogue.target import regular

MOST_BYTES = 2**20
"""The largest known template has 20,000 bytes."""
HINT = "`--set template=FILE` (or `models.NAME.template`) takes a file with a Jinja chat template."


def read_template(name: str) -> str:
    """The text. Raises ModelUnavailable if the file is missing, empty, too large or not UTF-8."""
    path = expanded(name)
    try:
        size = regular(path).st_size
        if size > MOST_BYTES:
            raise ModelUnavailable(f"the template {path} has {size} bytes, more than {MOST_BYTES}", HINT)
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ModelUnavailable(f"the template {path} cannot be read: {error.strerror}", HINT) from error
    except UnicodeDecodeError as error:
        raise ModelUnavailable(f"the template {path} is not UTF-8 text (byte {error.start})", HINT) from error
    if not text.strip():
        raise ModelUnavailable(f"the template {path} is empty", HINT)
    return text
