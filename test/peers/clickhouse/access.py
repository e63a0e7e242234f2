"""access.py: who may ask

The embedded engine knows no users, so this imitates the server: one user with
or without a password, a bearer token, a client certificate that names the
user.  Codes and texts are the server's.
"""

import base64
import binascii
import hmac

from engine import StoreError


class Access:
    def __init__(self, options):
        self.user = options.user
        self.password = _first_line(options.password_file)
        self.token = _first_line(options.token_file)

    def check(self, handler):
        """The user's name; anything else is refused."""
        headers, params = handler.headers, handler.params
        kind, _, given = headers.get('Authorization', '').partition(' ')
        by_header = any(name in headers for name in
                        ('X-ClickHouse-User', 'X-ClickHouse-Key'))
        by_url = any(name in params for name in ('user', 'password'))

        if by_header and (kind or by_url):
            raise _refused('it is not allowed to use X-ClickHouse HTTP'
                           ' headers and other authentication methods'
                           ' simultaneously')
        if kind and by_url:
            raise _refused('it is not allowed to use Authorization HTTP'
                           ' header and authentication via parameters'
                           ' simultaneously')
        if headers.get('X-ClickHouse-SSL-Certificate-Auth') == 'on':
            return self._by_certificate(handler)
        if by_header:
            return self._by_password(headers.get('X-ClickHouse-User'),
                                     headers.get('X-ClickHouse-Key'))
        if kind.lower() == 'basic':
            return self._by_password(*_basic(given))
        if kind.lower() == 'bearer':
            return self._by_token(given.strip())
        if kind:
            raise _refused(f"'{kind}' HTTP Authorization scheme is not"
                           ' supported')
        return self._by_password(params.get('user'), params.get('password'))

    def _by_password(self, user, password):
        user = user or 'default'
        if user != self.user or not _same(password or '', self.password):
            raise _failed(user)
        return user

    def _by_token(self, token):
        if not self.token or not _same(token, self.token):
            raise _failed('')
        return self.user

    def _by_certificate(self, handler):
        user = handler.headers.get('X-ClickHouse-User') or ''
        certificate = getattr(handler.connection, 'getpeercert', dict)() or {}
        names = [value for part in certificate.get('subject', ())
                 for name, value in part if name == 'commonName']
        if user != self.user or user not in names:
            raise _failed(user)
        return user


def _same(one, other):
    return hmac.compare_digest(one.encode(), other.encode())


def _first_line(path):
    if not path:
        return ''
    with open(path, encoding='utf-8') as file:
        return file.readline().rstrip('\n')


def _basic(given):
    try:
        user, _, password = base64.b64decode(given).decode().partition(':')
    except (binascii.Error, UnicodeDecodeError):
        raise _refused('malformed HTTP Basic credentials') from None
    return user, password


def _refused(why):
    return StoreError(516, f'Invalid authentication: {why}.'
                      ' (AUTHENTICATION_FAILED)')


def _failed(user):
    return StoreError(516, f'{user}: Authentication failed: password is'
                      ' incorrect, or there is no user with such name.'
                      ' (AUTHENTICATION_FAILED)')
