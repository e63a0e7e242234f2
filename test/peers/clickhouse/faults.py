"""faults.py: what shall go wrong with which request

A fault belongs to one point of a request's way:

    before     the head was read, nothing of the body
    body       `bytes` bytes of the body were read
    commit     all was read; the engine gets it next
    committed  the engine has answered; nothing was said to the client
    answer     `bytes` bytes of the answer were sent (default: half of it)

The README lists actions and matchers.  A fault is chosen when the statement
is known, so that "the third INSERT" means the same whatever becomes of it.
"""

import os
import random
import re
import signal
import threading
import time

from engine import StoreError

POINTS = ('before', 'body', 'commit', 'committed', 'answer')
ACTIONS = ('kill', 'rst', 'fin', 'hang', 'slow', 'error', 'ok_exception',
           'foreign', 'rows')
FIELDS = {'point': str, 'action': str, 'kind': str, 'query': str,
          'token': str, 'nth': int, 'times': int, 'probability': (int, float),
          'seed': int, 'bytes': int, 'seconds': (int, float),
          'bytes_per_second': int, 'code': int, 'text': str, 'status': int,
          'rows': int, 'tagged': bool, 'headers': dict}


class Disconnect(Exception):
    """The connection is to be dropped, by a reset or in order."""

    def __init__(self, reset):
        super().__init__('reset' if reset else 'closed')
        self.reset = reset


class ExceptionAfter200(Exception):
    """The answer is a 200 whose body ends with an exception."""

    def __init__(self, error, tagged):
        super().__init__(error.text)
        self.error = error
        self.tagged = tagged


class ForeignAnswer(Exception):
    """An answer of something that stands in front of the server."""

    def __init__(self, spec):
        super().__init__('foreign')
        self.status = spec.get('status', 502)
        self.text = spec.get('text', '')
        self.headers = spec.get('headers', {})


class Fault:
    def __init__(self, number, spec):
        self.number = number
        self.spec = spec
        self.point = spec.get('point')
        self.action = spec.get('action')
        self._check()
        self.seen = self.fired = self.hanging = 0
        self.random = random.Random(spec.get('seed', 0))
        self.released = threading.Event()

    def _check(self):
        for name, value in self.spec.items():
            wanted = FIELDS.get(name)
            if wanted is None:
                raise ValueError(f'a fault has no field "{name}"')
            if not isinstance(value, wanted):
                raise ValueError(f'"{name}" of a fault cannot be {value!r}')
        if self.point not in POINTS:
            raise ValueError(f'"point" is one of {", ".join(POINTS)}')
        if self.action not in ACTIONS:
            raise ValueError(f'"action" is one of {", ".join(ACTIONS)}')
        if self.action == 'rows' and (self.point != 'committed'
                                      or 'rows' not in self.spec):
            raise ValueError('"rows" needs a number "rows", and the point'
                             ' "committed"')
        if self.action == 'slow' and not ({'seconds', 'bytes_per_second'}
                                          & self.spec.keys()):
            raise ValueError('"slow" needs "seconds" or, in the body,'
                             ' "bytes_per_second"')
        self._check_values()

    def _check_values(self):
        for name in ('query', 'token'):
            try:
                re.compile(self.spec.get(name, ''))
            except re.error as error:
                raise ValueError(f'"{name}": {error}') from None
        if self.spec.get('bytes_per_second', 1) <= 0:
            raise ValueError('"bytes_per_second" is a number above 0')
        if (self.point == 'answer'
                and self.action in ('error', 'ok_exception', 'foreign')):
            raise ValueError(f'"{self.action}" comes too late at the point'
                             ' "answer"')

    def matches(self, kind, query, token):
        return (self.spec.get('kind', 'insert') in ('any', kind)
                and re.search(self.spec.get('query', ''), query or '', re.I)
                and re.search(self.spec.get('token', ''), token or ''))

    def chosen(self):
        """For a request that matches: is it one of those that are hit?"""
        self.seen += 1
        times = self.spec.get('times', 1)
        lucky = self.random.random() < self.spec.get('probability', 1)
        if (self.seen < self.spec.get('nth', 1) or not lucky
                or (times > 0 and self.fired >= times)):
            return False
        self.fired += 1
        return True

    def report(self):
        return dict(self.spec, id=self.number, seen=self.seen,
                    fired=self.fired, hanging=self.hanging)

    def error(self):
        return StoreError(
            self.spec.get('code', 241),
            self.spec.get('text', 'A fault of the test.'
                          ' (MEMORY_LIMIT_EXCEEDED)'),
            self.spec.get('status'))

    def act(self, request=None):
        """Do it.  What remains to be done by the caller is raised."""
        if self.action == 'kill':
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.action in ('rst', 'fin'):
            raise Disconnect(self.action == 'rst')
        elif self.action in ('hang', 'slow'):
            self.pause(self.spec.get('seconds'), request)
        elif self.action == 'error':
            raise self.error()
        elif self.action == 'foreign':
            raise ForeignAnswer(self.spec)
        elif self.action == 'ok_exception':
            raise ExceptionAfter200(self.error(),
                                    self.spec.get('tagged', True))

    def pause(self, seconds, request=None):
        """Until the time is over, the fault is cleared or the request is
        killed."""
        deadline = None if seconds is None else time.monotonic() + seconds
        self.hanging += 1
        while not self.released.wait(0.02):
            if request is not None and request.cancelled.is_set():
                break
            if deadline is not None and time.monotonic() >= deadline:
                break
        self.hanging -= 1


class Faults:
    def __init__(self):
        self.lock = threading.Lock()
        self.list = []
        self.last = 0

    def add(self, spec):
        with self.lock:
            fault = Fault(self.last + 1, spec)
            self.last += 1
            self.list.append(fault)
        return fault.report()

    def clear(self):
        """Forget all; whoever hangs goes on."""
        with self.lock:
            cleared, self.list = self.list, []
        for fault in cleared:
            fault.released.set()
        return []

    def report(self):
        with self.lock:
            return [fault.report() for fault in self.list]

    def plan(self, kind, query, token):
        """The fault of each point that this request shall meet."""
        planned = {}
        with self.lock:
            for fault in self.list:
                if (fault.point not in planned
                        and fault.matches(kind, query, token)
                        and fault.chosen()):
                    planned[fault.point] = fault
        return planned
