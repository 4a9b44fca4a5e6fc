"""Read the next inputs in a few threads while the network runs."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

_In = TypeVar("_In")
_Out = TypeVar("_Out")


def read_ahead(
    sources: Iterable[_In], read: Callable[[_In], _Out], readers: int, ahead: int
) -> Iterator[_Out]:
    """Yield ``read(source)`` in order, with at most ``ahead`` sources read in advance.

    Without readers each is read when it is asked for, in the caller's thread.
    """
    if not readers:
        yield from map(read, sources)
        return
    with ThreadPoolExecutor(readers, thread_name_prefix="read") as pool:
        pending: deque[Future[_Out]] = deque()
        try:
            for source in sources:
                pending.append(pool.submit(read, source))
                if len(pending) >= ahead:
                    yield pending.popleft().result()
            while pending:
                yield pending.popleft().result()
        finally:
            for each in pending:
                each.cancel()
