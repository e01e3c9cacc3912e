// OpenAI's own client for its HTTP API: the same agents and sessions.
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { Client, TOKEN, startGateway, stateFolder, within } from './support.mjs';

const OpenAI = createRequire(import.meta.url)('openai');

const state = stateFolder();
writeFileSync(
  path.join(state, 'moorline.json5'),
  '{loops: 2, gateway: {allowed_origins: ["https://chat.example.com"]}, agents: [{id: "echo"}, {id: "second"}]}',
);
const gateway = await startGateway({ state });

const connect = (options) =>
  new OpenAI({ baseURL: `http://127.0.0.1:${gateway.port}/v1`, apiKey: TOKEN, maxRetries: 0, timeout: 10_000, ...options });
const openai = connect();
const messages = [{ role: 'user', content: 'one two three' }];
const long = [{ role: 'user', content: Array.from({ length: 3_000 }, (_, n) => n).join(' ') }];

async function gather(stream) {
  const pieces = [];
  for await (const chunk of stream) pieces.push(chunk.choices[0]?.delta.content ?? '');
  return pieces.filter((piece) => piece !== '');
}

test('agents are models', async () => {
  const models = [];
  for await (const model of openai.models.list()) models.push(model.id);
  assert.deepEqual(models, ['echo', 'second']);
  assert.equal((await openai.models.retrieve('openclaw/second')).id, 'second');
});

test('a completion, whole and as a stream', async () => {
  const answer = await openai.chat.completions.create({ model: 'echo', messages });
  assert.equal(answer.choices[0].message.content, 'one two three');
  const stream = await openai.chat.completions.create({ model: 'moorline/echo', messages, stream: true });
  assert.deepEqual(await gather(stream), ['one ', 'two ', 'three']);
  const helped = openai.chat.completions.stream({ model: 'echo', messages });
  assert.equal(await helped.finalContent(), 'one two three');
});

test('a named session is that of the WebSocket, at whichever loop', async () => {
  for (let n = 0; n < 6; n += 1) {
    const key = `agent:echo:node-openai-${n}`;
    const headers = { 'X-Moorline-Session-Key': key, 'X-GoClaw-User-Id': 'ana' };
    const stream = await openai.chat.completions.create({ model: 'echo', messages, stream: true }, { headers });
    assert.deepEqual(await gather(stream), ['one ', 'two ', 'three']);
    const client = await Client.connect(gateway);
    const { messages: history } = await client.call('chat.history', { sessionKey: key });
    assert.deepEqual(history.map(({ content }) => content), ['one two three', 'one two three']);
    await client.close();
  }
});

for (const [what, error, ask] of [
  ['a wrong key', 'AuthenticationError', () => connect({ apiKey: 'wrong' }).models.list()],
  ['a model that is not there', 'NotFoundError', () => openai.chat.completions.create({ model: 'gpt-4o', messages })],
  ['tools', 'BadRequestError', () =>
    openai.chat.completions.create({ model: 'echo', messages, tools: [{ type: 'function', function: { name: 'f' } }] })],
  ['no messages', 'BadRequestError', () => openai.chat.completions.create({ model: 'echo', messages: [] })],
]) {
  test(`${what} is raised as ${error}`, async () => {
    await assert.rejects(ask, (raised) => {
      assert.equal(raised.constructor.name, error);
      assert.notEqual(raised.error.message, undefined, 'the body is in its shape');
      return true;
    });
  });
}

test('a user who asks too often gets a RateLimitError with when to come back', async () => {
  const state = stateFolder();
  writeFileSync(path.join(state, 'moorline.json5'), '{gateway: {rate_limit_rpm: 60, rate_limit_burst: 1}}');
  const limited = await startGateway({ state });
  const client = connect({ baseURL: `http://127.0.0.1:${limited.port}/v1` });
  await client.chat.completions.create({ model: 'echo', messages });
  await assert.rejects(client.chat.completions.create({ model: 'echo', messages }), (raised) => {
    assert.equal(raised.constructor.name, 'RateLimitError');
    assert.equal(raised.headers.get('retry-after'), '1');
    return true;
  });
});

test('a request that is aborted ends its run, one of a session goes on', async () => {
  const watcher = await Client.connect(gateway, { user: 'default' });
  for (const [headers, state] of [[{}, 'cancelled'], [{ 'X-Moorline-Session-Key': 'aborted' }, 'running']]) {
    const stream = await openai.chat.completions.create({ model: 'echo', messages: long, stream: true }, { headers });
    let run;
    for await (const chunk of stream) {
      run = chunk.id.replace('chatcmpl-', '');
      stream.controller.abort();
    }
    const waited = await watcher.call('agent.wait', { runId: run, timeoutMs: state === 'running' ? 500 : 10_000 });
    assert.equal(waited.state ?? 'running', state);
  }
  await watcher.call('chat.abort', { sessionKey: 'aborted' });
  await watcher.close();
});

test('a run that is stopped elsewhere ends the stream with an error', async () => {
  const headers = { 'X-Moorline-Session-Key': 'stopped' };
  const stream = await openai.chat.completions.create({ model: 'echo', messages: long, stream: true }, { headers });
  const client = await Client.connect(gateway, { user: 'default' });
  await assert.rejects(
    within('the end', (async () => {
      for await (const chunk of stream) {
        if (chunk.choices[0].delta.content === '') await client.call('chat.abort', { sessionKey: 'stopped' });
      }
    })()),
    /cancelled/,
  );
  await client.close();
});

test('a page of an allowed origin may ask with all that the client library says of itself', async () => {
  const origin = { Origin: 'https://chat.example.com' };
  const preflight = await fetch(`http://127.0.0.1:${gateway.port}/v1/chat/completions`, {
    method: 'OPTIONS',
    headers: { ...origin, 'Access-Control-Request-Method': 'POST', 'Access-Control-Request-Headers': 'x-stainless-os' },
  });
  assert.equal(preflight.headers.get('access-control-allow-headers'), 'Authorization, *');
  const { response } = await openai.chat.completions.create({ model: 'echo', messages }, { headers: origin }).withResponse();
  assert.equal(response.headers.get('access-control-allow-origin'), 'https://chat.example.com');
});
