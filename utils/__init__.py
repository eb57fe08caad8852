"""The migration engine: small modules on a ladder.

A module may import only modules listed above it. `tests/house/test_ladder.py` reads the list below, so this is its one home.

    errors       What can stop us, with which exit code?
    settings     What were we told? Sole reader of os.environ.
    logs         How do we log? Text for people, one-line JSON for platforms.
    watchdog     What ends a wait that PostgreSQL does not end? (signals, dead networks)
    patience     How much waiting is left, and how is it spent?
    database     How do we reach PostgreSQL? Connect, wait, redact, tell passing from permanent failures.
    blockers     Who is in the way?
    filelock     Who still lives? Asked of the kernel.
    programs     Where are PostgreSQL's programs, and as whom may they run?
    cluster      How does one PostgreSQL of our own start and stop?
    embedded     Which database when nobody named one? (development only)
    limits       What keeps a session from freezing traffic, and from outliving its client?
    lock         Are we the only one, and still?
    manifest     What is our history on disk, without importing Alembic?
    catalog      What does a schema look like, as canonical text?
    ledger       What happened to this database before?
    progress     What is PostgreSQL doing for us right now, and who is in the way?
    history      Which revisions are there, which builds on which, and what is wrong with that?
    revisions    Which steps lead where? (Drives Alembic.)
    refusals     Why may a revision not go on?
    runner       How are the steps carried out, one transaction each?
    scratch      Where can something be tried out?
    footprint    What did a revision do, statement by statement?
    eyes         What did a statement do to the tables that were there before?
    replay       What does a revision really do to PostgreSQL?
    breaking     Does the release before this one keep working?
    hazards      What could hurt about a revision?
    batches      How does one UPDATE read as batches, each committed by itself?
    calls        How does a call of Alembic's `op` read in a revision file, and how is one written?
    rewriting    Which statements should stand in the place of those that block?
    remedies     How does the same revision read without what blocks?
    judgement    Would that hurt the database at hand?
    seal         Is the manifest true, and how is it written?
    mending      Which SQL takes a change of the schema back?
    drift        Is the schema what models.py and the ledger say?
    adoption     Which revision is this unmanaged database at?
    failure      What did PostgreSQL say, taken apart?
    violations   Which rows are in the way, and how are they put right?
    causes       What does PostgreSQL's error mean for who wrote the migration?
    diagnosis    Why did it fail, and what now?
    status       Where are we, in one record?
    doctor       What could bite?
    rebase       How does a forked history become one line again?
    losses       What would be lost?
    account      What is said of a run, and written down?
    retry        What may be tried again?
    proof        Is it really done, seen from outside?
    story        What happens in one run, from the first look to the verification?
    upgrade      How does one get in?
    plan         What would an upgrade do here, and what would that cost?
    report       How do we say it? Text and JSON of the same record.
    migrate      The front door: command line and start-up hook.

Beside the ladder stand `operations` (the safe verbs for migrations) on `outside` (how they work outside the revision's
transaction), `backfill` (how they write many rows) and `indexes` (how they build an index), and `autogenerate` (turns Alembic's
proposals into files) on `proposals` (turns each proposed change into `steps`, after a `probe` of what PostgreSQL would do; those
of `enums` are a matter of their own) with `values` (what rows that are there get), `remarks` (what the reader must be told),
`parts` (which file a change belongs into), `circles` (how do tables that refer to each other come and go?), `sameness` (is what
has this name what the models mean?) and `layout` (how generated code looks): `migrations/env.py` and the engine's comparisons
use them, and they import nothing above `database`.
"""
