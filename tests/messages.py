"""An example of every message between client and hub, with every field set.

tests/meta/test_protocol.py holds it complete; the attacks mutate it.
"""

from decimal import Decimal

from llmctl import wire

ANSWER = wire.Answer(
    id="0" * 32, model="m", text="because\N{SNOWMAN}", reasoning="hm", conversation="trip", user="ana",
    usage=wire.TokenUsage(3, 1, 2), timings=wire.Timings(total_ms=1.5), cache=wire.CacheUse(hit="disk", key="k", age_s=2.0),
    value={"a": [1]}, logprobs=[wire.Sampled("b", -0.5, [wire.Likely("c", -0.25)])],
    explain=[wire.Explained("semantic", "why so?", 0.93, "negation")],
)  # fmt: skip
CALL = wire.ToolCall("c", wire.FunctionCall("f", "{}"))
ENTRY = wire.CacheEntry(1, "k", "m", "ana", ["a"], "trip", 1.0, 2.0, 3, 0.5, 4, None, "why?")
BUDGET = wire.BudgetShown(
    user="ana", available=Decimal("0.5"), currency="USD", members=[], rpm=5, zone="UTC", raised=Decimal(1),
    raised_until="2026-12-01T00:00:00+00:00",
    windows={"daily": wire.BudgetWindow(Decimal(1), Decimal("0.25"), Decimal("0.25"), Decimal("0.5"), 0.25, "2026-12-01T00:00")},
)  # fmt: skip
CHARGE = wire.LedgerRow(
    1, "i", 1.5, "ana", "m", ["t"], "request", None, "USD", Decimal(1), Decimal("0.5"), 2.5, "", Decimal("0.5"), Decimal(0),
    Decimal(0), 3, 1, 2,
)  # fmt: skip
EXAMPLES: list[wire.Message] = [
    wire.Generate(
        prompt="why?", stdin="text", files=[wire.File("a.txt", "b")], params={"a": "b"}, declared={"a": None}, tokens=[1],
        system="s", raw=True, model="m", user="ana", tags=["t"], conversation="c", continue_last=True, max_tokens=1,
        temperature=0.0, top_p=0.5, top_k=1, min_p=0.1, repeat_penalty=1.1, presence_penalty=0.1, frequency_penalty=0.2,
        logit_bias={"5": -1.0}, seed=7, stop=["x"], ignore_eos=True, extract="last", cache="only", max_age=1.0, timeout=2.0,
        priority="batch", adapters={"a": 0.5}, repro=True, stream=True, protocol=wire.PROTOCOL,
        schema="{}", grammar="root ::= [a-z]", logprobs=2, n=3, think="on", semantic=True, explain=True,
        messages=[wire.ChatMessage("user", "why?", "ana"), wire.ChatMessage("assistant", "", None, "hm", [CALL]),
                  wire.ChatMessage("tool", "5", tool_call_id="c")],
        tools=[{"type": "function"}], tool_choice="auto",
    ),
    wire.Embed(texts=["a"], model="m", prompt="query", user="ana"),
    wire.Cancel(), wire.Ack(count=3), wire.Status(), wire.Ps(), wire.Stop(timeout=0.5),
    wire.AddModel(name="m", target="/m.gguf", aliases=["a"], settings={"slots": "2"}, force=True,
                  origin="ollama:m"),
    wire.PullModel(repo="o/n", file="f.gguf", name="m", aliases=["a"], settings={"slots": "2"}, force=True, endpoint="http://h",
                   token="t"),
    wire.EstimateModel(target="m", settings={"slots": "2"}), wire.DescribeFiles(paths=["/m.gguf"]),
    wire.RemoveModel(name="m"), wire.LoadModel(name="m", replicas=2), wire.PinModel(name="m"),
    wire.SetModel(name="m", settings={"slots": "2"}, unset=["context"], aliases=["a"], dropped=["b"]),
    wire.UnloadModel(name="m"), wire.GetCacheStats(),
    wire.ListCache(model="m", user="ana", tags=["a"], older=1.0, newer=2.0, after=3, limit=4), wire.ShowCache(key="k"),
    wire.ClearCache(model="m", user="ana", tags=["a"], older=1.0, newer=2.0),
    wire.Warm(request=wire.Generate(prompt="why?"), text="because"),
    wire.AuditCache(), wire.UndoHit(id="i", user="ana"),
    wire.Undo(conversation="c", user="ana"),
    wire.SetBudget(scope="ana", changes={"daily": "1.5", "rpm": None}), wire.ShowBudget(scope="@team"), wire.ListBudgets(),
    wire.RemoveBudget(scope="model:m"), wire.ReadLedger(user="ana", limit=5), wire.VerifyLedger(), wire.RebuildLedger(),
    wire.Delta(text="t", reasoning="r", index=1), wire.Notice(text="n"), wire.Progress(state="pulling", done=1, total=2),
    wire.Done(result=ANSWER), wire.Failed(code="busy", message="m", hint="h", answer=ANSWER, answers=[ANSWER], retry=True),
    wire.Cancelled(answer=ANSWER, answers=[ANSWER]),
]  # fmt: skip
RESULT_EXAMPLES: list[wire.AnyResult] = [
    ANSWER, wire.Answers(answers=[ANSWER]),
    wire.Embeddings(model="m", dimension=1, vectors=b"\0\0\0\0", tokens=3, flaws=[wire.Flaw(0, "busy", "m", "h")]),
    wire.HubStatus(state="running", pid=1, version="1", protocol=1, uptime_s=1.0, socket="/s", models=["m"],
                   requests_in_flight=0),
    wire.Engines(engines=[wire.EngineStatus("m", "echo", 1, "ready", 0, 1, 1, 1, 0, 2.5)]),
    wire.Stopped(cancelled=["a"]),
    wire.CacheStats(levels=[wire.LevelStats("memory", p50_ms=0.1)], requests=1, hit_rate=0.5, joined=1),
    wire.CacheEntries(entries=[ENTRY]),
    wire.CacheShown(entry=ENTRY, levels=[wire.LevelShown("disk", 5, 6.0)], text="t", reasoning=None, finish_reason="stop",
                    usage=wire.TokenUsage(1, 0, 2), samples=["u"], more={"lifetime": {"kind": "fact"}}),
    wire.Cleared(entries=1), wire.Warmed(key="k", model="m", outcome="generated", seconds=0.5), wire.Undone(prompt="p"),
    wire.CacheAudit(semantic=wire.SemanticAudit(requests=9, hits=3, hit_rate=0.3333, wrong_rate=0.0, wrong_rate_upper=0.01,
                                                max_error=0.005, pairs=7, judge="none", explored=1, verified=2, judged=3,
                                                undone=1)),
    wire.HitUndone(id="i", key="k", question="q", served=[wire.ServedTo("i", "ana", 1.5, "p")]),
    BUDGET, wire.BudgetList(budgets=[BUDGET]), wire.LedgerRows(rows=[CHARGE]),
    wire.LedgerBalance(balances=True, charges=1, open=0, reserved=Decimal(0), settled=Decimal("0.5"), over=0, recovered=0,
                       currency="USD", wrong=[]),
    wire.Model(name="m", target="echo", backend="echo", aliases=[], settings={"slots": 1}), wire.Nothing(),
    wire.Estimated(weights_bytes=1, kv_bytes=2, compute_bytes=3, total_bytes=6, measured_bytes=5),
    wire.FilesDescribed(files=[wire.FileContent("/m.gguf", kind="text", backend="llama.cpp", architecture="llama",
                                           quantization="Q4_K_M", context=5, size_bytes=6, total_bytes=7, fits=True),
                          wire.FileContent("/n.gguf", "damaged", "/n.gguf is incomplete")]),
]  # fmt: skip
