"""Metrics over HTTP, for a scraper: ``GET /metrics``, and nothing else.

One request for each connection; what is sent, and the time it takes, is bounded, and so is the
number of connections.  The page is made in one thread of its own, so that calls do not wait.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Final

from cnidaria.metrics import CONTENT_TYPE

log = logging.getLogger(__name__)

AGAIN: Final = 5.0
"""Seconds until it is tried again to listen."""
DEADLINE: Final = 5.0
"""Seconds for a request to come, and for its answer to be taken."""
MAKING: Final = 30.0
"""Seconds for the page to be made."""
LONGEST: Final = 8192
"""Bytes of a request's head."""
MOST: Final = 16
"""Connections at a time; one more is closed at once."""

REASONS: Final = {
    200: "OK",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    503: "Service Unavailable",
}


class Endpoint:
    """Listens at an address and port.

    Args:
        page: makes the page; called in a thread.
        problem: told what keeps it from listening; ``""``: nothing any more.
    """

    def __init__(
        self, place: tuple[str, int], page: Callable[[], bytes], problem: Callable[[str], None]
    ) -> None:
        self._place = place
        self._page = page
        self._problem = problem
        self._open = 0

    async def run(self) -> None:
        """Listen until cancelled; where the port is taken, try again and again."""
        host, port = self._place
        pool = ThreadPoolExecutor(1, thread_name_prefix="metrics")
        said = ""

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await self._serve(reader, writer, pool)

        try:
            while True:
                try:
                    server = await asyncio.start_server(serve, host, port, limit=LONGEST)
                    break
                except OSError as error:
                    why = f"cannot listen on {host} port {port}: {error.strerror}"
                    if why != said:
                        self._problem(said := why)
                        log.error("metrics: %s", why)
                    await asyncio.sleep(AGAIN)
            self._problem("")
            log.info("metrics on %s port %d", host, port)
            async with server:
                await server.serve_forever()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    async def _serve(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        pool: ThreadPoolExecutor,
    ) -> None:
        self._open += 1
        try:
            if self._open <= MOST:
                code, body = await self._answer(reader, pool)
                writer.write(response(code, body))
                await asyncio.wait_for(writer.drain(), DEADLINE)
                writer.close()
                await asyncio.wait_for(writer.wait_closed(), DEADLINE)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass  # who does not say what they want, or does not take it, gets nothing
        finally:
            self._open -= 1
            writer.transport.abort()

    async def _answer(
        self, reader: asyncio.StreamReader, pool: ThreadPoolExecutor
    ) -> tuple[int, bytes]:
        try:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), DEADLINE)
        except asyncio.LimitOverrunError:
            return 400, b"the request is too long\n"
        code, why = judge(head)
        if code != 200:
            return code, f"{why}\n".encode()
        with suppress(TimeoutError):
            making = asyncio.get_running_loop().run_in_executor(pool, self._page)
            return 200, await asyncio.wait_for(making, MAKING)
        return 503, b"the agent is busy\n"


def judge(head: bytes) -> tuple[int, str]:
    """Status and reason of a request's head (RFC 9112, section 3)."""
    words = head.partition(b"\r\n")[0].split(b" ")
    if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
        return 400, "not a request of HTTP/1"
    if words[1].partition(b"?")[0] != b"/metrics":
        return 404, "there is only /metrics"
    if words[0] != b"GET":
        return 405, "there is only GET"
    return 200, ""


def response(code: int, body: bytes) -> bytes:
    """The whole answer."""
    lines = [
        f"HTTP/1.1 {code} {REASONS[code]}",
        f"Content-Type: {CONTENT_TYPE if code == 200 else 'text/plain; charset=utf-8'}",
        f"Content-Length: {len(body)}",
        "Connection: close",
        *(["Allow: GET"] if code == 405 else []),
    ]
    return "\r\n".join([*lines, "", ""]).encode() + body
