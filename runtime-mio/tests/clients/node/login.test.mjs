// `moorline serve` with the client `ws`: the first frames, connect and its refusals.
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { Client, TOKEN, startGateway } from './support.mjs';

const METHODS = [
  'connect', 'health', 'status', 'presence.list', 'agents.list', 'chat.send', 'chat.history', 'chat.abort',
  'chat.inject', 'chat.session.status', 'sessions.list',
];
const WRONG = 'wrong-credential-4711';
const server = await startGateway();

const bearer = (token) => ({ headers: { Authorization: `Bearer ${token}` } });

test('the server speaks first, with a challenge', async () => {
  const client = await Client.open(server.url);
  const challenge = await client.next();
  assert.equal(challenge.type, 'event');
  assert.equal(challenge.event, 'connect.challenge');
  assert.equal(typeof challenge.payload.nonce, 'string');
  assert.ok(Math.abs(challenge.payload.ts - Date.now()) < 60_000);
});

test('challenges differ', async () => {
  const [one, two] = await Promise.all([Client.open(server.url), Client.open(server.url)]);
  assert.notEqual((await one.next()).payload.nonce, (await two.next()).payload.nonce);
});

test('the answer to connect has what the protocol page lists', async () => {
  const { hello } = await Client.connect(server, { user: 'ana' });
  assert.equal(hello.type, 'hello-ok');
  assert.equal(hello.protocol, 3);
  assert.equal(hello.role, 'admin');
  assert.equal(hello.user_id, 'ana');
  assert.equal(hello.is_owner, false);
  assert.equal(hello.server.name, 'moorline');
  for (const name of ['version', 'connId', 'instance']) assert.equal(typeof hello.server[name], 'string', name);
  assert.equal(hello.policy.maxPayload, 524_288);
  for (const name of ['maxBufferedBytes', 'pingIntervalMs', 'readTimeoutMs']) {
    assert.ok(hello.policy[name] > 0, name);
  }
  assert.equal(hello.policy.tickIntervalMs, 0, 'no ticks');
  for (const name of ['rpm', 'burst']) assert.equal(typeof hello.policy.rateLimit[name], 'number', name);
  for (const method of METHODS) assert.ok(hello.features.methods.includes(method), method);
  assert.ok(hello.features.events.includes('agent'));
  assert.ok(Array.isArray(hello.snapshot.presence));
  assert.ok(hello.snapshot.agents.some((agent) => agent.id === 'echo'));
  assert.ok('health' in hello.snapshot);
});

test('every connection has its own connId', async () => {
  const [one, two] = await Promise.all([Client.connect(server), Client.connect(server)]);
  assert.notEqual(one.hello.server.connId, two.hello.server.connId);
});

test('the token may come in the Authorization header', async () => {
  const client = await Client.open(server.url, bearer(TOKEN));
  assert.equal((await client.call('connect', { user_id: 'ana' })).role, 'admin');
});

test('compression is for those whose upgrade brings the token, and they can chat', async () => {
  const deflating = await startGateway({ extra: ['--deflate'] });
  for (const [token, extension] of [[TOKEN, 'permessage-deflate'], [WRONG, ''], [null, '']]) {
    const client = await Client.open(deflating.url, token ? bearer(token) : {});
    assert.equal(client.ws.extensions, extension, `with ${token}`);
    assert.equal((await client.call('connect', { token: TOKEN, user_id: 'ana' })).role, 'admin');
    const message = 'compress me, please; '.repeat(100);
    assert.equal((await client.call('chat.send', { message: message.slice(0, 60) })).content, message.slice(0, 60));
    assert.equal((await client.call('chat.send', { message, ack: true })).status, 'started');
  }
  assert.equal((await Client.open(server.url, bearer(TOKEN))).ws.extensions, '', 'off by default');
});

test('a token in params wins over the header', async () => {
  const right = await Client.open(server.url, bearer(WRONG));
  assert.equal((await right.call('connect', { token: TOKEN, user_id: 'ana' })).role, 'admin');
  const wrong = await Client.open(server.url, bearer(TOKEN));
  assert.equal((await wrong.refused('connect', { token: WRONG, user_id: 'ana' })).code, 'UNAUTHORIZED');
});

test('a wrong token is told its kind and where it came from, never its value', async () => {
  const params = await (await Client.open(server.url)).refused('connect', { token: WRONG, user_id: 'ana' });
  const header = await (await Client.open(server.url, bearer(WRONG))).refused('connect', { user_id: 'ana' });
  for (const [error, place] of [[params, /params/], [header, /header/]]) {
    assert.equal(error.code, 'UNAUTHORIZED');
    assert.match(error.message, /token/);
    assert.match(error.message, place);
    assert.ok(!JSON.stringify(error).includes(WRONG));
  }
});

test('after wrong tokens the right one works on the same socket', async () => {
  const client = await Client.open(server.url);
  for (let i = 0; i < 3; i++) await client.refused('connect', { token: WRONG, user_id: 'ana' });
  assert.equal((await client.call('connect', { token: TOKEN, user_id: 'ana' })).role, 'admin');
});

test('no method passes before connect, also after a wrong token', async () => {
  const client = await Client.open(server.url);
  for (const method of METHODS.slice(1)) {
    const error = await client.refused(method, {});
    assert.equal(error.code, 'UNAUTHORIZED', method);
    assert.equal(error.message, "first request must be 'connect'", method);
  }
  await client.refused('connect', { token: WRONG, user_id: 'ana' });
  assert.equal((await client.refused('health')).message, "first request must be 'connect'");
});

test('neither token is ever logged', async () => {
  await (await Client.open(server.url)).refused('connect', { token: WRONG, user_id: 'ana' });
  await (await Client.connect(server)).close(1000);
  assert.ok(!server.stderr.includes(WRONG));
  assert.ok(!server.stderr.includes(TOKEN));
});

// These wait for the real deadline of 10 s, all at the same time.
describe('the connect deadline', { concurrency: true }, () => {
  const timedOut = async (client) => {
    const start = Date.now();
    assert.deepEqual(await client.ended(15_000), { code: 1008, reason: 'handshake timeout' });
    const took = Date.now() - start;
    assert.ok(took > 8_500 && took < 13_000, `closed after ${took} ms`);
  };

  test('closes a socket that says nothing with 1008', async () => {
    await timedOut(await Client.open(server.url));
  });

  test('closes a socket whose token was wrong with 1008', async () => {
    const client = await Client.open(server.url);
    await client.refused('connect', { token: WRONG, user_id: 'ana' });
    await timedOut(client);
  });

  test('is not moved by pings', async () => {
    const client = await Client.open(server.url);
    const pings = setInterval(() => client.ws.ping(), 500);
    await timedOut(client).finally(() => clearInterval(pings));
  });

  test('does not close who is logged in', async () => {
    const [silent, client] = [await Client.open(server.url), await Client.connect(server)];
    await silent.ended(15_000);
    assert.equal((await client.call('health')).status, 'ok');
  });
});
