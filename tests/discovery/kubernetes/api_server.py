"""A Kubernetes API server for tests: list and watch of any resource, and every way it may fail.

Written from the Kubernetes documentation ("API Concepts", "Using RBAC Authorization", the API
reference) and from what a real server (1.36) was seen to answer; not from what our client needs.
What it has: one version counter over all resources; list with limit, continue, resourceVersion
(0: any, from the cache, the limit is ignored) and exact versions; watch with replay from a bounded
log, bookmarks, synthetic events, the streaming list of `sendInitialEvents`; 410 as a line, or as a
status; label and field selectors, whose leavers are DELETED; metadata only; gzip; timeouts; bearer
tokens; rights by verb, resource and namespace; TLS with client certificates. A test may refuse,
cut, silence, slow down or stop it.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import copy
import gzip
import itertools
import json
import re
from dataclasses import dataclass, field

from aiohttp import web

GROUPS = {
    "/api/v1": {
        "nodes": "Node",
        "namespaces": "Namespace",
        "pods": "Pod",
        "services": "Service",
        "endpoints": "Endpoints",
        "secrets": "Secret",
        "configmaps": "ConfigMap",
    },
    "/apis/monitoring.coreos.com/v1": {
        "servicemonitors": "ServiceMonitor",
        "podmonitors": "PodMonitor",
        "probes": "Probe",
    },
    "/apis/monitoring.coreos.com/v1alpha1": {"scrapeconfigs": "ScrapeConfig"},
    "/apis/discovery.k8s.io/v1": {"endpointslices": "EndpointSlice"},
    "/apis/networking.k8s.io/v1": {"ingresses": "Ingress"},
    "/apis/apps/v1": {"replicasets": "ReplicaSet"},
    "/apis/batch/v1": {"jobs": "Job"},
}
CLUSTERED = ("nodes", "namespaces")

_PATH = re.compile(r"(/api/v1|/apis/[^/]+/[^/]+)(?:/namespaces/([^/]+)(?=/))?/([a-z]+)")
_ONE = re.compile(r"(/api/v1|/apis/[^/]+/[^/]+)/namespaces/([^/]+)/([a-z]+)/([^/]+)")
_META_FIELDS = ("metadata.name", "metadata.namespace")
_FIELDS = {
    "pods": ("spec.nodeName", "status.phase", "status.podIP", "spec.restartPolicy"),
    "nodes": ("spec.unschedulable",),
    "namespaces": ("status.phase",),
}
_GZIP_BYTES = 128 * 1024


class RefusedError(Exception):
    """An answer other than 200, as the API's Status object."""

    def __init__(self, code, reason, message, **details):
        super().__init__(message)
        self.code, self.document = code, status(code, reason, message, **details)


def status(code, reason, message, **details):
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
        **({"details": details} if details else {}),
    }


@dataclass
class Event:
    """One write: the object before (None: created) and after (None: deleted)."""

    version: int
    resource: str
    before: dict | None
    after: dict | None

    @property
    def item(self):
        return self.after if self.after is not None else self.before


@dataclass
class Request:
    verb: str
    path: str
    query: dict
    headers: dict


@dataclass
class ApiServer:
    """Use `start` and `stop` in one event loop; `url` is where it listens."""

    token: str = ""
    ssl: object = None
    bookmark_s: float = 60.0
    port: int = 0
    requests: list = field(default_factory=list)
    denied: set = field(default_factory=set)
    """(verb, resource, namespace), "" for all namespaces at once."""
    refuse: list = field(default_factory=list)
    """Answers for the next requests, whatever they ask: (code, headers, body)."""
    gone_by_status: bool = False
    silent: bool = False
    cut_watches: int = 0
    """So many watches are cut in the middle of a line at their next event."""

    def __post_init__(self):
        self._objects = {name: {} for names in GROUPS.values() for name in names}
        self._log = []
        self._compacted = 0
        self._pages = {}
        self._numbers = itertools.count(1)
        self._version = 1000
        self._news = asyncio.Condition()
        self._runner = None
        self._watching = set()

    # What a test does to the cluster.

    def put(self, resource, item):
        """Create or replace an object; notices no conflicts."""
        key = self._key(resource, item)
        before = self._objects[resource].get(key)
        self._version += 1
        item = copy.deepcopy(item)
        metadata = item["metadata"]
        metadata.setdefault("uid", f"uid-{resource}-{next(self._numbers)}")
        metadata.setdefault("creationTimestamp", "2026-01-01T00:00:00Z")
        metadata["resourceVersion"] = str(self._version)
        metadata["managedFields"] = [{"manager": "tests", "operation": "Update"}]
        self._objects[resource][key] = item
        self._record(Event(self._version, resource, before, item))
        return item

    def delete(self, resource, name, namespace=""):
        self._version += 1
        before = self._objects[resource].pop((namespace, name))
        self._record(Event(self._version, resource, before, None))

    def get(self, resource, name, namespace=""):
        return copy.deepcopy(self._objects[resource][namespace, name])

    def change(self, resource, name, namespace, change):
        """Apply a function to a copy of an object and store it."""
        item = self.get(resource, name, namespace)
        change(item)
        return self.put(resource, item)

    def compact(self):
        """Forget all history: whoever asks for an older version is told 410."""
        self._compacted = self._version
        self._log.clear()
        self._pages.clear()

    def watches(self, path=None):
        """Return how many watches are open."""
        return sum(path is None or watch.path == path for watch in self._watching)

    def cut_all(self):
        """Drop all connections that watch, without a word."""
        for watch in list(self._watching):
            watch.transport.abort()

    def _record(self, event):
        self._log.append(event)
        self.wake()

    def wake(self):
        async def tell():
            async with self._news:
                self._news.notify_all()

        with contextlib.suppress(RuntimeError):  # filled before it runs: nobody watches
            self._telling = asyncio.get_running_loop().create_task(tell())

    @staticmethod
    def _key(resource, item):
        metadata = item["metadata"]
        return ("" if resource in CLUSTERED else metadata["namespace"], metadata["name"])

    # The server.

    @property
    def url(self):
        return f"{'https' if self.ssl else 'http'}://127.0.0.1:{self.port}"

    async def start(self):
        app = web.Application()
        app.router.add_get("/{path:.*}", self._handle)
        self._runner = web.AppRunner(
            app, access_log=None, shutdown_timeout=0.01, handler_cancellation=True
        )
        await self._runner.setup()
        site = web.TCPSite(
            self._runner, "127.0.0.1", self.port, ssl_context=self.ssl, reuse_address=True
        )
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def stop(self):
        if self._runner is not None:
            self.cut_all()
            await self._runner.cleanup()
            self._runner = None
            # A connection accepted while the server ended hears now that its client is gone.
            await asyncio.sleep(0.02)

    async def _handle(self, request):
        query = dict(request.query)
        found = _PATH.fullmatch(request.path)
        if found is None and _ONE.fullmatch(request.path):
            return self._one(request, *_ONE.fullmatch(request.path).groups())
        verb = "watch" if query.get("watch") in ("1", "true") else "list"
        self.requests.append(Request(verb, request.path, query, dict(request.headers)))
        if self.refuse:
            code, headers, body = self.refuse.pop(0)
            return web.Response(status=code, headers=headers, text=body)
        try:
            if found is None or found[3] not in GROUPS.get(found[1], {}):
                return web.Response(status=404, text="404 page not found\n")
            group, namespace, resource = found[1], found[2] or "", found[3]
            self._authenticate(request)
            self._authorize(verb, group, resource, namespace, query)
            view = View(group, resource, namespace, query, request.headers.get("Accept", ""))
            if verb == "watch":
                return await self._watch(request, view)
            return self._list(request, view)
        except RefusedError as e:
            headers = {}
            if "retryAfterSeconds" in (e.document.get("details") or {}):
                headers["Retry-After"] = str(e.document["details"]["retryAfterSeconds"])
            return web.json_response(e.document, status=e.code, headers=headers)

    def _one(self, request, group, namespace, resource, name):
        self.requests.append(Request("get", request.path, {}, dict(request.headers)))
        try:
            self._authenticate(request)
            self._authorize("get", group, resource, namespace, {})
            item = self._objects.get(resource, {}).get((namespace, name))
            if item is None:
                raise RefusedError(404, "NotFound", f'{resource} "{name}" not found')
        except RefusedError as e:
            return web.json_response(e.document, status=e.code)
        return web.json_response({"kind": GROUPS[group][resource], "apiVersion": "v1", **item})

    def _authenticate(self, request):
        if self.token and request.headers.get("Authorization") != f"Bearer {self.token}":
            raise RefusedError(401, "Unauthorized", "Unauthorized")

    def _authorize(self, verb, group, resource, namespace, query):
        if (verb, resource, namespace) in self.denied:
            scope = f'in the namespace "{namespace}"' if namespace else "at the cluster scope"
            name = group.split("/")[2] if group.startswith("/apis/") else ""
            raise RefusedError(
                403,
                "Forbidden",
                f'{resource} is forbidden: User "system:serviceaccount:test:gnomon" cannot {verb}'
                f' resource "{resource}" in API group "{name}" {scope}',
                kind=resource,
            )

    def _list(self, request, view):
        wanted = view.query.get("resourceVersion", "")
        limit = int(view.query.get("limit", "0"))
        token = view.query.get("continue")
        if wanted and not wanted.isdigit():
            raise RefusedError(500, "InternalError", f'strconv.ParseUint: parsing "{wanted}"')
        if wanted and int(wanted) > self._version:
            raise RefusedError(
                504,
                "Timeout",
                f"Too large resource version: {wanted}, current: {self._version}",
                retryAfterSeconds=1,
            )
        if view.query.get("resourceVersionMatch") == "Exact" and int(wanted) < self._compacted:
            raise RefusedError(
                410, "Expired", f"The resourceVersion for the provided list is too old: {wanted}"
            )
        start = 0
        if token:
            version, start = json.loads(base64.b64decode(token))
            if version not in self._pages:
                raise RefusedError(
                    410,
                    "Expired",
                    "The provided continue parameter is too old to display a consistent list"
                    " result. You can start a new list without the continue parameter.",
                )
            items = self._pages[version][view.resource]
        else:
            version = self._version
            items = sorted(self._objects[view.resource].items())
            if wanted == "0":
                limit = 0
        matching = [item for _, item in items if view.matches(item)]
        page = matching[start : start + limit] if limit else matching[start:]
        metadata = {"resourceVersion": str(version)}
        if start + len(page) < len(matching):
            # A copy of what was there: all pages show the version of the first.
            self._pages.setdefault(version, {})[view.resource] = list(items)
            text = json.dumps([version, start + len(page)])
            metadata["continue"] = base64.b64encode(text.encode()).decode()
            if not view.query.get("labelSelector") and not view.query.get("fieldSelector"):
                metadata["remainingItemCount"] = len(matching) - start - len(page)
        if view.metadata_list:
            kind, version_text = "PartialObjectMetadataList", "meta.k8s.io/v1"
        else:
            kind, version_text = f"{view.kind}List", view.api_version
        body = json.dumps(
            {
                "kind": kind,
                "apiVersion": version_text,
                "metadata": metadata,
                # Items of built-in types tell neither kind nor apiVersion.
                "items": [view.shown(item, in_list=True) for item in page],
            }
        ).encode()
        headers = {"Content-Type": "application/json"}
        if "gzip" in request.headers.get("Accept-Encoding", "") and len(body) > _GZIP_BYTES:
            headers["Content-Encoding"] = "gzip"
            body = gzip.compress(body, 1)
        return web.Response(body=body, headers=headers)

    async def _watch(self, request, view):
        query = view.query
        wanted = query.get("resourceVersion", "")
        initial = query.get("sendInitialEvents") == "true"
        if initial and query.get("resourceVersionMatch") != "NotOlderThan":
            raise RefusedError(
                422, "Invalid", "resourceVersionMatch is required when sendInitialEvents is set"
            )
        if wanted and not wanted.isdigit():
            raise RefusedError(500, "InternalError", f'strconv.ParseUint: parsing "{wanted}"')
        bookmarks = query.get("allowWatchBookmarks") in ("1", "true")
        at = int(wanted or 0)
        too_old = status(410, "Expired", f"too old resource version: {wanted} ({self._compacted})")
        expired = at and not initial and at < self._compacted
        if expired and self.gone_by_status:
            raise RefusedError(410, "Expired", too_old["message"])
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        if expired:
            await _write(response, "ERROR", too_old)
            return response
        stop_at = asyncio.get_running_loop().time() + float(query.get("timeoutSeconds", "1800"))
        watching = _Open(request.path, request.transport)
        self._watching.add(watching)
        try:
            if initial or at == 0:
                # "Get state and start at any": what there is comes as if it were just added.
                at = self._version
                for _, item in sorted(self._objects[view.resource].items()):
                    if view.matches(item):
                        await _write(response, "ADDED", view.shown(item))
                if initial and bookmarks:
                    end = {"k8s.io/initial-events-end": "true"}
                    await _write(response, "BOOKMARK", view.bookmark(at, end))
            await self._stream(response, request.transport, view, at, stop_at, bookmarks)
        except (ConnectionError, OSError):
            pass  # the client left
        finally:
            self._watching.discard(watching)
        return response

    async def _stream(self, response, transport, view, at, stop_at, bookmarks):
        loop = asyncio.get_running_loop()
        bookmark_at = loop.time() + self.bookmark_s
        while loop.time() < stop_at:
            if not self.silent:
                if at < self._compacted:
                    # A slow watcher, overtaken by compaction.
                    await _write(response, "ERROR", status(410, "Expired", "too old"))
                    return
                for event in [event for event in self._log if event.version > at]:
                    at = event.version
                    for kind, item in view.seen(event):
                        if self.cut_watches:
                            self.cut_watches -= 1
                            await response.write(b'{"type":"MODIFIED","object":{"metadata":{"na')
                            transport.abort()
                            return
                        await _write(response, kind, item)
                if bookmarks and loop.time() >= bookmark_at:
                    bookmark_at = loop.time() + self.bookmark_s
                    await _write(response, "BOOKMARK", view.bookmark(at))
            wait_s = min(stop_at, bookmark_at if bookmarks else stop_at) - loop.time()
            async with self._news:
                if self._log and self._log[-1].version > at and not self.silent:
                    continue
                try:
                    async with asyncio.timeout(max(wait_s, 0.01)):
                        await self._news.wait()
                except TimeoutError:
                    continue


@dataclass(eq=False)
class _Open:
    """A watch that is being served."""

    path: str
    transport: asyncio.Transport


async def _write(response, kind, item):
    await response.write(json.dumps({"type": kind, "object": item}).encode() + b"\n")


class View:
    """What one request sees: its resource, namespace and selectors, and in which form."""

    def __init__(self, group, resource, namespace, query, accept):
        self.group, self.resource, self.namespace, self.query = group, resource, namespace, query
        self.kind = GROUPS[group][resource]
        self.api_version = group.removeprefix("/apis/").removeprefix("/api/")
        self.metadata_list = "as=PartialObjectMetadataList" in accept
        self.metadata_one = bool(re.search(r"as=PartialObjectMetadata\b(?!List)", accept))
        self._labels = _label_selector(query.get("labelSelector", ""))
        self._fields = _field_selector(query.get("fieldSelector", ""), resource)

    def matches(self, item):
        metadata = item["metadata"]
        if self.namespace and metadata.get("namespace") != self.namespace:
            return False
        labels = metadata.get("labels") or {}
        return all(test(labels) for test in self._labels) and all(
            (_at(item, path) == value) is equal for path, equal, value in self._fields
        )

    def seen(self, event):
        """Yield what the watch is told of an event; a leaver shows its old self."""
        if event.resource != self.resource:
            return
        before = event.before is not None and self.matches(event.before)
        after = event.after is not None and self.matches(event.after)
        if before and not after:
            item = copy.deepcopy(event.before)
            item["metadata"]["resourceVersion"] = str(event.version)
            yield "DELETED", self.shown(item)
        elif after:
            yield ("MODIFIED" if before else "ADDED"), self.shown(event.after)

    def shown(self, item, *, in_list=False):
        if self.metadata_list if in_list else self.metadata_one:
            return {
                "kind": "PartialObjectMetadata",
                "apiVersion": "meta.k8s.io/v1",
                "metadata": item["metadata"],
            }
        item = {name: value for name, value in item.items() if name not in ("kind", "apiVersion")}
        return item if in_list else {"kind": self.kind, "apiVersion": self.api_version, **item}

    def bookmark(self, version, annotations=None):
        metadata = {"resourceVersion": str(version), "creationTimestamp": None}
        if annotations:
            metadata["annotations"] = annotations
        return {"kind": self.kind, "apiVersion": self.api_version, "metadata": metadata}


def _at(item, path):
    for name in path.split("."):
        item = (item or {}).get(name)
    if isinstance(item, bool):
        return "true" if item else "false"
    return item or ""


def _field_selector(text, resource):
    found = []
    for term in filter(None, text.split(",")):
        match = re.fullmatch(r"([^=!]+)(!=|==|=)(.*)", term)
        if match is None:
            raise RefusedError(
                400, "BadRequest", f"invalid selector: '{text}'; can't understand '{term}'"
            )
        path, operator, value = match.groups()
        if path not in _META_FIELDS and path not in _FIELDS.get(resource, ()):
            raise RefusedError(400, "BadRequest", f"field label not supported: {path}")
        found.append((path, operator != "!=", value))
    return found


def _label_selector(text):
    """Return tests of label sets. A label that is missing is unequal and not in any set."""
    tests = []
    for term in re.findall(r"[^,(]+(?:\([^)]*\))?", text):
        term = term.strip()
        if match := re.fullmatch(r"(\S+)\s+(in|notin)\s*\(([^)]*)\)", term):
            name, operator, values = match.groups()
            wanted = {value.strip() for value in values.split(",")}
            tests.append(
                lambda labels, n=name, w=wanted, positive=operator == "in": (
                    (n in labels and labels[n] in w) if positive else labels.get(n) not in w
                )
            )
        elif match := re.fullmatch(r"([^=!]+?)\s*(!=|==|=)\s*(.*)", term):
            name, operator, value = match.groups()
            tests.append(
                lambda labels, n=name, v=value, positive=operator != "!=": (
                    (labels.get(n) == v) is positive
                )
            )
        elif term.startswith("!"):
            name = term[1:].strip()
            tests.append(lambda labels, n=name: n not in labels)
        else:
            tests.append(lambda labels, n=term: n in labels)
    return tests
