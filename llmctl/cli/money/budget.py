"""`llmctl budget`: limits on what users, groups, models and tags may spend, what is left of them, and the ledger."""

from typing import Annotated, Any

from typer import Argument, Option

from llmctl.cli.console import flags, help, out
from llmctl.errors import Storage, Usage

app = flags.group("Limit what users, groups, models and tags may spend.")

Whose = Annotated[
    str, Argument(help="A user, @GROUP, model:NAME or tag:NAME.", metavar="USER|@GROUP|model:NAME|tag:NAME")
]
NONE = "none"
"""The value that removes a limit."""
REBUILD = "`llmctl budget ledger --rebuild` begins a new one with the sums that are known."
EXAMPLES = """
llmctl budget set ana --daily 2 --monthly 20
llmctl budget set @team --members ana,ben --weekly 50 --tz Europe/Berlin
llmctl budget set model:gpt --daily 5 --rpm 30
llmctl budget set ana --raise 5 --until 2d
llmctl budget set ana --daily none
"""


@app.command("set", cls=help.Sectioned, epilog=EXAMPLES)
def set_limits(
    whose: Whose,
    daily: Annotated[str | None, Option(help="Limit for a day.", metavar="X|none")] = None,
    weekly: Annotated[str | None, Option(help="Limit for a week, which begins on Monday.", metavar="X|none")] = None,
    monthly: Annotated[str | None, Option(help="Limit for a month.", metavar="X|none")] = None,
    tz: Annotated[
        str | None, Option(help="Time zone in which days begin. Default: that of this machine.", metavar="ZONE|none")
    ] = None,
    rpm: Annotated[str | None, Option(help="Requests a minute that are computed.", metavar="N|none")] = None,
    members: Annotated[str | None, Option(help="Users of a group.", metavar="A,B|none")] = None,
    raise_: Annotated[
        str | None, Option("--raise", help="Added to every limit until `--until`.", metavar="X|none")
    ] = None,
    until: Annotated[
        str | None,
        Option(help="End of the raise: a span such as 12h or 2d, or 2026-12-31 or 2026-12-31T18:00.", metavar="T"),
    ] = None,
    json: flags.Json = False,
    quiet: flags.Quiet = False,
) -> None:
    """Set limits; those that are not given stay as they are.

    A request is refused with status 6 if it may cost more than what is left of any budget that it counts for: the user's,
    that of each group, of the model and of each tag.
    """
    from llmctl import wire

    given = {"daily": daily, "weekly": weekly, "monthly": monthly, "zone": tz, "rpm": rpm}
    changes: dict[str, Any] = {
        name: None if value == NONE else value for name, value in given.items() if value is not None
    }
    if members is not None:
        names = [] if members == NONE else [name.strip() for name in members.split(",")]
        if "" in names:
            raise Usage(f"--members is {members!r}; it must be names with commas between", "--members ana,ben")
        changes["members"] = names
    if (raise_ is None or raise_ == NONE) != (until is None):
        raise Usage("--raise and --until belong together", "`--raise none` alone ends a raise.")
    if raise_ is not None:
        changes["raise"] = None if until is None else {"amount": raise_, "until": _moment(until)}
    if not changes:
        raise Usage("no limit is given", f"`llmctl budget set {whose} --daily X` sets one; `--daily none` removes it.")
    _print(flags.call(wire.SetBudget(scope=whose, changes=changes), wire.BudgetShown), json)


def _moment(text: str) -> float:
    """Seconds since 1970: a span from now, or a local date and time. Raises Usage."""
    import datetime
    import time

    from llmctl.config import parse_duration

    try:
        return datetime.datetime.fromisoformat(text).timestamp()
    except ValueError:
        pass
    try:
        return time.time() + parse_duration(text)
    except ValueError as error:
        raise Usage(f"--until is {text!r}; it must be a span such as 2d or a date such as 2026-12-31") from error


def _print(found: Any, json: bool) -> None:
    from llmctl.cli.console.show import show
    from llmctl.view import budget

    if json:
        out.json_line(found)
    else:
        show(budget.one(found))
        if words := budget.about(found):
            out.line(words)


@app.command("show")
def show_one(
    whose: Annotated[
        str | None,
        Argument(
            help="A user, @GROUP, model:NAME or tag:NAME. Default: you.", metavar="USER|@GROUP|model:NAME|tag:NAME"
        ),
    ] = None,
    json: flags.Json = False,
    quiet: flags.Quiet = False,
) -> None:
    """Show what is spent and what is left."""
    from llmctl import wire
    from llmctl.request import user_label

    scope = whose or user_label(None, flags.settings())
    _print(flags.call(wire.ShowBudget(scope=scope), wire.BudgetShown), json)


@app.command("ls")
def ls(json: flags.Json = False, quiet: flags.Quiet = False) -> None:
    """List all budgets."""
    from llmctl import wire
    from llmctl.cli.console.show import show
    from llmctl.view import budget

    found = flags.call(wire.ListBudgets(), wire.BudgetList).budgets
    if json:
        for each in found:
            out.json_line(each)
    elif not found:
        out.notice("nobody has a budget: spending is unlimited")
    else:
        show(budget.several(found))


@app.command("rm")
def rm(whose: Whose, yes: flags.Yes = False, json: flags.Json = False, quiet: flags.Quiet = False) -> None:
    """Remove a budget; spending is unlimited then. What was spent stays in the ledger."""
    from llmctl import wire

    flags.confirm(yes, [f"the budget of {whose}"])
    flags.call(wire.RemoveBudget(scope=whose), wire.Nothing)
    if json:
        out.json_line({"removed": whose})
    else:
        out.notice(f"removed the budget of {whose}")


@app.command("ledger")
def ledger(
    user: Annotated[str | None, Option(help="Only charges of this user.", metavar="NAME")] = None,
    limit: Annotated[int, Option(help="Number of charges, the newest ones.", metavar="N", min=1)] = 50,
    verify: Annotated[
        bool, Option("--verify", help="Check every charge and every sum; status 0 if all agree.")
    ] = False,
    rebuild: Annotated[
        bool, Option("--rebuild", help="Begin a new ledger with the sums that are known, after one was lost.")
    ] = False,
    yes: flags.Yes = False,
    json: flags.Json = False,
    quiet: flags.Quiet = False,
) -> None:
    """List the charges, or check that they add up."""
    from llmctl import wire
    from llmctl.cli.console.show import show
    from llmctl.view import budget

    if verify and rebuild:
        raise Usage("--verify and --rebuild exclude each other", "Give one of them.")
    if not (verify or rebuild):
        rows = flags.call(wire.ReadLedger(user=user, limit=limit), wire.LedgerRows).rows
        if json:
            for row in rows:
                out.json_line(row)
        else:
            show(budget.ledger(rows))
        return
    if rebuild:
        flags.confirm(yes, ["the ledger: its file is set aside, and a new one keeps the sums only"])
    found = flags.call(wire.RebuildLedger() if rebuild else wire.VerifyLedger(), wire.LedgerBalance)
    if json:
        out.json_line(found)
    else:
        out.line(budget.balance(found))
    if not found.balances:
        raise Storage(f"the ledger does not balance: {'; '.join(found.wrong[:3])}", REBUILD)
