"""The durable queue: what was put in is answered once, whenever the process is killed.

A job is one series for one model. A process claims it for a lease that it renews; a job whose
lease ran out, or whose owner started anew, is claimed again. Finishing and failing are one
transaction each.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, and_, delete, func, insert, or_, select, update
from sqlalchemy.exc import SQLAlchemyError

from tumorlens.errors import QueueError
from tumorlens.pacs.retry import Backoff
from tumorlens.pacs.schema import cursors, jobs, metadata, objects, open_engine, own_series


def key_of(uid: str) -> str:
    """Return what stands for a UID in names and keys: its SHA-256 in hexadecimal."""
    return hashlib.sha256(uid.strip(" \0").encode()).hexdigest()


@dataclass(frozen=True)
class Found:
    """A series to answer: its UIDs, the archive's name for it, and its number of images."""

    series_uid: str
    study_uid: str
    place: str = ""
    images: int = 0

    @property
    def key(self) -> str:
        """The key of the series."""
        return key_of(self.series_uid)


@dataclass(frozen=True)
class Job:
    """A job as the queue has it; ``series`` is the key of the series."""

    id: int
    series: str
    model: str
    series_uid: str
    study_uid: str
    origin: str
    place: str
    state: str
    outcome: str
    reason: str
    attempts: int
    due: float
    owner: str | None
    images: int
    late: int
    created: float
    finished: float | None


_FIELDS = tuple(jobs.c[name] for name in Job.__dataclass_fields__)


class Queue:
    """Jobs in a data base. Thread-safe; every method raises `QueueError` when it is away."""

    def __init__(self, url: str, backoff: Backoff | None = None) -> None:
        """Prepare the queue at a SQLAlchemy URL; the first call connects.

        Raises `ConfigError` or `MissingExtraError` for a URL that cannot be meant.
        """
        self._engine = open_engine(url)
        self._backoff = backoff or Backoff()
        self._made = False
        self._lock = threading.Lock()

    def put(
        self,
        found: Iterable[Found],
        model: str,
        origin: str,
        *,
        cursor: tuple[str, str] | None = None,
        answered: bool = False,
    ) -> int:
        """Add series that are not there yet; return how many were new.

        ``cursor``, a name and a value, is set in the same transaction. ``answered``: they are not
        to be answered, now or later.
        """
        with self._transaction() as db:
            added = sum(_put(db, each, model, origin, answered) for each in found)
            if cursor is not None:
                db.execute(delete(cursors).where(cursors.c.name == cursor[0]))
                db.execute(insert(cursors).values(name=cursor[0], value=cursor[1]))
        return added

    def put_received(
        self, found: Found, model: str, keys: Iterable[str]
    ) -> tuple[bool, frozenset[str]]:
        """Add a received series with the keys of its objects, in one transaction.

        Returns whether it is new, and those objects that came after it was answered.
        """
        keys = frozenset(keys)
        with self._transaction() as db:
            known = set(
                db.scalars(select(objects.c.object).where(objects.c.series == found.key)).all()
            )
            rows = [{"series": found.key, "object": key} for key in sorted(keys - known)]
            if rows:
                db.execute(insert(objects), rows)
            new = bool(_put(db, found, model, "listen"))
            here = and_(jobs.c.series == found.key, jobs.c.model == model)
            state = db.scalar(select(jobs.c.state).where(here))
            late = frozenset(keys - known) if state == "done" else frozenset()
            values: dict[str, Any] = {"images": len(known | keys)}
            if late:
                values["late"] = jobs.c.late + len(late)
            db.execute(update(jobs).where(here).values(values))
        return new, late

    def claim(self, owner: str, lease_seconds: float) -> Job | None:
        """Take the job that is due for longest, or None; its attempts grow by one."""
        now = time.time()
        free = and_(
            jobs.c.state == "waiting",
            jobs.c.due <= now,
            or_(jobs.c.owner.is_(None), jobs.c.lease < now),
        )
        with self._transaction() as db:
            first = select(jobs.c.id).where(free).order_by(jobs.c.due, jobs.c.id).limit(1)
            number = db.scalar(first.with_for_update(skip_locked=True))
            if number is None:
                return None
            db.execute(
                update(jobs)
                .where(jobs.c.id == number)
                .values(owner=owner, lease=now + lease_seconds, attempts=jobs.c.attempts + 1)
            )
            return _job(db.execute(select(*_FIELDS).where(jobs.c.id == number)).one())

    def renew(self, job: Job, owner: str, lease_seconds: float) -> bool:
        """Extend the lease; False when another process has the job."""
        mine = and_(jobs.c.id == job.id, jobs.c.owner == owner, jobs.c.state == "waiting")
        with self._transaction() as db:
            done = db.execute(update(jobs).where(mine).values(lease=time.time() + lease_seconds))
        return bool(done.rowcount)

    def release(self, owner: str) -> int:
        """Free what ``owner`` had when it was killed; return how many jobs."""
        mine = and_(jobs.c.owner == owner, jobs.c.state == "waiting")
        with self._transaction() as db:
            done = db.execute(update(jobs).where(mine).values(owner=None, lease=0.0))
        return int(done.rowcount)

    def finish(self, job: Job, outcome: str, own: Iterable[str] = ()) -> None:
        """Mark a job as done; ``own`` are the UIDs of the series that its results make up."""
        with self._transaction() as db:
            for key in sorted(set(map(key_of, own))):
                if db.scalar(select(own_series).where(own_series.c.series == key)) is None:
                    db.execute(insert(own_series).values(series=key))
            _set(db, job, state="done", outcome=outcome, reason="", finished=time.time())

    def fail(self, job: Job, reason: str, *, max_attempts: int) -> bool:
        """Let a job wait longer, or put it on the dead-letter list; return whether it is there."""
        dead = job.attempts >= max_attempts
        with self._transaction() as db:
            if dead:
                _set(db, job, state="dead", outcome="failed", reason=reason,
                     finished=time.time())  # fmt: skip
            else:
                _set(db, job, reason=reason, due=time.time() + self._backoff.wait(job.attempts))
        return dead

    def postpone(self, job: Job, reason: str) -> None:
        """Let a job wait without counting the attempt: something else is away."""
        with self._transaction() as db:
            due = time.time() + self._backoff.wait(job.attempts)
            _set(db, job, reason=reason, due=due, attempts=max(job.attempts - 1, 0))

    def retry(self, ids: Iterable[int]) -> int:
        """Let dead or waiting jobs be due at once, their attempts forgotten; return how many."""
        chosen = and_(jobs.c.id.in_(list(ids)), jobs.c.state != "done")
        again = {"state": "waiting", "outcome": "", "attempts": 0, "due": time.time()}
        with self._transaction() as db:
            done = db.execute(update(jobs).where(chosen).values(**again, finished=None))
        return int(done.rowcount)

    def forget(self, ids: Iterable[int]) -> list[Job]:
        """Remove finished jobs and what is known of their objects; return them."""
        with self._transaction() as db:
            chosen = and_(jobs.c.id.in_(list(ids)), jobs.c.state != "waiting")
            found = [_job(row) for row in db.execute(select(*_FIELDS).where(chosen))]
            for each in found:
                db.execute(delete(objects).where(objects.c.series == each.series))
                db.execute(delete(jobs).where(jobs.c.id == each.id))
        return found

    def list(self, state: str | None = None, limit: int = 100) -> list[Job]:
        """Return the latest jobs, of one state or all."""
        chosen = select(*_FIELDS).order_by(jobs.c.id.desc()).limit(limit)
        if state is not None:
            chosen = chosen.where(jobs.c.state == state)
        with self._transaction() as db:
            return [_job(row) for row in db.execute(chosen)]

    def find(self, series: str, model: str) -> Job | None:
        """Return the job of a series, given by its key, for a model."""
        here = and_(jobs.c.series == series, jobs.c.model == model)
        with self._transaction() as db:
            row = db.execute(select(*_FIELDS).where(here)).one_or_none()
        return None if row is None else _job(row)

    def counts(self) -> dict[str, int]:
        """Return the number of jobs by state."""
        with self._transaction() as db:
            rows = db.execute(select(jobs.c.state, func.count()).group_by(jobs.c.state))
            found = {str(state): int(count) for state, count in rows}
        return {state: found.get(state, 0) for state in ("waiting", "done", "dead")}

    def cursor(self, name: str) -> str | None:
        """Return the value of a cursor, None before it was set."""
        with self._transaction() as db:
            value = db.scalar(select(cursors.c.value).where(cursors.c.name == name))
        return None if value is None else str(value)

    def is_own(self, series_uid: str) -> bool:
        """Whether a series holds results of ours."""
        chosen = select(own_series).where(own_series.c.series == key_of(series_uid))
        with self._transaction() as db:
            return db.scalar(chosen) is not None

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    @contextmanager
    def _transaction(self) -> Iterator[Connection]:
        try:
            with self._lock:
                if not self._made:
                    metadata.create_all(self._engine)
                    self._made = True
            with self._engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            # Without the cause on purpose: it may quote what was to be written.
            kind = type(error).__name__
            raise QueueError(f"the queue cannot be used now ({kind}); it is tried again") from None


def _put(db: Connection, found: Found, model: str, origin: str, answered: bool = False) -> int:
    here = and_(jobs.c.series == found.key, jobs.c.model == model)
    there = db.execute(select(jobs.c.state, jobs.c.images).where(here)).one_or_none()
    if there is not None:
        more = found.images - there.images
        if origin == "watch" and there.state == "done" and there.images and more > 0:
            db.execute(
                update(jobs).where(here).values(images=found.images, late=jobs.c.late + more)
            )
        return 0
    own = select(own_series.c.series).where(own_series.c.series == found.key)
    if db.scalar(own) is not None:
        return 0
    now = time.time()
    db.execute(
        insert(jobs).values(
            series=found.key, model=model, series_uid=found.series_uid, study_uid=found.study_uid,
            origin=origin, place=found.place, images=found.images, due=now, created=now,
            state="done" if answered else "waiting", outcome="earlier" if answered else "",
        )
    )  # fmt: skip
    return 1


def _set(db: Connection, job: Job, **values: Any) -> None:
    """Change a claimed job and free it, unless another process took it over meanwhile."""
    mine = and_(jobs.c.id == job.id, jobs.c.owner == job.owner, jobs.c.state == "waiting")
    db.execute(update(jobs).where(mine).values(owner=None, lease=0.0, **values))


def _job(row: Row[Any]) -> Job:
    return Job(**row._mapping)
