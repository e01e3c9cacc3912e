// `moorline serve` with the client `ws`: runs of the echo agent, sessions and presence.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Client, eventually, startGateway } from './support.mjs';

const SESSION = /^agent:echo:ws:direct:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/;
const UNKNOWN = 'agent:echo:ws:direct:00000000-0000-4000-8000-000000000000';
const WORDS = 'word '.repeat(500).trim();
const server = await startGateway();

/** Starts a run that lasts for seconds and waits for its first chunk. */
async function longRun(client) {
  const answer = client.say(WORDS);
  const { runId, sessionKey } = await client.runEvent('chunk');
  return { answer, runId, sessionKey };
}

async function history(client, sessionKey) {
  const { messages } = await client.call('chat.history', { sessionKey });
  return messages.map(({ role, content }) => [role, content]);
}

test('chat.send streams chunks and answers when the run has ended', async () => {
  const client = await Client.connect(server);
  const message = 'Grüße,  κόσμε:\nfive or six words 🙂';
  const { runId, sessionKey, content, usage } = await client.say(message);
  assert.equal(content, message);
  assert.match(sessionKey, SESSION);
  assert.equal(typeof usage, 'object');

  const events = client.runEvents();
  const types = events.map((event) => event.type);
  const chunks = client.runEvents('chunk');
  assert.ok(chunks.length > 1, types.join());
  assert.deepEqual(types, ['run.started', ...chunks.map(() => 'chunk'), 'run.completed']);
  assert.equal(chunks.map((event) => event.payload.content).join(''), message);
  assert.equal(events.at(-1).payload.content, message);
  for (const event of events) {
    assert.deepEqual([event.agentId, event.runId, event.sessionKey], ['echo', runId, sessionKey]);
  }
});

test('events of a connection are numbered without a gap', async () => {
  const client = await Client.connect(server);
  await client.say('one two three');
  const numbers = client.received.filter((frame) => frame.event === 'agent' || frame.event === 'presence');
  numbers.forEach((frame, i) => assert.equal(frame.seq, numbers[0].seq + i));
});

test('the session goes on when its key is given, and chat.history shows both turns', async () => {
  const client = await Client.connect(server);
  const { sessionKey } = await client.say('first');
  assert.equal((await client.say('second', { sessionKey })).sessionKey, sessionKey);
  assert.deepEqual(await history(client, sessionKey), [
    ['user', 'first'], ['assistant', 'first'], ['user', 'second'], ['assistant', 'second'],
  ]);
});

test('history is there for a later connection', async () => {
  const first = await Client.connect(server);
  const { sessionKey } = await first.say('remember');
  await first.close(1000);
  const later = await Client.connect(server);
  assert.deepEqual(await history(later, sessionKey), [['user', 'remember'], ['assistant', 'remember']]);
});

test('with ack:true the answer comes at once and the run completes as an event', async () => {
  const client = await Client.connect(server);
  const { runId, sessionKey, status } = await client.say('one two three', { ack: true });
  assert.equal(status, 'started');
  assert.match(sessionKey, SESSION);
  assert.equal(client.runEvents('run.completed').length, 0);
  const completed = await client.runEvent('run.completed', (event) => event.runId === runId);
  assert.equal(completed.payload.content, 'one two three');
});

test('chat.session.status follows a run', async () => {
  const client = await Client.connect(server);
  const { answer, runId, sessionKey } = await longRun(client);
  const running = await client.call('chat.session.status', { sessionKey });
  assert.deepEqual([running.isRunning, running.runId], [true, runId]);
  await client.call('chat.abort', { sessionKey });
  await answer;
  assert.equal((await client.call('chat.session.status', { sessionKey })).isRunning, false);
});

test('chat.abort ends a long run: the answer says cancelled and no chunk follows', async () => {
  const client = await Client.connect(server);
  const { answer, runId, sessionKey } = await longRun(client);
  const aborted = await client.call('chat.abort', { sessionKey, runId });
  assert.equal(aborted.aborted, true);
  assert.deepEqual(aborted.runIds, [runId]);
  assert.equal((await answer).cancelled, true);
  await client.runEvent('run.cancelled', (event) => event.runId === runId);
  await client.call('health');
  assert.equal(client.runEvents().at(-1).type, 'run.cancelled');
  assert.ok(client.runEvents('chunk').length < 500);
  assert.equal((await client.say('next', { sessionKey })).content, 'next');
});

test('a text sent while a run is active is queued and runs after it', async () => {
  const client = await Client.connect(server);
  const { runId, sessionKey } = await client.say('one two three four five six seven eight', { ack: true });
  const { queued, turnId } = await client.say('me too', { sessionKey });
  assert.equal(queued, true);
  assert.equal(typeof turnId, 'string');
  const second = await client.runEvent('run.completed', (event) => event.payload.content === 'me too');
  assert.equal(second.sessionKey, sessionKey);
  assert.equal(client.runEvents('run.completed')[0].runId, runId);
});

test('the same idempotencyKey runs once: after the run, while it runs, and from another connection', async () => {
  const [client, other] = await Promise.all([Client.connect(server), Client.connect(server)]);
  const once = { idempotencyKey: `key-${client.hello.server.connId}` };
  const [first, second] = await Promise.all([client.say('only once', once), client.say('only once', once)]);
  const third = await client.say('only once', once);
  const fourth = await other.say('only once', once);
  for (const again of [second, third, fourth]) {
    assert.deepEqual([again.runId, again.sessionKey], [first.runId, first.sessionKey]);
  }
  assert.deepEqual([third.content, fourth.content], ['only once', 'only once']);
  assert.equal(client.runEvents('run.started').filter((event) => event.runId === first.runId).length, 1);
  assert.deepEqual(await history(client, first.sessionKey), [['user', 'only once'], ['assistant', 'only once']]);
});

test('chat.inject shows in the history without a run', async () => {
  const client = await Client.connect(server);
  const { sessionKey } = await client.say('hello');
  const { ok, messageId } = await client.call('chat.inject', { sessionKey, message: 'from outside', label: 'note' });
  assert.equal(ok, true);
  assert.ok(messageId);
  const messages = await history(client, sessionKey);
  assert.equal(messages.length, 3);
  assert.equal(messages[2][0], 'assistant');
  assert.match(messages[2][1], /from outside/);
  assert.equal(client.runEvents('run.started').filter((event) => event.sessionKey === sessionKey).length, 1);
});

test('a session that is not there is NOT_FOUND', async () => {
  const client = await Client.connect(server);
  assert.equal((await client.refused('chat.history', { sessionKey: UNKNOWN })).code, 'NOT_FOUND');
  assert.equal((await client.refused('chat.inject', { sessionKey: UNKNOWN, message: 'x' })).code, 'NOT_FOUND');
});

test('an agent that is not there is NOT_FOUND', async () => {
  const client = await Client.connect(server);
  assert.equal((await client.refused('chat.send', { agentId: 'nobody', message: 'x' })).code, 'NOT_FOUND');
});

test('chat.send without a message is an invalid request', async () => {
  const client = await Client.connect(server);
  assert.equal((await client.refused('chat.send', { agentId: 'echo' })).code, 'INVALID_REQUEST');
});

test('sessions.list has the session of the chat', async () => {
  const client = await Client.connect(server, { user: 'lena' });
  const { sessionKey } = await client.say('list me');
  const { sessions, total } = await client.call('sessions.list', { limit: 100 });
  assert.ok(sessions.some((session) => session.key === sessionKey));
  assert.ok(total >= 1);
});

test('presence.list shows every connection, until it ends', async () => {
  const watcher = await Client.connect(server, { user: 'watcher' });
  const [one, two] = [await Client.connect(server, { user: 'twin' }), await Client.connect(server, { user: 'twin' })];
  const count = async (user) => {
    const { presence } = await watcher.call('presence.list');
    return presence.filter((entry) => (entry.user_id ?? entry.userId) === user).length;
  };
  assert.equal(await count('watcher'), 1);
  assert.equal(await count('twin'), 2);
  await one.close(1000);
  await eventually('one connection of the twin', () => count('twin'), (number) => number === 1);
  await two.close(1000);
});

test('a second connection of the same user sees the same run', async () => {
  const [talking, watching] = await Promise.all([Client.connect(server), Client.connect(server)]);
  const { runId } = await talking.say('for both of us');
  await watching.runEvent('run.completed', (event) => event.runId === runId);
  const seen = watching.runEvents('chunk').filter((event) => event.runId === runId);
  assert.equal(seen.map((event) => event.payload.content).join(''), 'for both of us');
});

test('agents.list, health and status answer', async () => {
  const client = await Client.connect(server);
  assert.ok((await client.call('agents.list')).agents.some((agent) => agent.id === 'echo'));
  assert.equal((await client.call('health')).status, 'ok');
  assert.ok((await client.call('status')).clients >= 1);
});
