"""journal.py: what became of every statement, for tests to audit

A file of JSON lines, each written at once by one write(2), so that it says
the truth after a kill -9 too.  What has succeeded is found here again by its
requestId after a restart.
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
        with self.lock:
            self.last += 1
            number = self.last
        self.note(number, state='received', **fields)
        return number

    def note(self, number, **fields):
        line = json.dumps(dict(n=number, at=time.time(), **fields))
        os.write(self.file, line.encode() + b'\n')

    def entries(self):
        """One a request, in their order: the last of what was noted."""
        found = {}
        with open(self.path, encoding='utf-8', errors='replace') as lines:
            for line in lines:
                try:
                    noted = json.loads(line)
                except ValueError:
                    continue
                found.setdefault(noted['n'], {}).update(noted)
        return [found[number] for number in sorted(found)]
