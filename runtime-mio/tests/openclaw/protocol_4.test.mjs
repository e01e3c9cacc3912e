// `moorline serve` with `openclaw-node`, a client library of protocol 4 that others wrote.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createRequire } from 'node:module';
import path from 'node:path';
import { test } from 'node:test';
import { TOKEN, startGateway, stateFolder, within } from '../clients/node/support.mjs';
import { checked, faults } from './published.mjs';

const { OpenClawClient } = createRequire(import.meta.url)('openclaw-node');
const WORDS = 'one two three four five six seven eight nine ten';
const server = await startGateway();

function client(options) {
  const made = new OpenClawClient({
    url: server.url, token: TOKEN, autoReconnect: false,
    deviceIdentityPath: path.join(stateFolder(), 'device.json'), ...options,
  });
  made.on('error', () => {}); // what fails is seen where it is awaited
  return made;
}

async function connected(options) {
  const made = client(options);
  made.hello = await within('the hello', made.connect());
  return made;
}

async function gathered(chat) {
  const chunks = [];
  for await (const chunk of chat) chunks.push(chunk);
  return chunks;
}

test('it connects with protocol 4 and gets the scopes that it asks for', async () => {
  const { hello, ...made } = await connected();
  assert.equal(hello.protocol, 4);
  assert.deepEqual(hello.auth.scopes, ['operator.read', 'operator.write']);
  assert.ok(hello.features.methods.includes('chat.send'));
  assert.ok(made);
});

test('a wrong token is refused with what a person can act on, and the socket ends with 1008', async () => {
  const made = client({ token: 'wrong' });
  const refusal = new Promise((resolve) => made.on('protocol:response', resolve));
  const connecting = made.connect().then(() => 'connected', () => 'refused');
  const [code, reason] = await within('the close', once(made.ws, 'close'));
  assert.equal(await within('the end of connect', connecting), 'refused');
  const { ok, error } = await refusal;
  assert.equal(ok, false);
  assert.match(error.message, /^unauthorized: gateway token mismatch/);
  assert.equal(error.details.code, 'AUTH_TOKEN_MISMATCH');
  assert.equal(code, 1008);
  assert.match(reason.toString(), /^unauthorized: gateway token mismatch/);
});

test('what is said to an agent streams back in pieces, from its beginning to its end', async () => {
  const made = await connected();
  const chunks = await within('the chat', gathered(made.chat(WORDS, { sessionKey: 'main', clientMessageId: 'm1' })));
  const kinds = chunks.map((chunk) => chunk.type);
  assert.equal(chunks.filter((chunk) => chunk.type === 'text').map((chunk) => chunk.text).join(''), WORDS);
  for (const kind of ['userMessagePersisted', 'agent_start', 'agent_end', 'done']) {
    assert.equal(kinds.filter((one) => one === kind).length, 1, `${kind} in ${kinds}`);
  }
  assert.ok(kinds.filter((kind) => kind === 'text').length > 1, 'in more than one piece');
  await made.disconnect();
});

test('chat.send is told in chat events to another connection, and is in the history', async () => {
  const [speaker, listener] = [await connected(), await connected()];
  const sessionKey = 'agent:main:told';
  const heard = [];
  const end = new Promise((resolve) => {
    listener.on('event', (event) => {
      if (event.event !== 'chat' || event.payload.sessionKey !== sessionKey) return;
      heard.push(event.payload);
      if (event.payload.state !== 'delta') resolve();
    });
  });
  const answer = await speaker.request('chat.send', { sessionKey, message: WORDS, idempotencyKey: 'k1' });
  assert.deepEqual(answer.payload, { runId: 'k1', status: 'started' });
  await within('the end of the run', end);
  assert.equal(heard.at(-1).state, 'final');
  assert.equal(heard.at(-1).message.content[0].text, WORDS);
  assert.equal(heard.map((event) => event.deltaText ?? '').join(''), WORDS);
  const again = await speaker.request('chat.send', { sessionKey, message: WORDS, idempotencyKey: 'k1' });
  assert.deepEqual(again.payload, { runId: 'k1', status: 'ok' });
  const { messages } = await speaker.sessions.history(sessionKey);
  assert.deepEqual(messages.map((message) => message.role), ['user', 'assistant']);
  assert.equal(messages[1].content[0].text, WORDS);
  const { status, runId } = await speaker.agentWait('k1');
  assert.deepEqual([status, runId], ['ok', 'k1']);
});

test('a run is stopped, and everybody hears so', async () => {
  const made = await connected();
  const sessionKey = 'agent:main:stopped';
  const aborted = new Promise((resolve) => {
    made.on('event', ({ event, payload }) => event === 'chat' && payload.state === 'aborted' && resolve(payload));
  });
  await made.request('chat.send', { sessionKey, message: 'word '.repeat(500), idempotencyKey: 'k2' });
  assert.deepEqual(await made.chatAbort(sessionKey, 'k2'), { ok: true, aborted: true, runIds: ['k2'] });
  assert.equal((await within('the event', aborted)).runId, 'k2');
  assert.deepEqual(await made.chatAbort(sessionKey), { ok: true, aborted: false, runIds: [] });
});

test('agents, models, health, status and presence are listed', async () => {
  const made = await connected();
  const agents = await made.agents.list();
  assert.ok(agents.agents.some((agent) => agent.id === agents.defaultId));
  assert.equal((await made.health()).ok, true);
  const { payload: identity } = await made.request('agent.identity.get', { agentId: agents.defaultId });
  assert.equal(identity.agentId, agents.defaultId);
  const { payload: models } = await made.request('models.list', { includeDetails: true, view: 'configured' });
  assert.ok(models.models.length > 0);
  await made.request('status');
  const { payload: presence } = await made.request('system-presence');
  assert.equal(presence[0].reason, 'self');
});

test('sessions are listed, described, followed, renamed and removed', async () => {
  const made = await connected({ scopes: ['operator.admin'] });
  const sessionKey = 'agent:main:followed';
  const followed = [];
  const heard = new Promise((resolve) => {
    made.sessions.subscribeMessages(sessionKey, ({ event, payload }) => {
      if (event !== 'session.message') return;
      followed.push(payload.message);
      if (payload.message.role === 'assistant') resolve();
    }).then(() => made.request('sessions.subscribe')).then(() => made.chatSync(WORDS, { sessionKey }));
  });
  await within('the conversation', heard);
  assert.deepEqual(followed.map(({ role }) => role), ['user', 'assistant']);
  await made.request('sessions.patch', { key: sessionKey, label: 'a name' });
  const { sessions } = await made.sessions.list({ includeDerivedTitles: true, includeLastMessage: true });
  assert.equal(sessions.find((row) => row.key === sessionKey).label, 'a name');
  assert.equal((await made.sessions.describe(sessionKey)).session.key, sessionKey);
  const { payload: found } = await made.request('sessions.resolve', { label: 'a name' });
  assert.equal(found.key, sessionKey);
  await made.sessions.delete(sessionKey);
  assert.equal((await made.sessions.describe(sessionKey)).session, null);
});

test('a device that was let in comes back by its own token, until that is revoked', async () => {
  const deviceIdentityPath = path.join(stateFolder(), 'device.json');
  const first = await connected({ deviceIdentityPath });
  const { deviceToken } = first.hello.auth;
  assert.match(deviceToken, /^[\w-]{43}$/);
  await first.disconnect();
  const back = await connected({ deviceIdentityPath, token: undefined });
  assert.equal(back.hello.auth.deviceToken, deviceToken);
  const admin = await connected({ scopes: ['operator.admin', 'operator.pairing'] });
  const { payload: listed } = await admin.request('device.pair.list');
  const deviceId = back.deviceIdentity.deviceId;
  assert.equal(listed.paired.find((device) => device.deviceId === deviceId).connected, true);
  const closed = once(back.ws, 'close');
  await admin.request('device.pair.remove', { deviceId });
  const [code, reason] = await within('the close', closed);
  assert.deepEqual([code, reason.toString()], [4001, 'device removed']);
  const late = client({ deviceIdentityPath, token: undefined });
  await assert.rejects(within('the refusal', late.connect()));
});

test('an admin reads the log from where it stopped', async () => {
  const made = await connected();
  const { payload: first } = await made.request('logs.tail', { limit: 100 });
  assert.ok(first.lines.some((line) => JSON.parse(line) && line.includes('serving')), first.lines.join('\n'));
  const { payload: next } = await made.request('logs.tail', { cursor: first.cursor });
  assert.ok(next.cursor >= first.cursor && !next.lines.some((line) => first.lines.includes(line)));
});

test('what its scopes do not allow, what is unknown and what is malformed is refused each in its way', async () => {
  const viewer = await connected({ scopes: ['operator.read'] });
  const said = { sessionKey: 'main', message: 'x', idempotencyKey: 'k3' };
  await assert.rejects(viewer.request('chat.send', said), /^Error: missing scope: operator\.write$/);
  const admin = await connected({ scopes: ['operator.admin'] });
  await assert.rejects(admin.request('no.such.method'), /^Error: unknown method: no\.such\.method$/);
  await assert.rejects(admin.request('chat.send', { message: 'x' }), /invalid chat\.send params/);
  await assert.rejects(admin.request('chat.send', { ...said, sessionKey: 'agent:nobody:main' }), /unknown agent id/);
});

test('a gateway that stops says so before it closes', async () => {
  const other = await startGateway();
  const made = await connected({ url: other.url });
  const shutdown = new Promise((resolve) => made.on('event', ({ event, payload }) => event === 'shutdown' && resolve(payload)));
  const closed = once(made.ws, 'close');
  other.child.kill('SIGUSR2');
  assert.equal((await within('the event', shutdown)).reason, 'gateway stopping');
  assert.equal((await within('the close', closed))[0], 1012);
  assert.equal(await other.exit, 0);
});

test('every frame was as OpenClaw publishes it', () => {
  assert.deepEqual([...faults], []);
  for (const name of [
    'EventFrame', 'ResponseFrame', 'ErrorShape', 'HelloOk', 'ChatEvent', 'AgentEvent', 'PresenceEntry', 'ShutdownEvent',
    'Health', 'SessionRow', 'SessionsResolveResult', 'LogsTailResult', 'AgentsListResult', 'AgentIdentityResult',
  ]) {
    assert.ok(checked.get(`4 ${name}`) > 0, `${name} was never checked`);
  }
  console.log(`checked: ${[...checked].map(([name, count]) => `${name} ${count}`).join(', ')}`);
});
