"""Push notifications: where a task's news are to be sent, and the sending, with patience, beside the work.

News of a task go to each of its addresses in order. An address that fails gets them again, later and later; while it
does, what comes meanwhile waits, up to a limit. Each delivery is an event on the run's span, or, when that has ended
already (the last news always come after it), on a short span below it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import time
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

import httpx
from a2a.server.context import ServerCallContext
from a2a.server.tasks import PushNotificationConfigStore, PushNotificationSender
from a2a.server.tasks.push_notification_config_store import normalize_push_notification_config
from a2a.server.tasks.push_notification_sender import PushNotificationEvent
from a2a.types import TaskPushNotificationConfig
from a2a.utils.errors import InvalidParamsError
from a2a.utils.proto_utils import to_stream_response
from a2a.utils.push_url_validator import validate_push_notification_url
from google.protobuf.json_format import MessageToDict

from teamwright.agents.a2a.pinned import NotAllowed, anywhere, pinned_client, public
from teamwright.agents.calling.transport import tls_context
from teamwright.agents.spec import PushUrls
from teamwright.tracing import vocabulary as v
from teamwright.tracing.spans import AgentSpan
from teamwright.tracing.tracer import Tracer

log = logging.getLogger(__name__)

#: Pauses between the attempts, in seconds, each up to a quarter longer by chance.
PAUSES = (0.5, 1.0, 2.0, 4.0, 8.0)
#: Seconds that one attempt may take, and those that what waits gets when the agent ends.
_DEADLINE, _LAST = 10.0, 0.5
#: Addresses of one task; tasks that have any; news that wait for one address; attempts at the same time.
_CONFIGS, _TASKS, _WAITING, _AT_ONCE = 10, 5000, 256, 32
#: Bytes of an answer, which nobody looks at.
_BODY = 64 << 10
_AGAIN = frozenset([408, 425, 429])

UrlCheck = Callable[[str], Awaitable[bool]]


def url_check(urls: PushUrls) -> UrlCheck:
    """Which addresses are allowed: `public` = none that leads into this machine or its network."""
    return validate_push_notification_url if urls == "public" else _any_http


async def _any_http(url: str) -> bool:
    try:
        found = urlsplit(url)
        return found.scheme in ("http", "https") and bool(found.hostname)
    except ValueError:
        return False


class PushConfigs(PushNotificationConfigStore):
    """The addresses by task. Whoever may see a task may see them: the request handler checks that first."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, dict[str, TaskPushNotificationConfig]] = OrderedDict()
        self._spans: dict[str, AgentSpan] = {}

    async def set_info(
        self, task_id: str, notification_config: TaskPushNotificationConfig, context: ServerCallContext
    ) -> TaskPushNotificationConfig:
        """Keep an address; one with the same id is replaced. Raises InvalidParamsError when there are too many."""
        config = normalize_push_notification_config(task_id, notification_config)
        known = self._kept.setdefault(task_id, {})
        if config.id not in known and len(known) >= _CONFIGS:
            raise InvalidParamsError(f"a task may have {_CONFIGS} addresses for push notifications")
        known[config.id] = config
        while len(self._kept) > _TASKS:
            self.forget(next(iter(self._kept)))
        return normalize_push_notification_config(task_id, config)

    async def get_info(self, task_id: str, context: ServerCallContext) -> list[TaskPushNotificationConfig]:
        """The addresses of a task."""
        return list(self._kept.get(task_id, {}).values())

    async def get_info_for_dispatch(self, task_id: str) -> list[TaskPushNotificationConfig]:
        """The same, for the sender."""
        return list(self._kept.get(task_id, {}).values())

    async def delete_info(self, task_id: str, context: ServerCallContext, config_id: str | None = None) -> None:
        """Forget one address of a task, or all."""
        known = self._kept.get(task_id, {})
        known.clear() if config_id is None else known.pop(config_id, None)
        if not known:
            self.forget(task_id)

    def forget(self, task_id: str) -> None:
        """The task is no more."""
        self._kept.pop(task_id, None)
        self._spans.pop(task_id, None)

    def trace(self, task_id: str, span: AgentSpan) -> None:
        """From now on the task's news belong to this span."""
        if task_id in self._kept:
            self._spans[task_id] = span

    def span(self, task_id: str) -> AgentSpan | None:
        return self._spans.get(task_id)


class PushSender(PushNotificationSender):
    """Sends news of tasks over `http`, which is closed with it.

    `span` finds the span of a task that is worked on; `pauses` are those between attempts.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        configs: PushConfigs,
        tracer: Tracer,
        *,
        span: Callable[[str], AgentSpan | None],
        pauses: tuple[float, ...] = PAUSES,
    ) -> None:
        self._http = http
        self._configs = configs
        self._tracer = tracer
        self._span = span
        self._pauses = pauses
        self._waiting: dict[tuple[str, str], deque[bytes]] = {}
        self._workers: set[asyncio.Task[None]] = set()
        self._room = asyncio.Semaphore(_AT_ONCE)

    async def send_notification(self, task_id: str, event: PushNotificationEvent) -> None:
        """Put it on its way; returns at once."""
        configs = await self._configs.get_info_for_dispatch(task_id)
        if not configs:
            return
        if (span := self._span(task_id)) is not None:
            self._configs.trace(task_id, span)
        body = json.dumps(MessageToDict(to_stream_response(event)), ensure_ascii=False).encode()
        for config in configs:
            self._put(config, body)

    async def aclose(self) -> None:
        """End; what is on its way gets a moment."""
        if self._workers:
            _, late = await asyncio.wait(self._workers, timeout=_LAST)
            for worker in late:
                worker.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        await self._http.aclose()

    def _put(self, config: TaskPushNotificationConfig, body: bytes) -> None:
        key = config.task_id, config.id
        if (waiting := self._waiting.get(key)) is not None:
            if len(waiting) >= _WAITING:
                log.warning("push notifications of task %s: the oldest is dropped, too many wait", config.task_id)
                waiting.popleft()
            waiting.append(body)
            return
        self._waiting[key] = deque([body])
        worker = asyncio.create_task(self._work(key, config), name=f"push:{config.task_id}")
        self._workers.add(worker)
        worker.add_done_callback(self._workers.discard)

    async def _work(self, key: tuple[str, str], config: TaskPushNotificationConfig) -> None:
        try:
            while waiting := self._waiting[key]:
                await self._deliver(config, waiting.popleft())
        finally:
            del self._waiting[key]

    async def _deliver(self, config: TaskPushNotificationConfig, body: bytes) -> None:
        span, began = self._configs.span(config.task_id), time.time_ns()
        error: str | None = None
        tries = 0
        for pause in (0.0, *self._pauses):
            if pause:
                await asyncio.sleep(pause * random.uniform(1.0, 1.25))
            tries += 1
            async with self._room:
                error, again = await self._attempt(config, body)
            if not again:
                break
        if error is not None:
            log.warning("push notification of task %s not delivered after %d tries: %s", config.task_id, tries, error)
        self._note(span, config, began, tries, error)

    async def _attempt(self, config: TaskPushNotificationConfig, body: bytes) -> tuple[str | None, bool]:
        """Why it failed, if it did, and whether another attempt makes sense."""
        try:
            async with (
                asyncio.timeout(_DEADLINE),
                self._http.stream("POST", config.url, content=body, headers=_headers(config)) as response,
            ):
                await _read(response)
                if response.is_success:
                    return None, False
                status = response.status_code
                return f"HTTP {status}", status >= 500 or status in _AGAIN
        except NotAllowed:  # the name leads elsewhere than when the address was given
            return "the address is not allowed", False
        except TimeoutError:
            return f"no answer within {_DEADLINE:g} s", True
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as problem:
            return str(problem) or type(problem).__name__, True

    def _note(
        self, span: AgentSpan | None, config: TaskPushNotificationConfig, began: int, tries: int, error: str | None
    ) -> None:
        attributes = {
            v.TASK_ID: config.task_id,
            v.PUSH_TO: _without_secrets(config.url),
            v.ATTEMPT: tries,
            v.ERROR_TYPE: error,
        }
        if span is not None and span.recording:
            span.event(v.EVENT_PUSH, attributes)
            return
        now = self._tracer.now()
        self._tracer.record(
            v.OP_PUSH,
            start_ns=began,
            end_ns=max(now, began + 1),
            parent=span,
            attributes={v.OPERATION: v.OP_PUSH, v.OPENINFERENCE_KIND: "CHAIN", v.TASK_ID: config.task_id},
            events=[(v.EVENT_PUSH, now, attributes)],
            error=error,
        )


@dataclass(frozen=True, slots=True)
class Push:
    """What an agent needs for push notifications."""

    configs: PushConfigs
    sender: PushSender
    allowed: UrlCheck

    @classmethod
    def of(cls, tracer: Tracer, urls: PushUrls, span: Callable[[str], AgentSpan | None]) -> Push:
        """All of it, with connections of its own."""
        configs = PushConfigs()
        http = pinned_client(public if urls == "public" else anywhere, tls_context())
        return cls(configs, PushSender(http, configs, tracer, span=span), url_check(urls))


async def _read(response: httpx.Response) -> None:
    """Read on, as far as that makes sense: then the connection can be used again."""
    size = 0
    async for chunk in response.aiter_raw():
        size += len(chunk)
        if size > _BODY:
            return


def _headers(config: TaskPushNotificationConfig) -> dict[str, str]:
    headers = {"content-type": "application/a2a+json", "a2a-version": "1.0"}
    if config.token:
        headers["x-a2a-notification-token"] = config.token
    if config.HasField("authentication") and config.authentication.scheme and config.authentication.credentials:
        headers["authorization"] = f"{config.authentication.scheme} {config.authentication.credentials}"
    return headers


def _without_secrets(url: str) -> str:
    """Where it goes, without what may be a password or a key."""
    with suppress(ValueError):
        found = urlsplit(url)
        port = f":{found.port}" if found.port else ""
        return f"{found.scheme}://{found.hostname}{port}{found.path}"
    return ""
