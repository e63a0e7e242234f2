"""statement.py: what has to be known of a statement before the engine sees it

The server of the store parses an INSERT up to its FORMAT and takes what
follows, in the URL or in the body, as data in that format.  The embedded
engine wants its data in a file instead, so the place has to be found where
FROM INFILE goes.  Everything else about a statement is the engine's business:
nothing here checks it.
"""

import re

TOKEN = re.compile(r"""
    (?P<space>  \s+ | --[^\n]* | /\*.*?\*/ )
  | (?P<quoted> '(?:[^'\\]|\\.|'')*' | "(?:[^"\\]|\\.|"")*"
              | `(?:[^`\\]|\\.|``)*` )
  | (?P<word>   [A-Za-z_]\w* )
  | (?P<other>  . )""", re.VERBOSE | re.DOTALL)

KILL = re.compile(r"""\s*KILL\s+QUERY\s+WHERE\s+query_id\s*=\s*
    '(?P<id>(?:[^'\\]|\\.)*)' \s* (?P<mode>SYNC|ASYNC|TEST)?
    \s* (?:FORMAT\s+(?P<format>\w+))? \s* ;? \s* $""",
                  re.VERBOSE | re.IGNORECASE)

PROCESSES = re.compile(r'\bsystem\s*\.\s*processes\b', re.IGNORECASE)


class Insert:
    """An INSERT whose data come apart from it.

    infile_at is where FROM INFILE goes, format_at where FORMAT or VALUES
    begins, data_at where data may begin that stand in the statement itself.
    """

    def __init__(self, text, infile_at, format_at, data_at, format_name):
        self.text = text
        self.infile_at = infile_at
        self.format_at = format_at
        self.data_at = data_at
        self.format_name = format_name

    @property
    def head(self):
        """The statement without data, as a client would show it."""
        return self.text[:self.data_at].strip()

    def from_file(self, path, compression):
        settings = self.text[self.infile_at:self.format_at]
        return (f"{self.text[:self.infile_at]} FROM INFILE {literal(path)}"
                f" COMPRESSION {literal(compression)} {settings}"
                f" FORMAT {self.format_name}")


def literal(text):
    """A string as the engine reads it."""
    return "'" + text.replace('\\', '\\\\').replace("'", "\\'") + "'"


def unquoted(text):
    """What stands between the quotes of a literal."""
    return re.sub(r'\\(.)', r'\1', text, flags=re.DOTALL)


def identifier(text):
    return '`' + text.replace('\\', '\\\\').replace('`', '\\`') + '`'


def tokens(text):
    for match in TOKEN.finditer(text):
        if match.lastgroup != 'space':
            yield match


def first_words(text, count):
    found = []
    for token in tokens(text):
        if token.lastgroup != 'word' or len(found) == count:
            break
        found.append(token.group().upper())
    return found


def parse_insert(text):
    """An Insert, or None if the statement is none that takes data."""
    depth = 0
    settings_at = None
    stream = tokens(text)
    for number, token in enumerate(stream):
        word = token.group().upper()
        if number == 0 and word != 'INSERT':
            return None
        if token.lastgroup == 'other':
            depth += (word == '(') - (word == ')')
        if depth > 0 or token.lastgroup != 'word':
            continue
        if word in ('SELECT', 'WITH', 'INFILE', 'WATCH'):
            return None
        if word == 'SETTINGS' and settings_at is None:
            settings_at = token.start()
        if word == 'VALUES':
            return _insert(text, settings_at, token, token, 'Values')
        if word == 'FORMAT':
            name = next(stream, None)
            if name is None or name.lastgroup != 'word':
                return None
            return _insert(text, settings_at, token, name, name.group())
    return None


def _insert(text, settings_at, token, last, format_name):
    # One line end after the format's name belongs to the statement.
    data_at = last.end()
    while text[data_at:data_at + 1] in (' ', '\t', '\f'):
        data_at += 1
    if text[data_at:data_at + 1] == '\r':
        data_at += 1
    if text[data_at:data_at + 1] == '\n':
        data_at += 1
    infile_at = token.start() if settings_at is None else settings_at
    return Insert(text, infile_at, token.start(), data_at, format_name)


def result_format(text):
    """The format that the statement asks for, or None."""
    found = None
    stream = tokens(text)
    for token in stream:
        if token.group().upper() == 'FORMAT' and token.lastgroup == 'word':
            name = next(stream, None)
            found = name.group() if name is not None else None
    return found
