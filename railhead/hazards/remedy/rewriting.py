"""Which statements stand in a revision once what blocks has its safe form? What nothing was found about stays to the letter."""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterable, Sequence

from alembic.operations import MigrateOperation, ops

from railhead.autogenerate.files import ProposedChange
from railhead.autogenerate.render import Verb
from railhead.hazards.remedy import raw_sql, recording, statements
from railhead.hazards.remedy.recording import Call, NotRewritten
from railhead.hazards.remedy.safe_forms import SafeForms, keys, leaves, whole
from railhead.hazards.remedy.statements import Groups, Key, Numbered, Statement, Step
from railhead.hazards.rules import Finding

Asked = tuple[Statement, list[Call]]
"""A statement, and the operations that it asked for."""


class Rewriting:
    """One file, and what was found in it."""

    def __init__(self, source: str, file: str, findings: Collection[Finding]) -> None:
        self.changed = False
        self.words: list[str] = []
        self.forms = SafeForms(findings)
        self._source, self._file = source, file
        self._prepared: list[Step] = []
        self._backs: dict[Key, Sequence[MigrateOperation]] = {}
        """What takes back each thing that is made outside the transaction."""

    def upgrade(self, function: ast.FunctionDef) -> list[Step]:
        """Return the steps forth. Raises NotRewritten where the function cannot be recorded."""
        statements_run, error = self._asked(function)
        if error:
            raise NotRewritten(f"run without a database, its upgrade() ends with {_named(error)}") from error
        margin = statements.margin(self._source, function)
        forth = [step for statement, calls in statements_run for step in self._forth(statement, calls, margin)]
        self._backs = {key: step.back for step in forth if step.outside for key in step.keys}
        self._prepared = [step for step in forth if step.outside is None]
        return forth

    def downgrade(self, function: ast.FunctionDef, groups: Groups) -> Groups:
        """Return the steps back for each part: each where its opposite is, and those that were not written."""
        asked, error = self._asked(function)
        if error and not (asked and isinstance(asked[-1][0].node, ast.Raise)):
            raise NotRewritten(f"run without a database, its downgrade() ends with {_named(error)}") from error
        margin = statements.margin(self._source, function)
        home = {key: index for index, group in enumerate(groups) for step in group for key in step.keys}
        plain = next((index for index, group in enumerate(groups) if not statements.is_outside(group)), 0)
        back = [step for statement, calls in asked for step in self._back(statement, calls, home, margin)]
        runs: list[list[Numbered]] = [[] for _ in groups]
        for number, step in enumerate(back):
            if step.works:
                runs[next((home[key] for key in step.keys if key in home), plain)].append((number, step))
        for group, run in zip(groups, runs, strict=True):
            written = {key for _, step in run for key in step.keys}
            missing = [step for step in group if step.back and not step.keys & written]
            undone = [self._rendered(step.back, margin, outside=True) for step in reversed(missing)]
            run[:0] = [(-1, step) for step in [*statements.preparing(undone, self._prepared), *undone]]
        backwards, idle = statements.placed(runs, [pair for pair in enumerate(back) if not pair[1].works])
        self.leave_out(idle)
        return backwards

    def leave_out(self, idle: Sequence[Step]) -> None:
        """Say which statements are left out, because there is nothing left that they would do something for."""
        codes = [step.code.strip() for step in idle if step.scope]
        if codes:
            listed = "\n".join(codes)
            self.words.append(
                "left out below: what it was for leaves its transaction, by verbs that take the locks they need and give way:\n"
                f"{listed}"
            )

    def _asked(self, function: ast.FunctionDef) -> tuple[list[Asked], BaseException | None]:
        """Return the statements of a function up to where it stopped, each with what it asked for."""
        record = recording.recorded(self._source, function.name, self._file)
        calls = list(record.calls)
        asked: list[Asked] = []
        whole_function = [*statements.statements(self._source, function)]
        for index, statement in enumerate(whole_function):
            if record.stopped and record.stopped < statement.place:
                break
            following = whole_function[index + 1].place if index + 1 < len(whole_function) else (10**9, 0)
            asked.append((statement, [call for call in calls if statement.place <= call.place < following]))
        if sum(len(own) for _, own in asked) < len(calls):
            raise NotRewritten(f"it cannot be told which statement of {function.name}() asks for what")
        return asked, record.error

    def _forth(self, statement: Statement, calls: Sequence[Call], margin: str) -> list[Step]:
        if not calls:
            return [statements.kept(statement, outside=None)]
        changes = [self.forms.of(call) if call.plain else None for call in calls]
        if not any(changes) and len({call.outside for call in calls}) == 1:
            return [self._kept(statement, calls)]
        if not self._may_be_written_anew(statement, calls):
            return [self._kept(statement, calls)]
        self.changed = True
        steps: list[Step] = []
        for call, change in zip(calls, changes, strict=True):
            if change is None:
                steps.append(self._rendered([whole(call.operation)], margin, outside=call.outside))
            else:
                steps += [self._changed(part, margin) for part in change]
        first = steps[0]
        return [first._replace(code=statement.comments + first.code), *steps[1:]]

    def _may_be_written_anew(self, statement: Statement, calls: Sequence[Call]) -> bool:
        """Tell whether other calls may stand in the place of a statement. Raises NotRewritten where they would have to."""
        in_block = [call for call in calls if call.outside and not isinstance(call.operation, Verb)]
        indexes = all(isinstance(call.operation, ops.CreateIndexOp | ops.DropIndexOp) for call in in_block)
        may = indexes and all(call.plain for call in calls)
        if not may and len({call.outside for call in calls}) > 1:
            raise NotRewritten(f"its line {statement.node.lineno} works inside its transaction and outside of it")
        return may

    def _kept(self, statement: Statement, calls: Sequence[Call]) -> Step:
        about = frozenset(key for call in calls for key in keys(call.operation))
        back = [operation for call in reversed(calls) for operation in self.forms.back_of(call.operation)]
        scopes = {statements.scope_of(call.sql) for call in calls}
        scope = scopes.pop() if len(scopes) == 1 else ""
        step = statements.kept(statement, outside=all(call.outside for call in calls))
        return step._replace(keys=about, back=back, scope=scope)

    def _changed(self, change: ProposedChange, margin: str) -> Step:
        outside = leaves(change)
        return self._rendered(change.forth, margin, outside=outside, back=change.back if outside else ())

    def _rendered(
        self,
        operations: Iterable[MigrateOperation],
        margin: str,
        *,
        outside: bool,
        back: Sequence[MigrateOperation] = (),
    ) -> Step:
        listed = list(operations)
        lines = [line for operation in listed for line in self.forms.code(operation).splitlines()]
        about = frozenset(key for operation in listed for key in keys(operation))
        return Step("\n".join(f"{margin}{line}" for line in lines), outside, about, back)

    def _back(self, statement: Statement, calls: Sequence[Call], home: dict[Key, int], margin: str) -> list[Step]:
        if not calls:
            return [statements.kept(statement, outside=False if isinstance(statement.node, ast.Raise) else None)]
        backs = [self._taken_back(call) for call in calls]
        homes = {home.get(key) for call in calls for key in keys(call.operation)}
        if not any(backs) and (len(calls) == 1 or len(homes) < 2):
            return [self._kept(statement, calls)._replace(back=())]
        if not all(call.plain for call in calls):
            raise NotRewritten(f"its line {statement.node.lineno} takes back what is made in several revisions")
        return [
            self._rendered(instead or [whole(call.operation)], margin, outside=bool(instead) or call.outside)
            for call, instead in zip(calls, backs, strict=True)
        ]

    def _taken_back(self, call: Call) -> Sequence[MigrateOperation]:
        """Return what is written for a call of `downgrade`, empty where it may stay."""
        if isinstance(call.operation, Verb):
            return ()
        batches = raw_sql.backfill(call.sql or "") if self._backs or self.changed else None
        if batches is not None:
            return [batches]
        return next((self._backs[key] for key in keys(call.operation) if key in self._backs), ())


def _named(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]
