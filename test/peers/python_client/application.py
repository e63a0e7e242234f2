"""application.py URL: an application that leaves the work to the client

It calls models by its providers' libraries, patched by the client, by functions
with the client's decorator, and in requests of two web frameworks with the
client's middleware.  The models are a server on this machine.  Each event names
its origin as its project.
"""

import asyncio
import http.server
import json
import sys
import threading
from types import SimpleNamespace

import anthropic
import fastapi
import flask
import openai
import tokenledger
from fastapi.testclient import TestClient
from google import genai
from tokenledger.middleware import FastAPIMiddleware, FlaskMiddleware

ANSWERS = {
    'completions': {
        'id': 'c', 'object': 'chat.completion', 'created': 1,
        'model': 'gpt-4o', 'choices': [
            {'index': 0, 'finish_reason': 'stop',
             'message': {'role': 'assistant', 'content': 'Hello'}}],
        'usage': {'prompt_tokens': 11, 'completion_tokens': 7,
                  'total_tokens': 18,
                  'prompt_tokens_details': {'cached_tokens': 3}}},
    'messages': {
        'id': 'm', 'type': 'message', 'role': 'assistant',
        'model': 'claude-3-5-haiku-20241022',
        'content': [{'type': 'text', 'text': 'Salut'}],
        'stop_reason': 'end_turn', 'stop_sequence': None,
        'usage': {'input_tokens': 5, 'output_tokens': 6,
                  'cache_read_input_tokens': 2}},
    'generateContent': {
        'candidates': [{'content': {'role': 'model',
                                    'parts': [{'text': 'Hallo'}]},
                        'finishReason': 'STOP'}],
        'usageMetadata': {'promptTokenCount': 4, 'candidatesTokenCount': 9,
                          'totalTokenCount': 13},
        'modelVersion': 'gemini-2.5-flash'},
}


class Models(http.server.BaseHTTPRequestHandler):
    """Answers as the providers do; a model of the name "none" is an error."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get('Content-Length', 0)))
        kind = self.path.replace(':', '/').split('/')[-1]
        status, answer = 200, ANSWERS[kind]
        if b'"none"' in body:
            status, answer = 404, {'error': {'message': 'no such model'}}
        answer = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header('Content-Type', 'application/json')
        self.send_header('Content-Length', str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format, *args):
        pass


def call_models(base):
    messages = [{'role': 'user', 'content': 'Hi'}]
    client = openai.OpenAI(api_key='k', base_url=base, max_retries=0)
    with tokenledger.attribution(project='openai', team='red',
                                 user_id='somebody'):
        client.chat.completions.create(model='gpt-4o', messages=messages)
    with tokenledger.attribution(project='openai, failing'):
        try:
            client.chat.completions.create(model='none', messages=messages)
        except openai.NotFoundError:
            pass
    client = anthropic.Anthropic(api_key='k', base_url=base, max_retries=0)
    with tokenledger.attribution(project='anthropic'):
        client.messages.create(model='claude-3-5-haiku-20241022',
                               max_tokens=9, messages=messages)
    client = genai.Client(api_key='k', http_options={'base_url': base})
    with tokenledger.attribution(project='google'):
        client.models.generate_content(model='gemini-2.5-flash',
                                       contents='Hi')


def answer():
    return SimpleNamespace(model='gpt-4o', usage=SimpleNamespace(
        prompt_tokens=20, completion_tokens=30))


@tokenledger.attribution(project='decorated')
@tokenledger.track_llm(provider='openai', user_id='somebody')
def decorated():
    return answer()


@tokenledger.attribution(project='decorated, async')
@tokenledger.track_llm(provider='openai', metadata={'a': [1]})
async def decorated_async():
    return answer()


@tokenledger.attribution(project='decorated, failing')
@tokenledger.track_llm(model='gpt-4o', provider='openai')
def decorated_failing():
    raise ValueError('not today')


def call_functions():
    decorated()
    asyncio.run(decorated_async())
    try:
        decorated_failing()
    except ValueError:
        pass
    with tokenledger.attribution(project='by hand', feature='search',
                                 metadata_extra={'k': 1}):
        tokenledger.track_cost(150, 500, 'gpt-4o', user_id='somebody')


HEADERS = {'X-User-ID': 'caller', 'X-Session-ID': 's', 'X-Team': 'blue',
           'X-Organization-ID': 'o', 'X-Feature': 'chat',
           'X-Cost-Center': 'cc'}


def serve_requests():
    fast = fastapi.FastAPI()
    fast.add_middleware(FastAPIMiddleware)
    flasky = flask.Flask('flasky')
    FlaskMiddleware(flasky)

    @fast.get('/page')
    def page():
        tokenledger.track_cost(1, 2, 'gpt-4o')

    @flasky.get('/page')
    def flask_page():
        tokenledger.track_cost(3, 4, 'gpt-4o')
        return ''

    fast_client = TestClient(fast)
    assert fast_client.get('/page', headers={
        **HEADERS, 'X-Project': 'fastapi'}).status_code == 200
    assert flasky.test_client().get('/page', headers={
        **HEADERS, 'X-Project': 'flask'}).status_code == 200


server = http.server.ThreadingHTTPServer(('127.0.0.1', 0), Models)
threading.Thread(target=server.serve_forever, daemon=True).start()
tokenledger.configure(database_url=sys.argv[1], app_name='application',
                      environment='test')
tokenledger.get_tracker().initialize(create_tables=False)
tokenledger.patch_openai()
tokenledger.patch_anthropic()
tokenledger.patch_google()
call_models(f'http://127.0.0.1:{server.server_port}')
call_functions()
serve_requests()
tokenledger.get_tracker().shutdown()
