// The process around the gateway: first run, signals, a busy address, several loops, logs.
import assert from 'node:assert/strict';
import { readFileSync, statSync } from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { test } from 'node:test';
import { Client, Peer, Server, TOKEN, eventually, serve, startGateway, stateFolder, startEcho } from './support.mjs';

test('the first run prints a token and keeps it with mode 0600; the second does not print it', async () => {
  const state = path.join(stateFolder(), 'new');
  const first = await startGateway({ state, token: null });
  const [, token, kept] = /^token: (\S+)  \(kept in (.+)\)$/.exec(first.lines[1]);
  assert.equal(first.lines.length, 4);
  assert.equal(first.lines[2], `page: http://127.0.0.1:${first.port}/#token=${token}`);
  assert.equal(kept, path.join(state, 'token'));
  assert.equal(statSync(kept).mode & 0o777, 0o600);
  assert.equal(readFileSync(kept, 'utf8').trim(), token);
  assert.ok(token.length >= 22, 'at least 128 bits');
  assert.equal((await Client.connect(first, { token })).hello.role, 'admin');
  await first.kill('SIGTERM');

  const second = await startGateway({ state, token: null });
  assert.ok(!second.lines.join('\n').includes(token));
  assert.ok(!second.lines.some((line) => line.startsWith('token: ')));
  assert.equal((await Client.connect(second, { token })).hello.role, 'admin');
  assert.ok(!first.stderr.includes(token) && !second.stderr.includes(token));
});

test('two first runs make different tokens', async () => {
  const [one, two] = await Promise.all([startGateway({ token: null }), startGateway({ token: null })]);
  assert.notEqual(one.lines[1].split(' ')[1], two.lines[1].split(' ')[1]);
});

test('a given token is not printed', async () => {
  const server = await startGateway();
  assert.ok(!server.lines.join('\n').includes(TOKEN));
  assert.match(server.lines[0], /^moorline gateway listening on ws:\/\/127\.0\.0\.1:\d+\/ws$/);
});

test('SIGTERM lets a run end, closes every connection with 1001 and exits 0', async () => {
  const server = await startGateway();
  const clients = [await Client.connect(server), await Client.open(server.url), await Client.connect(server)];
  await clients[2].say('word '.repeat(100), { ack: true });
  await clients[2].runEvent('chunk');
  net.connect(server.port, '127.0.0.1').on('error', () => {}); // says nothing, must not hold up the exit
  const exit = server.kill('SIGTERM');
  await clients[2].runEvent('run.completed');
  for (const client of clients) assert.deepEqual(await client.ended(), { code: 1001, reason: 'going away' });
  assert.equal(await exit, 0);
});

test('SIGTERM ends echo the same way', async () => {
  const server = await startEcho();
  const peer = await Peer.open(server.url);
  const exit = server.kill('SIGTERM');
  assert.equal((await peer.ended()).code, 1001);
  assert.equal(await exit, 0);
});

for (const extra of [[], ['--loops', '2']]) {
  test(`a second instance on the same address exits 78 and names the first ${extra.join(' ')}`, async () => {
    const first = await startGateway({ extra });
    const second = new Server(...serve({ listen: `127.0.0.1:${first.port}`, extra }));
    assert.equal(await second.exit, 78, second.stderr);
    assert.match(second.stderr, new RegExp(`\\b${first.child.pid}\\b`));
    assert.match(second.stderr, /moorline/);
    assert.equal((await Client.connect(first)).hello.role, 'admin');
  });
}

test('with two loops all connections see each other and the runs of their user', async () => {
  const server = await startGateway({ extra: ['--loops', '2'] });
  // The kernel spreads connections over the loops: with 16 of them both have some.
  const connect = (user) => Promise.all(Array.from({ length: 8 }, () => Client.connect(server, { user })));
  const [anas, bens] = await Promise.all([connect('ana'), connect('ben')]);
  for (const client of [...anas, ...bens]) {
    await eventually(
      '8 connections of each user',
      async () => (await client.call('presence.list')).presence.map((entry) => entry.user_id ?? entry.userId),
      (users) => ['ana', 'ben'].every((name) => users.filter((user) => user === name).length === 8),
    );
  }
  for (const clients of [anas, bens]) {
    const message = 'seen on every loop';
    const { runId, sessionKey } = await clients[0].say(message);
    for (const client of clients) {
      await client.runEvent('run.completed', (event) => event.runId === runId);
      const chunks = client.runEvents('chunk').filter((event) => event.runId === runId);
      assert.equal(chunks.map((event) => event.payload.content).join(''), message);
      assert.equal((await client.call('chat.history', { sessionKey })).messages.length, 2);
    }
  }
});

test('with two loops a run can be aborted from every connection', async () => {
  const server = await startGateway({ extra: ['--loops', '2'] });
  const clients = await Promise.all(Array.from({ length: 6 }, () => Client.connect(server)));
  for (const aborting of clients) {
    const { runId, sessionKey } = await clients[0].say('word '.repeat(500), { ack: true });
    assert.equal((await aborting.call('chat.abort', { sessionKey, runId })).aborted, true);
    await aborting.runEvent('run.cancelled', (event) => event.runId === runId);
  }
});

test('the JSON log has one line for each ending, with code, reason, cause and duration', async () => {
  const server = await startGateway({ extra: ['--log-format', 'json'] });
  await (await Client.connect(server)).close(4001, 'had enough');
  const open = await Client.connect(server);
  assert.equal(await server.kill('SIGTERM'), 0);
  assert.equal((await open.ended()).code, 1001);

  const lines = server.stderr.trim().split('\n').map((line) => JSON.parse(line));
  const endings = lines.map((line) => ({ ...line, ...line.fields })).filter((line) => 'durationMs' in line);
  assert.deepEqual(endings.map((line) => line.code), [4001, 1001]);
  assert.deepEqual(endings.map((line) => line.reason), ['had enough', 'going away']);
  for (const ending of endings) {
    assert.ok('conn' in ending && 'cause' in ending, JSON.stringify(ending));
    assert.equal(typeof ending.durationMs, 'number');
  }
});
