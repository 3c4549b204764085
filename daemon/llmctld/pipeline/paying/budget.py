"""Stage `budget`: reserves what an answer may cost before it is computed, and settles what it did cost, whatever happens.

What a hit or a joined request costs is nothing, so none of them comes here.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from functools import partial

from llmctl.config.amounts import RANGE, is_amount
from llmctl.errors import BudgetExceeded, InvalidRequest, Storage, short
from llmctl.wire import Answer, Answers, CostParts, TokenUsage
from llmctld.call.call import Call, Event, Link, Stage
from llmctld.call.origin import Origin
from llmctld.models.catalogue.target import REMOTE
from llmctld.money.pricing.amounts import money, units
from llmctld.money.pricing.prices import Parts, Price, Use
from llmctld.money.pricing.rates import Rates
from llmctld.money.spending.accounts import Accounts, Reservation
from llmctld.money.spending.ledger import OVER, Charge, Settlement
from llmctld.money.spending.scopes import Scope
from llmctld.pipeline.compute.generate import MAX_TOKENS
from llmctld.runtime.log import log
from llmctld.runtime.timeouts import expired, extend, timeout

OF_TEMPLATE = 64
"""Tokens that a chat template may add, and as many for each message."""
LOOK_S = 1.0
"""How often machine time is looked at and spent money is journaled."""
BYTES_OF_TOKEN = 4
"""By which a prompt's tokens are estimated where the hub was killed before they were counted."""


def budget(accounts: Accounts, rates: Rates, os_user: str) -> Link:
    """`os_user`: whose budget holds besides that of the label.

    Raises BudgetExceeded (with the partial answer, if the money ran out meanwhile), Busy for requests a minute, and Storage.
    """

    def link(next_: Stage) -> Stage:
        async def stage(call: Call) -> AsyncGenerator[Event, None]:
            scopes = scopes_of(call.origin, call.entry.name, os_user, accounts)
            if call.supplied is None:
                accounts.admit(scopes)
            if call.supplied is not None or not (call.price.has_tokens or call.price.has_machine):
                async with aclosing(next_(call)) as events:
                    async for event in events:
                        yield event
                return
            bound = _bound(call, rates)
            _check_request(call, bound)
            held = await accounts.reserve(_charge(call, scopes), bound)
            call.reserved = bound
            call.explain("budget", f"{money(bound):f} {call.price.currency} reserved for {', '.join(map(str, scopes))}")
            scope = timeout(None)
            ended_for: list[str] = []
            follow = partial(_hand_over, call, accounts, held, os_user, scope, ended_for)
            call.followers.append(follow)
            watching = asyncio.create_task(_watch(call, accounts, held, rates, scope))
            try:
                async with scope, aclosing(next_(call)) as events:
                    async for event in events:
                        if isinstance(event, Answer | Answers):
                            await _settle(call, accounts, held, rates)  # before anybody hears of the answer
                            _show_charged(call, event, held)
                        yield event
            except asyncio.TimeoutError:
                if not expired(scope):
                    raise
                answer = call.partial("budget")
                payers = ended_for[-1] if ended_for else _payers(held.charge)
                raise BudgetExceeded(
                    f"the budget of {payers} has no room for more of this answer, which cost {_spent(call)} so far",
                    "`llmctl budget show` says what is left; the answer ends where the money did.", answer,
                ) from None  # fmt: skip
            finally:
                watching.cancel()
                call.followers.remove(follow)
                await asyncio.shield(_settle(call, accounts, held, rates))

        return stage

    return link


def scopes_of(origin: Origin, model: str, os_user: str, accounts: Accounts) -> list[Scope]:
    """Everybody whose budget a request counts for: the label, the user of the machine, their groups, the model, the tags."""
    users = list(dict.fromkeys([origin.payer] if origin.own_work else [origin.payer, os_user]))
    named = [Scope("user", user) for user in users] + accounts.budgets.groups_of(users)
    return [*named, Scope("model", model), *(Scope("tag", tag) for tag in dict.fromkeys(origin.tags))]


def _charge(call: Call, scopes: list[Scope]) -> Charge:
    origin = call.origin
    return Charge(call.id, origin.payer, call.entry.name, origin.tags, origin.purpose.value, origin.run, scopes)


def _bound(call: Call, rates: Rates) -> int:
    """An upper bound of the token price, and a first part of the machine time; more of it is reserved while it runs."""
    request, samples = call.request, call.request.n or 1
    prompt, answer = _prompt_bound(call), request.max_tokens or MAX_TOKENS
    tokens = TokenUsage(prompt * samples, 0, answer * samples)
    return _units(call.price.dearest(), _ahead(call, rates, rates.machine_s(call.entry.name, prompt, answer), tokens))


def _ahead(call: Call, rates: Rates, seconds: float, tokens: TokenUsage) -> Use:
    """What so many seconds of each sample may use, at most."""
    seconds *= call.request.n or 1
    return Use(tokens, seconds, seconds * rates.watts(call.entry.name))


def _prompt_bound(call: Call) -> int:
    """A token has at least one byte."""
    if call.request.tokens is not None:
        return len(call.request.tokens)
    return _bytes(call) + OF_TEMPLATE * (1 + len(call.messages))


def _bytes(call: Call) -> int:
    return sum(len(message.content.encode()) for message in call.messages)


def _units(price: Price, use: Use) -> int:
    return price.parts(use).total or 0


def _check_request(call: Call, bound: int) -> None:
    """`--max-cost`. Raises BudgetExceeded."""
    most = call.request.max_cost
    if most is not None and not is_amount(most):
        raise InvalidRequest(f"max_cost is {short(str(most))}; it must be {RANGE}")
    if most is not None and bound > units(most):
        shown = f"{money(bound):f} {call.price.currency}"
        raise BudgetExceeded(
            f"this request may cost up to {shown}, and --max-cost allows {most:f}",
            "Ask for less (`--max-tokens`), or allow more.",
        )


# ---- while it runs --------------------------------------------------------------------------------------------------


async def _watch(call: Call, accounts: Accounts, held: Reservation, rates: Rates, scope: object) -> None:
    """Journals what is spent, and reserves more machine time before the reserved time is over. Ends the work if there is none."""
    began: float | None = None
    while True:
        await asyncio.sleep(LOOK_S)
        if held.settled:
            return
        if began is None:
            if call.work.state != "working":
                continue
            began = time.monotonic()
        elapsed = time.monotonic() - began
        accounts.journal(held, _units(call.price, _ahead(call, rates, elapsed, _so_far(call))))
        if not call.price.has_machine:
            continue
        step = rates.step_s(call.entry.name)
        needed = _ahead(call, rates, elapsed + max(2 * LOOK_S, step / 2), _tokens_bound(call))
        missing = _units(call.price.dearest(), needed) - held.reserved
        more = max(missing, _units(call.price, _ahead(call, rates, step, TokenUsage())))
        if missing > 0 and not (accounts.reserve_more(held, more) or accounts.reserve_more(held, missing)):
            extend(scope, 0.0)
            return


def _tokens_bound(call: Call) -> TokenUsage:
    samples = call.request.n or 1
    return TokenUsage(_prompt_bound(call) * samples, 0, (call.request.max_tokens or MAX_TOKENS) * samples)


def _so_far(call: Call) -> TokenUsage:
    """An estimate from the text, which is what is known before the engine counts."""
    texts = [each.work.text + each.work.reasoning for each in call.samples or [call]]
    completion = sum(len(text.encode()) for text in texts) // BYTES_OF_TOKEN
    return TokenUsage(_bytes(call) // BYTES_OF_TOKEN, 0, completion)


def _hand_over(
    call: Call, accounts: Accounts, held: Reservation, os_user: str, scope: object, ended_for: list[str], origin: Origin
) -> None:
    """Another request pays from now on, since the one that began this was cancelled. `ended_for`: whose budget has no room."""
    if held.settled:
        return
    if origin.payer == held.charge.payer and tuple(origin.tags) == tuple(held.charge.tags):
        return
    charge = _charge(call, scopes_of(origin, call.entry.name, os_user, accounts))
    if not accounts.hand_over(held, charge):
        new = [*map(str, set(charge.scopes) - set(held.charge.scopes))]
        ended_for.append(" and ".join(sorted(new)) or _payers(charge))
        extend(scope, 0.0)


# ---- at the end -----------------------------------------------------------------------------------------------------


async def _settle(call: Call, accounts: Accounts, held: Reservation, rates: Rates) -> None:
    if held.settled:
        return
    calls = call.samples or [call]
    for each in calls:
        rates.note(call.entry.name, each.work.usage, each.work.timings)
        if each.work.joules is not None:
            rates.note_energy(call.entry.name, each.work.joules, each.used.machine_s)
    uses = [each.used for each in calls]
    parts = [call.price.parts(use) for use in uses]
    spent = settlement(parts, [use.tokens for use in uses], held.reserved, call.entry.backend == REMOTE)
    await settle(accounts, held, spent, call.id)


async def settle(accounts: Accounts, held: Reservation, spent: Settlement, request: str = "") -> None:
    """Settles. What cannot be written is told in the log, since the answer is there; `accounts` writes it later."""
    try:
        await accounts.settle(held, spent)
    except Storage as error:
        log.error("an amount could not be settled in the ledger", request=request, error=error.message)


def settlement(parts: Sequence[Parts], counted: Sequence[TokenUsage], reserved: int, is_remote: bool) -> Settlement:
    """What all samples cost together. Engines of ours are charged no more than was reserved."""
    tokens, machine = (sum(part[at] or 0 for part in parts) for at in (0, 1))
    overhead = sum(part.overhead for part in parts)
    total, mark = tokens + machine + overhead, ""
    if total > reserved:
        if is_remote:
            mark = OVER
        else:
            machine = max(0, machine - (total - reserved))
            overhead = max(0, min(overhead, reserved - tokens - machine))
            tokens = min(tokens, reserved)
            total = tokens + machine + overhead
    return Settlement(
        total, tokens, machine, overhead, sum(usage.prompt_tokens for usage in counted),
        sum(usage.cached_tokens for usage in counted), sum(usage.completion_tokens for usage in counted), mark,
    )  # fmt: skip


def _show_charged(call: Call, event: Answer | Answers, held: Reservation) -> None:
    """The answer says what the ledger says, where less was reserved than it used; and all that was reserved."""
    if isinstance(event, Answers) or event.cost is None:
        return  # several samples name their own parts
    event.cost.reserved = money(held.reserved)
    charged = held.charged
    if charged is None or event.cost.amount is None or event.cost.amount <= money(charged.units):
        return
    event.cost.amount = money(charged.units)
    event.cost.parts = CostParts(
        tokens=money(charged.tokens or 0), machine=money(charged.machine or 0), overhead=money(charged.overhead)
    )


def _payers(charge: Charge) -> str:
    return " and ".join(str(scope) for scope in charge.scopes if scope.kind == "user")


def _spent(call: Call) -> str:
    return f"{money(call.price.parts(call.used).total or 0):f} {call.price.currency}"
