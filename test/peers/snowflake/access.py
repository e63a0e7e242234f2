"""access.py: who may come in

As Snowflake's documentation has it: a JWT that the user's key has signed, and
that names account, user and the key's fingerprint as it wants them; a token of
OAuth; a programmatic access token.  The header that names the token's type
may be left out by others; here it must be there, and right.
"""

import base64
import hashlib
import time

import jwt
from cryptography.hazmat.primitives import serialization

TYPE = 'X-Snowflake-Authorization-Token-Type'
LEEWAY = 60


class Denied(Exception):
    def __init__(self, code, text):
        super().__init__(text)
        self.code = code
        self.text = text


class Access:
    def __init__(self, options):
        self.options = options
        self.subject = f'{options.account}.{options.user}'
        self.tokens = {'OAUTH': read(options.oauth_token_file),
                       'PROGRAMMATIC_ACCESS_TOKEN': read(options.pat_file)}
        self.revoked = set()
        self.key = None
        if options.public_key:
            self.set_key(read(options.public_key))

    def set_key(self, pem):
        """Rotation: from now on this is the user's."""
        self.key = serialization.load_pem_public_key(pem.encode())
        der = self.key.public_bytes(
            serialization.Encoding.DER,
            serialization.PublicFormat.SubjectPublicKeyInfo)
        self.fingerprint = 'SHA256:' + base64.b64encode(
            hashlib.sha256(der).digest()).decode()

    def revoke(self, token):
        self.revoked.add(token)

    def check(self, headers):
        """The token; raises Denied."""
        kind = headers.get(TYPE)
        scheme, _, token = (headers.get('Authorization') or '').partition(' ')
        if scheme != 'Bearer' or not token:
            raise Denied('390101', 'Authorization header not found in the'
                         ' request data.')
        if token in self.revoked:
            raise Denied('390303', 'Invalid OAuth access token.')
        if kind == 'KEYPAIR_JWT':
            self.check_jwt(token)
        elif kind not in self.tokens:
            raise Denied('390102', f'No such token type: {kind}')
        elif self.tokens[kind] is None or token != self.tokens[kind]:
            raise Denied('390303', 'Invalid OAuth access token.')
        return token

    def check_jwt(self, token):
        if self.key is None:
            raise Denied('390144', 'JWT token is invalid.')
        try:
            claims = jwt.decode(
                token, self.key, algorithms=['RS256', 'RS384', 'RS512'],
                leeway=LEEWAY,
                options={'require': ['iss', 'sub', 'iat', 'exp']})
        except jwt.PyJWTError as error:
            raise Denied('390144', f'JWT token is invalid. {error}') from None
        if claims['sub'] != self.subject:
            raise Denied('390144', 'JWT token is invalid. subject')
        if claims['iss'] != f'{self.subject}.{self.fingerprint}':
            raise Denied('390144', 'JWT token is invalid. issuer')
        if claims['exp'] - claims['iat'] > 3600 or claims['iat'] < \
                time.time() - 3600:
            raise Denied('390144', 'JWT token is invalid. lifetime')


def read(path):
    if path is None:
        return None
    with open(path, encoding='ascii') as file:
        return file.read().strip()
