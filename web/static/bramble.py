"""Python functions on a bramble cluster, with nothing but the standard library.

    from bramble import Cluster

    def square(x):
        return x * x

    with Cluster() as c:
        print(list(c.map(square, range(100))))

Cluster.map yields results in order, Cluster.imap as they come, and Cluster.executor is a
concurrent.futures.Executor. A function travels by value with what it uses from your own files;
modules of the standard library and installed packages must be on the nodes. An exception there is
raised here, with the remote traceback in its text.

Needs Python 3.9 or newer here and on the nodes, and the same minor version on both, since
functions travel as byte code.
"""

import base64
import builtins
import concurrent.futures
import http.client
import importlib
import io
import json
import marshal
import os
import pickle
import ssl
import subprocess
import sys
import sysconfig
import tarfile
import threading
import time
import traceback
import types
import urllib.parse

__all__ = ["Cluster", "RemoteError", "BrambleError"]


class BrambleError(Exception):
    """The cluster refused something, or is not there."""


class RemoteError(Exception):
    """A call failed on its node in a way that its own exception can't tell."""


# ---- by value -------------------------------------------------------------------------------

def _own_modules():
    """The files of imported modules that are one's own, by the path that makes them importable."""
    files = {}
    for name, module in list(sys.modules.items()):
        path = getattr(module, "__file__", None)
        if path and path.endswith(".py") and name not in ("__main__", "__mp_main__", __name__) and not _installed(name):
            place = name.replace(".", "/") + ("/__init__.py" if hasattr(module, "__path__") else ".py")
            with open(path, "rb") as f:
                files["call/" + place] = f.read()
    return files


def _installed(module):
    """Whether nodes are expected to have a module: it is built in, of the standard library, or installed."""
    if module is None or module == "__main__":
        return False
    if module == __name__:
        return True  # this file travels along
    root = sys.modules.get(module.partition(".")[0])
    path = getattr(root, "__file__", None)
    if path is None:
        return root is None or not getattr(root, "__path__", None) or module in sys.builtin_module_names
    places = [sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")]
    path = os.path.realpath(path)
    return any(p and path.startswith(os.path.realpath(p) + os.sep) for p in places) or "site-packages" in path or "dist-packages" in path


def _names(code):
    """The global names that code and the functions within it read."""
    found = set(code.co_names)
    for const in code.co_consts:
        if isinstance(const, types.CodeType):
            found |= _names(const)
    return found


def _empty_function(code, name, module):
    scope = {"__builtins__": builtins, "__name__": module}
    code = marshal.loads(code)
    cells = tuple(types.CellType() for _ in code.co_freevars)
    return types.FunctionType(code, scope, name, None, cells)


def _fill_function(f, state):
    f.__globals__.update(state["globals"])
    f.__defaults__, f.__kwdefaults__ = state["defaults"], state["kwdefaults"]
    f.__doc__, f.__qualname__ = state["doc"], state["qualname"]
    f.__dict__.update(state["dict"])
    for cell, value in zip(f.__closure__ or (), state["cells"]):
        if value is not _EMPTY:
            cell.cell_contents = value[0]
    return f


_EMPTY = "empty"


_home = {}  # classes that were sent by value, by module and name: what comes back is of them again


def _empty_class(meta, name, bases, module):
    if (module, name) in _home:
        return _home[module, name]
    return types.new_class(name, bases, {"metaclass": meta}, lambda ns: ns.update({"__module__": module}))


def _fill_class(cls, attributes):
    if _home.get((cls.__module__, cls.__name__)) is cls:
        return cls
    for name, value in attributes.items():
        setattr(cls, name, value)
    return cls


def _importable(obj):
    """Whether a function or class is found under its name in a module that the nodes have or get."""
    if obj.__module__ in (None, "__main__"):
        return False
    at = sys.modules.get(obj.__module__)
    for name in obj.__qualname__.split("."):
        at = getattr(at, name, None)
    return at is obj


class _Pickler(pickle.Pickler):
    """Pickles functions and classes of the main program, and those within functions, by value, all else as pickle does."""

    def reducer_override(self, obj):
        if isinstance(obj, types.FunctionType) and not _importable(obj):
            return self._function(obj)
        if isinstance(obj, type) and not _importable(obj):
            return self._class(obj)
        if isinstance(obj, types.ModuleType):
            return importlib.import_module, (obj.__name__,)
        if isinstance(obj, (staticmethod, classmethod)):
            return type(obj), (obj.__func__,)
        if isinstance(obj, property):
            return property, (obj.fget, obj.fset, obj.fdel, obj.__doc__)
        return NotImplemented

    @staticmethod
    def _function(f):
        code = f.__code__
        cells = []
        for cell in f.__closure__ or ():
            try:
                cells.append((cell.cell_contents,))
            except ValueError:
                cells.append(_EMPTY)
        state = {
            "globals": {n: f.__globals__[n] for n in _names(code) if n in f.__globals__},
            "defaults": f.__defaults__, "kwdefaults": f.__kwdefaults__, "doc": f.__doc__,
            "qualname": f.__qualname__, "dict": f.__dict__, "cells": cells,
        }
        return _empty_function, (marshal.dumps(code), f.__name__, f.__module__), state, None, None, _fill_function

    @staticmethod
    def _class(cls):
        if _at_home:
            _home[cls.__module__, cls.__name__] = cls
        left_out = {"__dict__", "__weakref__", "__module__", "__slotnames__", "__firstlineno__", "__static_attributes__"}
        attributes = {n: v for n, v in cls.__dict__.items() if n not in left_out and not isinstance(v, types.GetSetDescriptorType)}
        return _empty_class, (type(cls), cls.__name__, cls.__bases__, cls.__module__), attributes, None, None, _fill_class


_at_home = True  # not on a node


def dumps(obj):
    """obj as bytes that the nodes can read."""
    out = io.BytesIO()
    _Pickler(out, protocol=4).dump(obj)
    return out.getvalue()


# ---- on the node ----------------------------------------------------------------------------

def _version():
    return "%d.%d" % sys.version_info[:2]


def _run(folder, index):
    """Do the calls of one task and leave their outcomes in a file."""
    out = os.path.join(folder, "outcome")
    with open(os.path.join(folder, "call", "version")) as f:
        theirs = f.read().strip()
    if theirs != _version():
        text = "this node has Python %s, and the functions come from Python %s" % (_version(), theirs)
        outcomes = [("refused", text)]
    else:
        with open(os.path.join(folder, "call", "function"), "rb") as f:
            function = pickle.load(f)
        with open(os.path.join(folder, "call", "args.%d" % index), "rb") as f:
            calls = pickle.load(f)
        outcomes = [_call(function, args, kwargs) for args, kwargs in calls]
    with open(out + ".new", "wb") as f:
        f.write(dumps(outcomes))
    os.replace(out + ".new", out)


def _call(function, args, kwargs):
    try:
        return "value", _checked(function(*args, **kwargs))
    except BaseException as e:  # a task tells of everything, SystemExit too
        text = traceback.format_exc()
        try:
            pickle.loads(dumps(e))
            return "error", e, text
        except Exception:
            return "error", RemoteError("%s: %s" % (type(e).__name__, e)), text


def _checked(value):
    """The value, if it can travel: what can't is told as this call's error, not as the whole task's."""
    dumps(value)
    return value


def _main():
    """What a task runs: python3 -c '…; bramble._main()' INDEX, in its folder."""
    global _at_home
    _at_home = False
    _run(os.getcwd(), int(sys.argv[1]))


# ---- the head -------------------------------------------------------------------------------

class _Head:
    """The head's JSON API, described at /api on the dashboard."""

    def __init__(self, url, token, cookie, context):
        self.parts = urllib.parse.urlsplit(url)
        if self.parts.scheme not in ("http", "https") or not self.parts.hostname:
            raise BrambleError("%r is no address of a dashboard: https://HOST:7652" % url)
        self.token, self.cookie, self.context = token, cookie, context

    def open(self, method, path, body=None, kind="application/json"):
        """The response to a request; refused ones raise BrambleError."""
        if self.parts.scheme == "https":
            link = http.client.HTTPSConnection(self.parts.hostname, self.parts.port or 7652, timeout=90, context=self.context)
        else:
            link = http.client.HTTPConnection(self.parts.hostname, self.parts.port or 7652, timeout=90)
        headers = {"Accept": "application/json"}
        if body is not None:
            headers["Content-Type"] = kind
        if self.token:
            headers["Authorization"] = "Bearer " + self.token
        if self.cookie:
            headers["Cookie"] = self.cookie
            headers["Origin"] = "%s://%s" % (self.parts.scheme, self.parts.netloc)
        try:
            link.request(method, path, body=body, headers=headers)
            response = link.getresponse()
        except (OSError, http.client.HTTPException) as e:
            link.close()
            raise BrambleError("the head at %s does not answer: %s" % (self.parts.netloc, e)) from e
        if response.status >= 300:
            text = response.read(65536).decode("utf-8", "replace")
            link.close()
            raise BrambleError(_refusal(response.status, text))
        return response

    def json(self, method, path, value=None):
        body = None if value is None else json.dumps(value).encode()
        with self.open(method, path, body) as response:
            return json.load(response)


def _refusal(status, text):
    try:
        told = json.loads(text)
        return told["text"] + ("\ntry: " + told["try"] if told.get("try") else "")
    except (ValueError, KeyError, TypeError):
        return "the head answered with status %d: %s" % (status, text[:200])


def _sign_in(cluster):
    """The dashboard's address and a session there, by this machine's own bramble."""
    command = ["bramble"] + (["--cluster", cluster] if cluster else []) + ["ui", "--json"]
    try:
        told = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise BrambleError("there is neither BRAMBLE_URL with BRAMBLE_TOKEN nor a program called bramble here\n"
                           "try: bramble token create --user NAME, on a machine of the cluster") from None
    if told.returncode != 0:
        raise BrambleError(told.stderr.strip())
    return json.loads(told.stdout)["url"]


# ---- for people -----------------------------------------------------------------------------

class Cluster:
    """A cluster to call Python functions on.

    url and token: the dashboard's address and a sign-in token; without them BRAMBLE_URL and
    BRAMBLE_TOKEN, and without those what this machine's own `bramble ui` says (cluster, or
    BRAMBLE_CLUSTER, as for its --cluster). cafile: the certificate that signed the dashboard's.
    on, cpus, memory (bytes), timeout (seconds), retries, partition: as for bramble submit, for
    every call. python: the interpreter on the nodes.
    """

    def __init__(self, url=None, token=None, *, cluster=None, cafile=None, on="", cpus=1, memory=0,
                 timeout=0, retries=0, partition="", python="python3"):
        if cpus < 1:
            raise ValueError("cpus=%r leaves a task no core" % (cpus,))
        url, token = url or os.environ.get("BRAMBLE_URL"), token or os.environ.get("BRAMBLE_TOKEN")
        cookie = None
        context = ssl.create_default_context(cafile=cafile)
        if not url:
            url, cookie, context = _enter(_sign_in(cluster), context)
        self._head = _Head(url, token, cookie, context)
        self._spec = {"on": on, "cpus": cpus, "memory": memory, "timeout": int(timeout * 1e9), "retries": retries,
                      "partition": partition, "patience": int(60e9)}
        self._python = python

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None

    def cores(self):
        """How many cores the nodes that are up have together."""
        nodes = self._head.json("GET", "/api/v1/nodes?on=" + urllib.parse.quote(self._spec["on"] or "all"))
        return sum(n["cores"] for n in nodes if n["state"] == "up" and "worker" in n["roles"])

    def map(self, function, *iterables, chunksize=None):
        """Yield function(x, …) for each element of the iterables, in their order. The first call that
        raised raises here, when its turn comes."""
        waiting, turn = {}, 0
        for at, outcome in self.imap(function, *iterables, chunksize=chunksize, _raw=True):
            waiting[at] = outcome
            while turn in waiting:
                yield _unwrap(waiting.pop(turn))
                turn += 1

    def imap(self, function, *iterables, chunksize=None, _raw=False):
        """Yield (i, function(x, …)) for each element of the iterables as it comes, i counted from 0."""
        calls = [(args, {}) for args in zip(*iterables)]
        if not calls:
            return
        if chunksize is None:
            chunksize = max(1, len(calls) // (4 * max(1, self.cores())))
        chunks = [calls[i:i + chunksize] for i in range(0, len(calls), chunksize)]
        job = self._submit(function, chunks)
        done = False
        try:
            for index, outcomes in self._outcomes(job, [len(c) for c in chunks]):
                for k, outcome in enumerate(outcomes):
                    at = index * chunksize + k
                    yield (at, outcome) if _raw else (at, _unwrap(outcome))
            done = True
        finally:
            if not done:
                self._cancel(job)

    def executor(self):
        """A concurrent.futures.Executor whose calls run on the cluster, gathered into few jobs."""
        return Executor(self)

    def _submit(self, function, chunks):
        """A job with one task per chunk of calls."""
        files = _own_modules()
        files.update({"call/version": _version().encode(), "call/function": dumps(function)})
        with open(_own_path(), "rb") as f:
            files["call/bramble.py"] = f.read()
        for i, chunk in enumerate(chunks):
            files["call/args.%d" % i] = dumps(chunk)
        with self._head.open("POST", "/api/v1/trees", _tar(files), "application/x-tar") as response:
            ref = json.load(response)["ref"]
        script = "import sys; sys.path.insert(0, 'call'); import bramble; bramble._main()"
        spec = dict(self._spec, name=getattr(function, "__name__", "call"), inputs=ref, array="0-%d" % (len(chunks) - 1),
                    args=["sh", "-c", 'exec "$0" -c "$1" "$BRAMBLE_TASK_ID"', self._python, script])
        spec["return"] = ["outcome"]
        return self._head.json("POST", "/api/v1/jobs", spec)["job"]

    def _cancel(self, job):
        try:
            self._head.json("POST", "/api/v1/jobs/%d/cancel" % job, {})
        except BrambleError:
            pass  # it has ended, or the head is away: then it is not ours to say

    def _outcomes(self, job, sizes):
        """Yield (chunk, outcomes) of a job's tasks as they end, each once, also across restarts of the head."""
        left = set(range(len(sizes)))
        pause = 0.2
        while left:
            try:
                with self._head.open("GET", "/api/v1/jobs/%d/results?follow=1" % job) as response:
                    for line in response:
                        if not line.strip():
                            continue  # all is well, and nothing new
                        told = json.loads(line)
                        if "index" not in told:
                            raise OSError(told["error"]["text"])
                        if told["index"] in left:
                            left.discard(told["index"])
                            pause = 0.2
                            yield told["index"], self._outcome(job, told, sizes[told["index"]])
            except (OSError, http.client.HTTPException, ValueError) as e:
                problem = e
            except BrambleError as e:
                if "does not answer" not in str(e):
                    raise
                problem = e
            else:
                problem = "the head told of the end of the job and not of all its tasks"
            if left:
                if pause > 30:
                    raise BrambleError("job %d: %s" % (job, problem))
                time.sleep(pause)
                pause *= 2

    def _outcome(self, job, told, size):
        """What one task has left, or why it left nothing."""
        if told.get("returns"):
            with self._head.open("GET", "/api/v1/trees/" + told["returns"]) as response:
                files = tarfile.open(fileobj=io.BytesIO(response.read()))
                outcomes = pickle.loads(files.extractfile("outcome").read())
            if outcomes and outcomes[0][0] == "refused":
                return [("error", BrambleError(outcomes[0][1]), "")] * size
            return outcomes
        if told.get("timeout"):
            text = "its time was up"
        elif told["state"] == "cancelled":
            text = "it was cancelled"
        else:
            text = told.get("error") or ("signal " + told["signal"] if told.get("signal") else "exit status %s" % told.get("code"))
        output = told.get("stderr") or base64.b64decode(told.get("stderr_base64") or "").decode("utf-8", "replace")
        output = output[-2000:]
        return [("error", RemoteError("task %d of job %d on %s: %s\n%s" % (told["index"], job, told.get("node"), text, output)), "")] * size


def _own_path():
    return os.path.realpath(__file__)


def _tar(files):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for name, data in sorted(files.items()):
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o644
            tar.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def _unwrap(outcome):
    if outcome[0] == "value":
        return outcome[1]
    error = outcome[1]
    if outcome[2]:
        error.__cause__ = _Traceback(outcome[2])
    raise error


class _Traceback(Exception):
    """Where an exception came from on its node."""

    def __str__(self):
        return "\n\n" + self.args[0]


class Executor(concurrent.futures.Executor):
    """Runs calls on the cluster. Calls that come within a moment of each other go out as one job."""

    _gather = 0.02  # seconds

    def __init__(self, cluster):
        self._cluster = cluster
        self._lock = threading.Condition()
        self._waiting, self._threads, self._closed = [], set(), False
        self._sender = threading.Thread(target=self._send, daemon=True)
        self._sender.start()

    def submit(self, fn, /, *args, **kwargs):
        future = concurrent.futures.Future()
        with self._lock:
            if self._closed:
                raise RuntimeError("cannot schedule new futures after shutdown")
            self._waiting.append((fn, args, kwargs, future))
            self._lock.notify_all()
        return future

    def map(self, fn, *iterables, timeout=None, chunksize=None):
        return self._cluster.map(fn, *iterables, chunksize=chunksize)

    def shutdown(self, wait=True, *, cancel_futures=False):
        with self._lock:
            if cancel_futures:
                for _, _, _, future in self._waiting:
                    future.cancel()
            self._closed = True
            self._lock.notify_all()
        if wait:
            self._sender.join()
            for thread in list(self._threads):
                thread.join()

    def _send(self):
        while True:
            with self._lock:
                while not self._waiting and not self._closed:
                    self._lock.wait()
                if not self._waiting:
                    return
                if not self._closed:
                    self._lock.wait(self._gather)
                batch, self._waiting = self._waiting, []
            batch = [call for call in batch if call[3].set_running_or_notify_cancel()]
            if batch:
                thread = threading.Thread(target=self._follow, args=(batch,), daemon=True)
                self._threads.add(thread)
                thread.start()

    def _follow(self, batch):
        try:
            job = self._cluster._submit(_apply, [[((fn, args, kwargs), {})] for fn, args, kwargs, _ in batch])
            for index, outcomes in self._cluster._outcomes(job, [1] * len(batch)):
                self._settle(batch[index][3], outcomes[0])
        except BaseException as e:
            for _, _, _, future in batch:
                if not future.done():
                    future.set_exception(e)
        finally:
            self._threads.discard(threading.current_thread())

    @staticmethod
    def _settle(future, outcome):
        try:
            future.set_result(_unwrap(outcome))
        except BaseException as e:
            future.set_exception(e)


def _apply(fn, args, kwargs):
    return fn(*args, **kwargs)


def _enter(link, context):
    """Use a sign-in link once: the address, the session's cookie, and how to trust the head."""
    parts = urllib.parse.urlsplit(link)
    base = "%s://%s" % (parts.scheme, parts.netloc)
    head = _Head(base, None, None, context)
    secret = urllib.parse.parse_qs(parts.query)["key"][0]
    body = urllib.parse.urlencode({"key": secret}).encode()
    conn = http.client.HTTPConnection(head.parts.hostname, head.parts.port) if parts.scheme == "http" else \
        http.client.HTTPSConnection(head.parts.hostname, head.parts.port, context=context)
    conn.request("POST", "/signin", body=body, headers={"Content-Type": "application/x-www-form-urlencoded", "Origin": base})
    response = conn.getresponse()
    cookie = response.getheader("Set-Cookie")
    response.read()
    conn.close()
    if not cookie:
        raise BrambleError("the dashboard at %s did not take the sign-in link: status %d" % (base, response.status))
    return base, cookie.partition(";")[0], context
