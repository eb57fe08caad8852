"""An application in the shape of most: factory, Flask-SQLAlchemy, Flask-Migrate, packages called `app` and `utils`, 25 revisions with hex ids."""

from __future__ import annotations

import hashlib
from pathlib import Path

FILES = {
    "config.py": """\
import os


class Config:
    SECRET_KEY = os.environ.get("SECRET_KEY", "you-will-never-guess")
    SQLALCHEMY_DATABASE_URI = os.environ.get("DATABASE_URL", "").replace("postgres://", "postgresql://") or "sqlite:///app.db"
    LOG_FORMAT = "%(asctime)s %(message)s"
    POSTS_PER_PAGE = 25
""",
    "app/__init__.py": """\
from flask import Flask
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy

from config import Config

db = SQLAlchemy()
migrate = Migrate()


def create_app(config_class=Config):
    app = Flask(__name__)
    app.config.from_object(config_class)
    db.init_app(app)
    migrate.init_app(app, db)
    from app.main import bp

    app.register_blueprint(bp)
    return app


from app import models  # noqa: E402, F401
""",
    "app/main.py": """\
from flask import Blueprint

from app import db
from app.models import Post
from utils.text import shorten

bp = Blueprint("main", __name__)


@bp.get("/")
def index():
    return {"posts": [shorten(post.title) for post in db.session.scalars(db.select(Post))]}
""",
    "app/models.py": """\
from datetime import datetime, timezone

from app import db


class User(db.Model):
    id = db.Column(db.Integer, primary_key=True)
    username = db.Column(db.String(64), index=True, unique=True, nullable=False)
    email = db.Column(db.String(120), index=True)
    last_seen = db.Column(db.DateTime, default=lambda: datetime.now(timezone.utc))


class Post(db.Model):
    id = db.Column(db.Integer, primary_key=True)
    title = db.Column(db.String(140), nullable=False)
    user_id = db.Column(db.Integer, db.ForeignKey("user.id"), index=True)
{columns}
""",
    "utils/__init__.py": "",
    "utils/text.py": "def shorten(text):\n    return text[:20]\n",
    "shop.py": "from app import create_app, db\n\napp = create_app()\n",
    ".flaskenv": "FLASK_APP=shop.py\n",
    "requirements.txt": "flask\nflask-sqlalchemy\nflask-migrate\ngunicorn\npsycopg2-binary\n",
    "boot.sh": "#!/bin/sh\nflask db upgrade\nexec gunicorn -b :5000 shop:app\n",
    "migrations/README": "Single-database configuration for Flask.\n",
}

FIRST = """\
    op.create_table(
        "user",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("username", sa.String(length=64), nullable=False),
        sa.Column("email", sa.String(length=120), nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "post",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("title", sa.String(length=140), nullable=False),
        sa.Column("user_id", sa.Integer(), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["user.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
"""
CONTEXT = """\
    assert current_app.config["POSTS_PER_PAGE"] == 25
    op.execute("UPDATE post SET title = trim(title)")
"""
STEPS = [
    ("posts and users", FIRST, '    op.drop_table("post")\n    op.drop_table("user")\n'),
    ("last seen", '    op.add_column("user", sa.Column("last_seen", sa.DateTime(), nullable=True))\n', '    op.drop_column("user", "last_seen")\n'),
    ("tidy titles", CONTEXT, "    pass\n"),
    ("index of users", '    with op.batch_alter_table("user", schema=None) as batch_op:\n        batch_op.create_index("ix_user_username", ["username"], unique=True)\n', '    op.drop_index("ix_user_username", "user")\n'),
    ("index of mails", '    op.create_index("ix_user_email", "user", ["email"])\n', '    op.drop_index("ix_user_email", "user")\n'),
    ("index of posts", '    op.create_index("ix_post_user_id", "post", ["user_id"])\n', '    op.drop_index("ix_post_user_id", "post")\n'),
    *(
        (f"column {number}", f'    op.add_column("post", sa.Column("note_{number:02}", sa.String(length=40), nullable=True))\n', f'    op.drop_column("post", "note_{number:02}")\n')
        for number in range(7, 26)
    ),
]  # fmt: skip

REVISION = '''\
"""{message}

Revision ID: {revision}
Revises: {parent}
Create Date: 2021-03-01 10:00:00.000000

"""
from alembic import op
import sqlalchemy as sa
{imports}

# revision identifiers, used by Alembic.
revision = {revision!r}
down_revision = {down!r}
branch_labels = None
depends_on = None


def upgrade():
{upgrade}

def downgrade():
{downgrade}'''


def ids() -> list[str]:
    """Return the ids of the revisions, oldest first."""
    return [hashlib.sha256(message.encode()).hexdigest()[:12] for message, _, _ in STEPS]


def write(root: Path) -> None:
    """Write the application into an empty folder, but for what `flask db init` makes: see `flask_migrates_own`."""
    columns = "\n".join(f"    note_{number:02} = db.Column(db.String(40))" for number in range(7, 26))
    for name, text in FILES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text.replace("{columns}", columns))
    (root / "migrations" / "versions").mkdir()
    parent = None
    for revision, (message, upgrade, downgrade) in zip(ids(), STEPS, strict=True):
        text = REVISION.format(
            message=message,
            revision=revision,
            parent=parent or "",
            down=parent,
            upgrade=upgrade,
            downgrade=downgrade,
            imports="from flask import current_app\n" if "current_app" in upgrade else "",
        )
        (root / "migrations" / "versions" / f"{revision}_{message.replace(' ', '_')}.py").write_text(text)
        parent = revision


def flask_migrates_own(root: Path, templates: Path) -> None:
    """Write what `flask db init` makes, from the templates of Flask-Migrate."""
    for name in ("alembic.ini.mako", "env.py", "script.py.mako"):
        (root / "migrations" / name.replace(".ini.mako", ".ini")).write_bytes((templates / "flask" / name).read_bytes())
