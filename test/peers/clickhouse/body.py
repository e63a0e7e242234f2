"""body.py: the body of a request, read once, in pieces"""

MAX_LINE = 1 << 20


class ShortBody(Exception):
    """The connection ended before the body did."""


class Body:
    """Reads by length or in chunks.  given: there is one at all."""

    def __init__(self, headers, stream):
        coding = headers.get('Transfer-Encoding', '').lower()
        length = headers.get('Content-Length')
        self.stream = stream
        self.chunked = 'chunked' in coding
        self.given = self.chunked or bool(length)
        self.left = int(length) if length and not self.chunked else 0
        self.count = 0
        self.ended = not self.chunked and self.left == 0

    def pieces(self, size=1 << 18):
        while not self.ended:
            if self.chunked and self.left == 0:
                self._next_chunk()
                continue
            piece = self.stream.read1(min(size, self.left))
            if not piece:
                raise ShortBody
            self.left -= len(piece)
            self.count += len(piece)
            if self.chunked and self.left == 0:
                self._line()
            self.ended = not self.chunked and self.left == 0
            yield piece

    def _next_chunk(self):
        try:
            self.left = int(self._line().split(b';')[0], 16)
        except ValueError:
            raise ShortBody from None
        if self.left == 0:
            while self._line():
                pass
            self.ended = True

    def _line(self):
        line = self.stream.readline(MAX_LINE)
        if not line.endswith(b'\n'):
            raise ShortBody
        return line.strip()


def chunked(data, size=1 << 16):
    """All of an answer's body, in chunks."""
    parts = [data[at:at + size] for at in range(0, len(data), size)]
    return b''.join(b'%x\r\n%b\r\n' % (len(part), part)
                    for part in parts) + b'0\r\n\r\n'
