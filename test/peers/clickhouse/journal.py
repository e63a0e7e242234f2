"""journal.py: what became of every request, for tests to audit

A file of JSON lines, each written at once by one write(2), so that it says
the truth after a kill -9 too: a request whose last state is "handed" had gone
to the engine, and only the table can tell what became of it.
"""

import json
import os
import threading
import time


class Journal:
    def __init__(self, directory):
        self.path = os.path.join(directory, 'journal.jsonl')
        self.file = os.open(self.path,
                            os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        self.lock = threading.Lock()
        self.last = max((entry['n'] for entry in self.entries()), default=0)

    def begin(self, **fields):
        """Number of a new entry, whose state is "received"."""
        with self.lock:
            self.last += 1
            number = self.last
        self.note(number, state='received', **fields)
        return number

    def note(self, number, **fields):
        line = json.dumps(dict(n=number, at=time.time(), **fields))
        os.write(self.file, line.encode() + b'\n')

    def entries(self):
        """One a request, in their order: the last of what was noted, and the
        faults that it met."""
        found = {}
        with open(self.path, encoding='utf-8', errors='replace') as lines:
            for line in lines:
                try:
                    noted = json.loads(line)
                except ValueError:
                    continue
                entry = found.setdefault(noted['n'], {'faults': []})
                if 'fault' in noted:
                    entry['faults'].append(noted.pop('fault'))
                entry.update(noted)
        return [found[number] for number in sorted(found)]
