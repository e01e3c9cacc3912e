// `moorline serve` with the client of `clawdbot`, which is what OpenClaw was called when it spoke protocol 3.
import assert from 'node:assert/strict';
import path from 'node:path';
import { after, test } from 'node:test';
import { TOKEN, startGateway, stateFolder, within } from '../clients/node/support.mjs';
import { checked, faults, unpacked } from './published.mjs';

const { GatewayClient } = await unpacked('clawdbot', 'dist', 'gateway', 'client.js');
const { loadOrCreateDeviceIdentity } = await unpacked('clawdbot', 'dist', 'infra', 'device-identity.js');
const WORDS = 'one two three four five six seven eight nine ten';
const server = await startGateway();
const clients = [];
after(() => clients.forEach((client) => client.stop()));

/** Starts a client; `events` is what it hears, `next` waits for one of them. */
function start(options) {
  const heard = { events: [], gaps: 0 };
  let wake = () => {};
  heard.next = (what, matches) => within(what, (async () => {
    for (;;) {
      const found = heard.events.find(matches);
      if (found) return found;
      await new Promise((resolve) => (wake = resolve));
    }
  })());
  heard.hello = new Promise((resolve, reject) => {
    heard.client = new GatewayClient({
      url: server.url, token: TOKEN, deviceIdentity: loadOrCreateDeviceIdentity(path.join(stateFolder(), 'device.json')),
      onHelloOk: resolve, onConnectError: reject,
      onClose: (code, reason) => (heard.closed = { code, reason }),
      onGap: () => (heard.gaps += 1),
      onEvent: (event) => {
        heard.events.push(event);
        wake();
      },
      ...options,
    });
  });
  clients.push(heard.client);
  heard.client.start();
  return heard;
}

async function connected(options) {
  const heard = start(options);
  heard.hello = await within('the hello', heard.hello);
  return heard;
}

test('it connects with protocol 3', async () => {
  const { hello } = await connected();
  assert.equal(hello.protocol, 3);
  assert.equal(hello.type, 'hello-ok');
});

test('a wrong token is refused with what a person can act on', async () => {
  const heard = start({ token: 'wrong' });
  await assert.rejects(within('the refusal', heard.hello), /^Error: unauthorized: gateway token mismatch/);
  heard.client.stop();
});

test('an agent is called, and its answer comes when the run has ended', async () => {
  const { client } = await connected();
  const params = { message: WORDS, agentId: 'main', idempotencyKey: 'k1' };
  const done = await within('the answer', client.request('agent', params, { expectFinal: true }));
  assert.equal(done.status, 'ok');
  assert.equal(done.result.payloads[0].text, WORDS);
  assert.equal((await client.request('agent.wait', { runId: 'k1' })).status, 'ok');
});

test('a conversation is told with its whole text so far, and is in the history', async () => {
  const heard = await connected();
  const sessionKey = 'agent:main:old';
  const said = { sessionKey, message: WORDS, idempotencyKey: 'k2' };
  assert.deepEqual(await heard.client.request('chat.send', said), { runId: 'k2', status: 'started' });
  const of_this = ({ event, payload }) => event === 'chat' && payload.sessionKey === sessionKey;
  const end = await heard.next('the end', (event) => of_this(event) && event.payload.state === 'final');
  assert.equal(end.payload.message.content[0].text, WORDS);
  const deltas = heard.events.filter((event) => of_this(event) && event.payload.state === 'delta');
  assert.ok(deltas.length > 1);
  let text = '';
  for (const { payload } of deltas) {
    const longer = payload.message.content[0].text;
    assert.ok(longer.startsWith(text) && WORDS.startsWith(longer), longer);
    text = longer;
  }
  const { messages } = await heard.client.request('chat.history', { sessionKey });
  assert.deepEqual(messages.map((message) => message.role), ['user', 'assistant']);
  assert.equal(heard.gaps, 0);
});

test('agents, models, health, status and presence are listed', async () => {
  const { client } = await connected();
  const agents = await client.request('agents.list', {});
  assert.ok(agents.agents.some((agent) => agent.id === agents.defaultId));
  const { agentId } = await client.request('agent.identity.get', { agentId: agents.defaultId });
  assert.equal(agentId, agents.defaultId);
  assert.ok((await client.request('models.list', {})).models.length > 0);
  assert.equal((await client.request('health')).ok, true);
  await client.request('status');
  assert.equal((await client.request('system-presence'))[0].reason, 'self');
});

test('what it may not do is refused', async () => {
  const { client } = await connected({ scopes: ['operator.read'] });
  const said = { sessionKey: 'main', message: 'x', idempotencyKey: 'k3' };
  await assert.rejects(client.request('chat.send', said), /missing scope: operator\.write/);
});

test('every frame was as OpenClaw publishes it', () => {
  assert.deepEqual([...faults], []);
  for (const name of [
    'EventFrame', 'ResponseFrame', 'ErrorShape', 'HelloOk', 'ChatEvent', 'AgentEvent', 'PresenceEntry', 'AgentsListResult',
    'AgentIdentityResult', 'ModelsListResult',
  ]) {
    assert.ok(checked.get(`3 ${name}`) > 0, `${name} was never checked`);
  }
  console.log(`checked: ${[...checked].map(([name, count]) => `${name} ${count}`).join(', ')}`);
});
