"""Too much at once: an endless upload, slow clients, dropped connections, overload."""

from __future__ import annotations

import asyncio
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

from benchmarks.faults.outcome import Outcome, percentile
from benchmarks.faults.wire import BOUNDARY, Connection, post
from tests.serving.live import LiveServer
from tests.serving.scans import png_scan

MIB = 2**20
PEAK_MIB = 500
GONE = (OSError, EOFError, asyncio.IncompleteReadError)


@asynccontextmanager
async def healthy_client(url: str, outcome: Outcome, every: float = 0.1) -> AsyncIterator[None]:
    """Send requests all the time, and wait when told to; times and retries are recorded."""
    seconds: list[float] = []
    retries = 0
    request = post("/predict", png_scan())
    stop = asyncio.Event()

    async def ask() -> None:
        nonlocal retries
        async with Connection(url) as connection:
            while not stop.is_set():
                answer = await connection.ask(request)
                if answer.status == 503:
                    retries += 1
                    await asyncio.sleep(int(answer.headers["retry-after"]))
                    continue
                outcome.require(answer.status == 200, f"a healthy client got {answer.status}")
                seconds.append(answer.seconds)
                await asyncio.sleep(every)

    task = asyncio.create_task(ask())
    try:
        yield
    finally:
        stop.set()
        await task
        outcome.figures["healthy_answers"] = len(seconds)
        outcome.figures["healthy_p99_ms"] = round(percentile(seconds, 0.99) * 1000)
        outcome.figures["healthy_retries"] = retries
        outcome.require(bool(seconds), "the healthy client got no answer at all")
        outcome.require(retries <= 2 + len(seconds) // 10, f"it was told to wait {retries} times")


def memory(server: LiveServer, outcome: Outcome) -> None:
    outcome.figures["rss_peak_mib"] = round(server.rss_mib("VmHWM"))
    outcome.require(outcome.figures["rss_peak_mib"] < PEAK_MIB, "memory peaked over the limit")


async def endless_upload(server: LiveServer, megabytes: int) -> Outcome:
    """Send a chunked form of ``megabytes`` whose file part never ends."""
    outcome = Outcome(f"chunked upload of {megabytes} MB")
    sent = 0
    async with healthy_client(server.url, outcome):
        head = (
            "POST /predict HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n"
            f"Content-Type: multipart/form-data; boundary={BOUNDARY}\r\n\r\n"
        )
        first = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        chunk = f"{MIB:x}\r\n".encode() + bytes(MIB) + b"\r\n"
        address = urlsplit(server.url)
        loop = asyncio.get_running_loop()
        # A bare socket: what has arrived can be read after the other side has closed, which a
        # stream gives up with the connection.
        with socket.create_connection((address.hostname, address.port)) as client:
            client.setblocking(False)
            await loop.sock_sendall(
                client, head.encode() + f"{len(first):x}\r\n{first}\r\n".encode()
            )
            # As a client should, it listens while it sends, and stops when it is answered.
            answered = asyncio.create_task(loop.sock_recv(client, 64))
            while sent < megabytes and not answered.done():
                try:
                    await loop.sock_sendall(client, chunk)
                except ConnectionError:  # closed behind its answer, while this client was writing
                    break
                sent += 1
            answer = await answered
    outcome.figures |= {"sent_mib": sent, "answer": answer[:12].decode("latin-1")}
    outcome.require(answer.startswith(b"HTTP/1.1 413"), f"the answer was {answer!r}")
    outcome.require(sent < 64, f"the server took {sent} MiB")
    memory(server, outcome)
    return outcome


async def slow_clients(server: LiveServer, count: int, seconds: float) -> Outcome:
    """Hold ``count`` connections that send a byte a second, half in the head, half in the body."""
    outcome = Outcome(f"{count} slow clients, a byte a second for {seconds:g} s")
    endings: Counter[str] = Counter()
    request = post("/predict", png_scan())
    body_start = request.index(b"\r\n\r\n") + 4

    async def dribble(index: int) -> None:
        reader, writer = await Connection(server.url).open()
        start = 20 if index % 2 else body_start + 200
        writer.write(request[:start])
        end = time.monotonic() + seconds
        try:
            for place in range(start, start + int(seconds)):
                writer.write(request[place : place + 1])
                await writer.drain()
                if reader.at_eof() or time.monotonic() > end:
                    break
                await asyncio.sleep(1)
            answer = await asyncio.wait_for(reader.read(64), 5)
            endings[answer[9:12].decode("latin-1") or "closed"] += 1
        except TimeoutError:
            endings["still open"] += 1
        except GONE:
            endings["closed"] += 1
        finally:
            writer.close()

    async with healthy_client(server.url, outcome):
        await asyncio.gather(*(dribble(index) for index in range(count)))
    outcome.figures["endings"] = dict(endings)
    outcome.require(endings["still open"] == 0, "slow clients were never disconnected")
    memory(server, outcome)
    return outcome


async def dropped_connections(server: LiveServer, count: int) -> Outcome:
    """Open ``count`` connections and drop them at every point of a request."""
    outcome = Outcome(f"{count} dropped connections")
    request = post("/explain", png_scan())

    async def drop(index: int) -> None:
        _, writer = await Connection(server.url).open()
        share = (0, 10, 200, len(request) // 2, len(request))[index % 5]
        writer.write(request[:share])
        await writer.drain()
        transport = writer.transport
        transport.abort() if index % 2 else writer.close()

    async with healthy_client(server.url, outcome, every=0.02):
        for start in range(0, count, 25):
            await asyncio.gather(
                *(drop(start + offset) for offset in range(min(25, count - start)))
            )
            await asyncio.sleep(0.05)
        await asyncio.sleep(1.0)
    memory(server, outcome)
    outcome.require(not server.log_lines("fault"), "faults in the log")
    return outcome


async def crowd(server: LiveServer, seconds: float, clients: int = 8, at_once: int = 20) -> Outcome:
    """Let 8 clients ask one after the other, then 20 at the same moment: all must be answered."""
    outcome = Outcome(f"{clients} clients for {seconds:g} s, then {at_once} uploads at once")
    request = post("/predict", png_scan())
    statuses: Counter[int] = Counter()
    times = await _closed_loop(server.url, request, clients, seconds, statuses)

    async def once() -> float:
        async with Connection(server.url) as connection:
            answer = await connection.ask(request)
            statuses[answer.status] += 1
            return answer.seconds

    burst = await asyncio.gather(*(once() for _ in range(at_once)))
    outcome.figures |= {
        "statuses": {str(status): count for status, count in sorted(statuses.items())},
        "per_second": round(len(times) / seconds, 1),
        "p50_ms": round(percentile(times, 0.5) * 1000, 1),
        "p99_ms": round(percentile(times, 0.99) * 1000, 1),
        "last_of_the_burst_ms": round(max(burst) * 1000, 1),
    }
    # A machine that others keep busy may be too slow for so many in two seconds.
    able = len(times) / seconds >= at_once
    outcome.figures["able"] = able
    outcome.require(set(statuses) <= {200, 503}, f"other answers than 200 and 503: {statuses}")
    outcome.require(not able or set(statuses) == {200}, f"some were refused: {statuses}")
    return outcome


async def overload(
    server: LiveServer, seconds: float, budget: float | None = None, factor: int = 8
) -> Outcome:
    """Offer ``factor`` times the capacity, as a rate that does not wait for answers.

    The 99th percentile of the accepted must lie within ``budget`` seconds, if given.
    """
    outcome = Outcome(f"{factor}x overload for {seconds:g} s")
    request = post("/predict", png_scan())
    alone = await _closed_loop(server.url, request, clients=1, seconds=min(10, seconds))
    full = await _closed_loop(server.url, request, clients=4, seconds=min(10, seconds))
    capacity = len(full) / min(10, seconds)
    rate = factor * capacity
    accepted, statuses, asked = await _open_loop(server.url, request, rate, seconds)
    alone_p99, accepted_p99 = percentile(alone, 0.99), percentile(accepted, 0.99)
    outcome.figures |= {
        "capacity_per_s": round(capacity, 1),
        "offered_per_s": round(asked / seconds, 1),
        "asked": asked,
        "statuses": {str(status): count for status, count in sorted(statuses.items())},
        "unloaded_p50_ms": round(percentile(alone, 0.5) * 1000, 1),
        "unloaded_p99_ms": round(alone_p99 * 1000, 1),
        "accepted_p50_ms": round(percentile(accepted, 0.5) * 1000, 1),
        "accepted_p99_ms": round(accepted_p99 * 1000, 1),
        "p99_ratio": round(accepted_p99 / alone_p99, 2) if alone_p99 else 0.0,
    }
    outcome.require(sum(statuses.values()) == asked, "a request was left without an answer")
    outcome.require(set(statuses) <= {200, 503}, f"other answers than 200 and 503: {statuses}")
    outcome.require(statuses[200] > 0, "nothing was accepted")
    if budget is not None:
        outcome.require(accepted_p99 <= budget, f"accepted p99 {accepted_p99:.2f} s")
    memory(server, outcome)
    return outcome


async def _closed_loop(
    url: str,
    request: bytes,
    clients: int,
    seconds: float,
    statuses: Counter[int] | None = None,
) -> list[float]:
    times: list[float] = []
    end = time.monotonic() + seconds

    async def ask() -> None:
        async with Connection(url) as connection:
            while time.monotonic() < end:
                answer = await connection.ask(request)
                if statuses is not None:
                    statuses[answer.status] += 1
                if answer.status == 200:
                    times.append(answer.seconds)

    await asyncio.gather(*(ask() for _ in range(clients)))
    return times


async def _open_loop(
    url: str, request: bytes, rate: float, seconds: float, open_at_most: int = 256
) -> tuple[list[float], Counter[int], int]:
    """Start ``rate`` requests a second; those over ``open_at_most`` wait for a connection."""
    accepted: list[float] = []
    statuses: Counter[int] = Counter()
    free = [Connection(url) for _ in range(open_at_most)]
    tasks: set[asyncio.Task[None]] = set()
    asked = 0

    async def ask(connection: Connection) -> None:
        try:
            answer = await connection.ask(request)
        except GONE:
            connection.close()
            statuses[0] += 1
        else:
            statuses[answer.status] += 1
            if answer.status == 200:
                accepted.append(answer.seconds)
            elif answer.status == 503 and int(answer.headers.get("retry-after", "0")) < 1:
                statuses[-503] += 1
        free.append(connection)

    begin = time.monotonic()
    while (now := time.monotonic() - begin) < seconds:
        while asked < rate * now and free:
            task = asyncio.create_task(ask(free.pop()))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            asked += 1
        await asyncio.sleep(0.002)
    await asyncio.gather(*tasks)
    for connection in free:
        connection.close()
    return accepted, statuses, asked
