"""events.py: events whose values depend on their names and numbers alone

The same call gives the same events in every run, so that two databases that
were written to alike can be compared, and an event can be sent twice.  Times
are counted back from BASE, in steps that keep an hour's distance from the ends
of the periods that the client asks for (24 hours, 7 and 30 days): the clock
may go on for so long between writing and asking.
"""

import uuid
from datetime import datetime, timedelta

from tokenledger import LLMEvent

NAMESPACE = uuid.UUID('5f0c3b1e-3c2b-4c69-9d52-3c1f6a0f5e11')
MODELS = (('openai', 'gpt-4o'), ('anthropic', 'claude-3-5-haiku-20241022'),
          ('google', 'gemini-2.5-flash'), ('local', 'a model without price'))


def identity(*words):
    return str(uuid.uuid5(NAMESPACE, ' '.join(map(str, words))))


def event(path, i, base):
    """Event number i of a path, with every column filled now and then."""
    provider, model = MODELS[i % len(MODELS)]
    failed = i % 5 == 4

    return LLMEvent.fast_construct(
        event_id=identity('event', path, i),
        trace_id=identity('trace', path, i // 3) if i % 2 else None,
        span_id=identity('span', path, i) if i % 2 else None,
        parent_span_id=identity('span', path, i - 1) if i % 4 == 3 else None,
        timestamp=datetime.fromisoformat(base) - timedelta(hours=1 + 7 * i),
        duration_ms=12.5 * i if i % 6 else None,
        provider=provider,
        model=model,
        input_tokens=100 * i + 3,
        output_tokens=17 * i,
        cached_tokens=i,
        endpoint='/v1/chat/completions',
        request_type='chat' if i % 3 else 'embedding',
        user_id=f'user {i % 7}' if i % 7 else None,
        session_id=f'session {i // 4}',
        organization_id='Grüße & 中文' if i % 2 else None,
        app_name=f'app {i % 2}',
        environment='test',
        status='error' if failed else 'success',
        error_type=f'Error{i % 2}' if failed else None,
        error_message="it's \\ a \"message\"\n" if failed else None,
        metadata={'path': path, 'n': [i, None, {'é': 1.5}]} if i % 2 else None,
        request_preview='How? \U0001F600\t' if i % 3 else None,
        response_preview='' if i % 3 else None,
        feature=f'feature {i % 3}' if i % 3 else None,
        page='/page',
        component=None,
        team=f'team {i % 4}' if i % 4 else None,
        project='project',
        cost_center=f'cc-{i % 2}' if i % 2 else None,
        metadata_extra={'i': i} if i % 2 else None)


def events(path, n, base):
    return [event(path, i, base) for i in range(n)]


def odd_events(base):
    """What the client's own table refuses, and the ledger takes; too old for
    the questions that are asked of the rest."""
    values = (
        {'model': 'm' * 300},
        {'provider': 'p' * 60, 'team': 't' * 200, 'status': 's' * 30},
        {'user_id': 'u' * 5000},
        {'input_tokens': 3_000_000_000, 'total_tokens': 9_000_000_000},
        {'input_tokens': -1, 'output_tokens': -2, 'total_tokens': 7},
        {'cost_usd': 123456.0},
        {'cost_usd': float('nan')},
        {'cost_usd': -1.0},
        {'status': None, 'request_type': None},
        {'session_id': '', 'metadata': {}},
        {'timestamp': datetime.fromisoformat('0001-01-01T00:00:00+00:00')})

    for i, odd in enumerate(values):
        yield LLMEvent.fast_construct(**{
            'event_id': identity('odd', i),
            'timestamp': datetime.fromisoformat(base) - timedelta(days=4000),
            'provider': 'odd',
            'model': 'odd',
            **odd})
