"""faults.py: what shall go wrong with which request

The README lists calls, points and actions.
"""

import os
import re
import signal
import threading

CALLS = ('submit', 'poll', 'partition', 'cancel', 'hostname', 'token', 'open',
         'append', 'status', 'drop', 'any')
POINTS = ('before', 'after')
ACTIONS = ('answer', 'drop', 'kill', 'hang', 'async', 'late', 'invalidate')
FIELDS = {'call': str, 'point': str, 'action': str, 'query': str,
          'nth': int, 'times': int, 'status': int, 'code': str,
          'sqlState': str, 'message': str, 'polls': int,
          'seconds': (int, float), 'retry_after': int}


class Disconnect(Exception):
    """The connection is to be dropped."""


class Planned(Exception):
    """This answer, instead of the real one."""

    def __init__(self, spec):
        super().__init__('planned')
        self.spec = spec


class Fault:
    def __init__(self, number, spec):
        for name, value in spec.items():
            if name not in FIELDS or not isinstance(value, FIELDS[name]):
                raise ValueError(f'"{name}" of a fault cannot be {value!r}')
        self.number = number
        self.spec = spec
        self.call = spec.get('call', 'submit')
        self.point = spec.get('point', 'before')
        self.action = spec.get('action')
        if (self.call not in CALLS or self.point not in POINTS
                or self.action not in ACTIONS):
            raise ValueError(f'a fault is one of the calls {CALLS}, at one of'
                             f' the points {POINTS}, with one of the actions'
                             f' {ACTIONS}')
        self.seen = self.fired = self.hanging = 0
        self.released = threading.Event()

    def chosen(self, call, query):
        if self.call not in ('any', call) or not re.search(
                self.spec.get('query', ''), query or '', re.I):
            return False
        self.seen += 1
        times = self.spec.get('times', 1)
        if (self.seen < self.spec.get('nth', 1)
                or (times > 0 and self.fired >= times)):
            return False
        self.fired += 1
        return True

    def report(self):
        return dict(self.spec, id=self.number, seen=self.seen,
                    fired=self.fired, hanging=self.hanging)

    def act(self):
        if self.action == 'kill':
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.action == 'drop':
            raise Disconnect
        elif self.action == 'hang':
            self.hanging += 1
            self.released.wait(self.spec.get('seconds'))
            self.hanging -= 1
        elif self.action == 'answer':
            raise Planned(self.spec)


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

    def plan(self, call, query):
        """The fault of each point that this request shall meet."""
        planned = {}
        with self.lock:
            for fault in self.list:
                if (fault.point not in planned
                        and fault.chosen(call, query)):
                    planned[fault.point] = fault
        return planned
