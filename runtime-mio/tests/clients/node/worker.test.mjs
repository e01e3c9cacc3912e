// The example of docs/worker.md answers for an agent, goes on when the gateway was away, and obeys.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { after, test } from 'node:test';
import { Client, Server, serve, startGateway, stateFolder, within } from './support.mjs';

const AGENT_TOKEN = 'token-of-the-worker-tests';
const docs = new URL('../../../../docs/worker.md', import.meta.url);
const example = /^```js\n([^]*?)^```$/m.exec(readFileSync(docs, 'utf8'))[1];

const workers = [];
after(() => workers.forEach((worker) => worker.kill('SIGKILL')));

/** The program in the docs, as a process. */
function startWorker(server, token = AGENT_TOKEN) {
  const file = path.join(stateFolder(), 'worker.cjs');
  writeFileSync(file, example);
  const env = { ...process.env, AGENT_URL: server.url, AGENT_TOKEN: token };
  const worker = spawn(process.execPath, [file], { env, stdio: ['ignore', 'inherit', 'pipe'] });
  workers.push(worker);
  return worker;
}

function workerState() {
  const state = stateFolder();
  const backend = { type: 'worker', token: AGENT_TOKEN };
  const file = path.join(state, 'moorline.json5');
  writeFileSync(file, JSON.stringify({ agents: [{ id: 'helper', backend }] }));
  chmodSync(file, 0o600);
  return state;
}

test('the documented worker answers', async () => {
  const server = await startGateway({ state: workerState() });
  startWorker(server);
  const client = await Client.connect(server);
  const answer = await client.call('chat.send', { agentId: 'helper', message: 'hello big world' });
  assert.equal(answer.content, 'You said: hello big world ');
  const pieces = client.runEvents('chunk').map((event) => event.payload.content);
  assert.equal(pieces.join(''), answer.content);
  await client.close();
});

test('the documented worker comes back to a gateway that was away', async () => {
  const state = workerState();
  const server = await startGateway({ state });
  startWorker(server);
  const before = await Client.connect(server);
  await before.call('chat.send', { agentId: 'helper', message: 'one' });
  assert.equal(await server.kill('SIGTERM'), 0);
  const listen = `127.0.0.1:${server.port}`;
  const next = await new Server(...serve({ state, listen })).ready('moorline gateway listening on ', 'try: ');
  const client = await Client.connect(next);
  const answer = await client.call('chat.send', { agentId: 'helper', message: 'two' });
  assert.equal(answer.content, 'You said: two ');
  await client.close();
});

test('the documented worker ends when its token is wrong', async () => {
  const server = await startGateway({ state: workerState() });
  const worker = startWorker(server, 'wrong');
  let said = '';
  worker.stderr.on('data', (data) => (said += data));
  const [code] = await within('the end of the worker', once(worker, 'close'));
  assert.equal(code, 1);
  assert.match(said, /UNAUTHORIZED/);
});
