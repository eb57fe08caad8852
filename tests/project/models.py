"""The models of the project on which the engine is tested. What becomes of the sample application is no concern of theirs."""

from __future__ import annotations

import enum
from datetime import date, datetime

from sqlalchemy import (
    BigInteger,
    CheckConstraint,
    DateTime,
    Enum,
    ForeignKey,
    Identity,
    Index,
    MetaData,
    String,
    Text,
    UniqueConstraint,
    func,
    text,
)
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column, relationship

NAMES = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
"""Every constraint has a name of ours: a migration can only change what it can name."""


class Base(DeclarativeBase):
    """What all models share: the metadata, and time stamps that carry their zone."""

    metadata = MetaData(naming_convention=NAMES)
    type_annotation_map = {datetime: DateTime(timezone=True), str: Text()}


class TaskStatus(enum.StrEnum):
    """The columns of the board, from left to right."""

    TODO = "todo"
    DOING = "doing"
    DONE = "done"


class Project(Base):
    """Something that tasks belong to. Its tasks are deleted with it."""

    __tablename__ = "project"
    __table_args__ = (
        UniqueConstraint("name"),
        CheckConstraint("btrim(name) <> ''", name="name_not_blank"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    name: Mapped[str] = mapped_column(String(80))
    description: Mapped[str] = mapped_column(server_default="")
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    tasks: Mapped[list[Task]] = relationship(back_populates="project", passive_deletes=True)


class Member(Base):
    """Somebody who can be given tasks. Tasks outlive the member they were given to."""

    __tablename__ = "member"
    __table_args__ = (
        UniqueConstraint("name"),
        UniqueConstraint("email"),
        CheckConstraint("btrim(name) <> ''", name="name_not_blank"),
        CheckConstraint("email = lower(email) AND position('@' in email) > 1", name="email_well_formed"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    name: Mapped[str] = mapped_column(String(80))
    email: Mapped[str | None] = mapped_column(String(254))
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())

    tasks: Mapped[list[Task]] = relationship(back_populates="assignee", passive_deletes=True)


class Task(Base):
    """A card on the board."""

    __tablename__ = "task"
    __table_args__ = (
        CheckConstraint("btrim(title) <> ''", name="title_not_blank"),
        Index(None, "project_id", "status"),  # serves the foreign key too: it leads with its column
        Index(None, "assignee_id"),
        Index(None, "status"),
    )

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    project_id: Mapped[int] = mapped_column(ForeignKey("project.id", ondelete="CASCADE"))
    assignee_id: Mapped[int | None] = mapped_column(ForeignKey("member.id", ondelete="SET NULL"))
    title: Mapped[str] = mapped_column(String(200))
    description: Mapped[str] = mapped_column(server_default="")
    status: Mapped[TaskStatus] = mapped_column(
        Enum(TaskStatus, name="task_status", values_callable=lambda statuses: [status.value for status in statuses]),
        server_default=TaskStatus.TODO.value,
    )
    due_on: Mapped[date | None]
    created_at: Mapped[datetime] = mapped_column(server_default=func.now())
    updated_at: Mapped[datetime] = mapped_column(server_default=func.now(), onupdate=func.now())

    project: Mapped[Project] = relationship(back_populates="tasks")
    assignee: Mapped[Member | None] = relationship(back_populates="tasks")


class SignInAttempt(Base):
    """Wrong passwords lately, by network address or known browser: how every worker and replica knows when the next try is welcome."""

    __tablename__ = "sign_in_attempt"
    __table_args__ = (CheckConstraint("failures > 0", name="failures_positive"),)

    address: Mapped[str] = mapped_column(String(45), primary_key=True)
    failures: Mapped[int] = mapped_column(server_default=text("1"))
    next_at: Mapped[datetime]
    """When this address may try again."""
