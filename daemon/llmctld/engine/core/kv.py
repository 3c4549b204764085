"""Carries out the scheduler's actions on the KV memory and verifies each; what fails verification is recomputed.

It knows copies, cuts and saved states, not why they are wanted.
"""

from llmctld.engine.core.backend import TextModel
from llmctld.engine.core.scheduler import Scheduler
from llmctld.engine.messages import Remark
from llmctld.engine.streams.actions import Action, Copy, Cut, Restore, Save
from llmctld.engine.streams.saved import Damaged


class Kv:
    def __init__(self, model: TextModel, scheduler: Scheduler) -> None:
        self._model, self._scheduler = model, scheduler

    def do(self, actions: list[Action]) -> list[Remark]:
        """Perform the actions in order; returns remarks for the requests concerned."""
        remarks = []
        for action in actions:
            if isinstance(action, Copy):
                self._model.copy(action.source, action.target)
            elif isinstance(action, Save):
                self._save(action)
            elif isinstance(action, Restore):
                remarks += self._restore(action)
            else:
                self._cut(action)
        return remarks

    def _save(self, action: Save) -> None:
        if action.cut and not self._model.cut(action.stream, len(action.tokens)):
            return
        state = self._model.save(action.stream)
        if state:
            self._scheduler.saved.put(action.tokens, state, action.lasting)

    def _restore(self, action: Restore) -> list[Remark]:
        entry = self._scheduler.saved.holding(action.tokens, action.entry)
        if entry is None:
            self._scheduler.forget(action.sequence)
            return []
        try:
            tokens, state = self._scheduler.saved.get(entry)
        except Damaged as damage:
            return self._anew(action, str(damage))
        found = self._model.restore(action.stream, state)
        if found != len(tokens):
            self._scheduler.saved.forget(entry)
            return self._anew(action, f"{found} of its {len(tokens)} tokens came back")
        return []

    def _anew(self, action: Restore, why: str) -> list[Remark]:
        self._scheduler.forget(action.sequence)
        text = f"a saved prefix is unusable and was removed; the prompt is computed again ({why})"
        return [Remark(action.sequence.id, text)]

    def _cut(self, action: Cut) -> None:
        keep = min(action.keep, action.sequence.position)  # less if a restore failed
        if not self._model.cut(action.stream, keep):
            self._scheduler.forget(action.sequence)
