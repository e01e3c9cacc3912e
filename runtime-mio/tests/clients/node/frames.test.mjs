// `moorline serve` with the client `ws`: what it answers to frames that are wrong or too big.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Client, TOKEN, startGateway } from './support.mjs';

const LIMIT = 524_288;
const server = await startGateway();

/** A valid `health` request of exactly `size` bytes. */
function healthOf(size) {
  const [head, tail] = ['{"type":"req","id":"big","method":"health","params":{"pad":"', '"}}'];
  return head + 'x'.repeat(size - head.length - tail.length) + tail;
}

for (const [name, raw, message] of [
  ['an empty text', '', /^invalid frame: /],
  ['no JSON', 'nonsense', /^invalid frame: /],
  ['JSON cut short', '{"type":"req"', /^invalid frame: /],
  ['an array', '[]', /^invalid frame: /],
  ['an empty object', '{}', /^unexpected frame type: /],
  ['null', 'null', /^unexpected frame type: /],
  ['an event', '{"type":"event","event":"x"}', /^unexpected frame type: event/],
  ['a number as id', '{"type":"req","id":1,"method":"connect"}', /^malformed request: /],
  ['a number as method', '{"type":"req","id":"a","method":1}', /^malformed request: /],
  ['nesting of 33 levels', `{"type":"req","id":"a","method":"connect","params":${'['.repeat(40)}${']'.repeat(40)}}`, /./],
  ['the same key twice', '{"type":"req","id":"a","id":"b","method":"connect"}', /./],
  ['an id of 129 bytes', `{"type":"req","id":"${'x'.repeat(129)}","method":"connect"}`, /./],
]) {
  test(`${name} is an invalid request and the socket stays open`, async () => {
    const client = await Client.open(server.url);
    const { id, ok, error } = await client.answer(raw);
    assert.equal(ok, false);
    assert.equal(error.code, 'INVALID_REQUEST');
    assert.match(error.message, message);
    if (message.source !== '.') assert.equal(id, '');
    await client.call('connect', { token: TOKEN, user_id: 'ana' });
  });
}

test('a request in a binary message is answered like text', async () => {
  const client = await Client.connect(server);
  const { id, ok } = await client.answer(Buffer.from('{"type":"req","id":"b","method":"health"}'));
  assert.deepEqual([id, ok], ['b', true]);
});

test('an id of 128 bytes and an unknown field are fine', async () => {
  const client = await Client.connect(server);
  const answer = await client.answer(`{"type":"req","id":"${'x'.repeat(128)}","method":"health","later":1}`);
  assert.deepEqual([answer.id, answer.ok], ['x'.repeat(128), true]);
});

test('an unknown method is named', async () => {
  const client = await Client.connect(server);
  const error = await client.refused('no.such');
  assert.deepEqual([error.code, error.message], ['INVALID_REQUEST', 'unknown method: no.such']);
});

test('15 bad frames are answered, the 16th closes with 1008', async () => {
  const client = await Client.open(server.url);
  for (let i = 0; i < 15; i++) assert.equal((await client.answer('nonsense')).error.code, 'INVALID_REQUEST');
  client.send('nonsense');
  assert.deepEqual(await client.ended(), { code: 1008, reason: 'too many invalid frames' });
});

test('bad frames of one connection do not count for another', async () => {
  const [bad, good] = await Promise.all([Client.open(server.url), Client.open(server.url)]);
  for (let i = 0; i < 40; i++) bad.send('nonsense');
  assert.equal((await bad.ended()).code, 1008);
  await good.call('connect', { token: TOKEN, user_id: 'ana' });
});

test('a message of 512 KiB is accepted', async () => {
  const client = await Client.connect(server);
  assert.equal((await client.answer(healthOf(LIMIT))).ok, true);
});

test('one byte more closes with 1009 and a reason that names both sizes', async () => {
  const client = await Client.connect(server);
  client.send(healthOf(LIMIT + 1));
  const { code, reason } = await client.ended();
  assert.equal(code, 1009);
  assert.ok(reason.startsWith(`message of ${LIMIT + 1} bytes exceeds ${LIMIT}`), reason);
});

test('a message of 8 MiB is refused by the close, not by a reset', async () => {
  const client = await Client.connect(server);
  client.send('x'.repeat(8 * 1024 * 1024));
  assert.equal((await client.ended()).code, 1009);
});

test('fragments that add up to more close with 1009', async () => {
  const client = await Client.connect(server);
  for (let i = 0; i < 9; i++) client.send('x'.repeat(65_536), { fin: i === 8 });
  assert.equal((await client.ended()).code, 1009);
});

test('200 requests at once are answered in order', async () => {
  const client = await Client.connect(server);
  const from = client.received.length;
  const ids = Array.from({ length: 200 }, (_, i) => `n${i}`);
  ids.forEach((id) => client.send(JSON.stringify({ type: 'req', id, method: 'health' })));
  await client.until('the last answer', (frame) => frame.id === 'n199', from);
  const answers = client.received.slice(from).filter((frame) => frame.type === 'res');
  assert.deepEqual(answers.map((frame) => frame.id), ids);
});
