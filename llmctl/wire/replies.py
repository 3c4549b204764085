"""What the hub sends: any number of `Delta | Notice | Progress`, then exactly one of `Done | Failed | Cancelled`."""

from llmctl.wire.answer import Answer, Answers
from llmctl.wire.budget import BudgetList, BudgetShown, LedgerBalance, LedgerRows
from llmctl.wire.cache import CacheAudit, CacheEntries, CacheShown, CacheStats, Cleared, HitUndone, Warmed
from llmctl.wire.daemon import HubStatus, Nothing, Stopped
from llmctl.wire.embed import Embeddings
from llmctl.wire.history import Undone
from llmctl.wire.message import Reply
from llmctl.wire.models import Engines, Estimated, FilesDescribed, Model

AnyResult = (
    Answer
    | Answers
    | Embeddings
    | HubStatus
    | Engines
    | Stopped
    | CacheStats
    | CacheEntries
    | CacheShown
    | Cleared
    | Warmed
    | CacheAudit
    | HitUndone
    | Undone
    | BudgetShown
    | BudgetList
    | LedgerRows
    | LedgerBalance
    | Model
    | Estimated
    | FilesDescribed
    | Nothing
)


class Delta(Reply, kw_only=True, tag="delta"):
    """A piece of the answer or of its reasoning, in order; it never ends inside a stop string or a character."""

    text: str = ""
    reasoning: str = ""
    index: int = 0
    """number of the sample, from 0"""


class Notice(Reply, kw_only=True, tag="notice"):
    """A message for the user that is not part of the answer."""

    text: str
    """one sentence"""


class Progress(Reply, kw_only=True, tag="progress"):
    """The request is still being processed."""

    state: str = "working"
    """`working`, `loading`, `queued` or `pulling`"""
    done: int = 0
    """bytes received"""
    total: int = 0
    """all bytes; 0: the work is not counted in bytes"""


class Done(Reply, kw_only=True, tag="done"):
    """The final reply of a request that succeeded."""

    result: AnyResult
    """one of the results"""


class Failed(Reply, kw_only=True, tag="failed"):
    """The final reply of a request that failed."""

    code: str
    """a code of `llmctl/errors.py`; a client treats an unknown code as `internal`"""
    message: str
    """what happened, with the values"""
    hint: str = ""
    """what to do next"""
    answer: Answer | None = None
    """the answer generated so far"""
    answers: list[Answer] = []
    """replaces `answer` if several samples were requested"""
    retry: bool = False
    """the request was not begun and may be sent to the next hub"""


class Cancelled(Reply, kw_only=True, tag="cancelled"):
    """The final reply of a cancelled request, cancelled by its client or by a hub that stops."""

    answer: Answer | None = None
    """the answer generated so far"""
    answers: list[Answer] = []
    """replaces `answer` if several samples were requested"""


AnyReply = Delta | Notice | Progress | Done | Failed | Cancelled
FINAL = (Done, Failed, Cancelled)
