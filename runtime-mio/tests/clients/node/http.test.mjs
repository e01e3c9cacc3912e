// Node's own HTTP client is refused with the right status, by echo and by the gateway.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { UPGRADE, request, startEcho, startGateway } from './support.mjs';

const echo = await startEcho();
const gateway = await startGateway();

const without = (name) => Object.fromEntries(Object.entries(UPGRADE).filter(([key]) => key !== name));

/** Upgrade headers and Host make 5; the rest fills up to `count`. */
const manyHeaders = (count) =>
  Object.fromEntries([...Object.entries(UPGRADE), ...Array.from({ length: count - 5 }, (_, i) => [`X-${i}`, 'x'])]);

for (const [where, server] of [['echo', echo], ['gateway', gateway]]) {
  for (const [name, status, options] of [
    ['an upgrade', 101, { headers: UPGRADE }],
    ['an upgrade with 64 headers', 101, { headers: manyHeaders(64) }],
    ['an upgrade with a head of about 15 KiB', 101, { headers: { ...UPGRADE, 'X-Pad': 'x'.repeat(15_000) } }],
    ['an upgrade with a target of about 8,000 bytes', 101, { path: `/${'x'.repeat(8_000)}`, headers: UPGRADE }],
    ['a key that is no base64', 400, { headers: { ...UPGRADE, 'Sec-WebSocket-Key': '!!!' } }],
    ['a key of 15 bytes', 400, { headers: { ...UPGRADE, 'Sec-WebSocket-Key': 'AAAAAAAAAAAAAAAAAAAA' } }],
    ['version 12', 426, { headers: { ...UPGRADE, 'Sec-WebSocket-Version': '12' } }],
    ['POST with upgrade headers', 405, { method: 'POST', headers: { ...UPGRADE, 'Content-Length': '0' } }],
    ['65 headers', 431, { headers: manyHeaders(65) }],
    ['2,000 headers', 431, { headers: manyHeaders(2_000) }],
    ['a head of more than 16 KiB', 431, { headers: { ...UPGRADE, 'X-Pad': 'x'.repeat(17_000) } }],
    ['a head of 200 KiB', 431, { headers: { ...UPGRADE, 'X-Pad': 'x'.repeat(200_000) } }],
    ['a target of more than 8 KiB', 414, { path: `/${'x'.repeat(9_000)}`, headers: UPGRADE }],
  ]) {
    test(`${where}: ${name} gets ${status}`, async () => {
      const answer = await request(server, { path: '/ws', ...options });
      assert.equal(answer.status, status, answer.body);
      if (status === 101) return;
      assert.ok(answer.headers.connection.split(', ').includes('close'), answer.headers.connection);
      assert.notEqual(answer.body, '', 'the body says what was wrong');
    });
  }

  test(`${where}: a plain GET of the WebSocket path gets 426 and reads what is missing`, async () => {
    const { status, body } = await request(server, { path: '/ws' });
    assert.equal(status, 426);
    for (const name of ['Upgrade', 'Connection', 'Sec-WebSocket-Key', 'Sec-WebSocket-Version']) {
      assert.match(body, new RegExp(`\\b${name}\\b`, 'i'));
    }
  });

  test(`${where}: a GET that a proxy robbed of Upgrade gets 426 and reads so`, async () => {
    const { status, body } = await request(server, { path: '/ws', headers: without('Upgrade') });
    assert.equal(status, 426);
    assert.match(body, /upgrade/i);
  });

  test(`${where}: a wrong version is told the right one`, async () => {
    const headers = { ...UPGRADE, 'Sec-WebSocket-Version': '12' };
    assert.equal((await request(server, { path: '/ws', headers })).headers['sec-websocket-version'], '13');
  });
}

test('gateway: an upgrade is accepted on any path', async () => {
  for (const path of ['/', '/ws', '/some/where']) {
    assert.equal((await request(gateway, { path, headers: UPGRADE })).status, 101, path);
  }
});

test('gateway: the origin of another site gets 403 with its name in the body', async () => {
  for (const Origin of ['https://evil.example', `http://127.0.0.1.evil.example:${gateway.port}`, 'null']) {
    const { status, body } = await request(gateway, { path: '/ws', headers: { ...UPGRADE, Origin } });
    assert.equal(status, 403, Origin);
    assert.ok(body.includes(Origin), body);
  }
});

test('gateway: its own origin and no origin are accepted', async () => {
  const Origin = `http://127.0.0.1:${gateway.port}`;
  assert.equal((await request(gateway, { path: '/ws', headers: { ...UPGRADE, Origin } })).status, 101);
  assert.equal((await request(gateway, { path: '/ws', headers: UPGRADE })).status, 101);
});

test('gateway: /health says it is alive', async () => {
  const { status, headers, body } = await request(gateway, { path: '/health' });
  assert.equal(status, 200);
  assert.match(headers['content-type'], /^application\/json/);
  assert.equal(JSON.parse(body).status, 'ok');
  assert.equal(JSON.parse(body).protocol, 3);
});

test('gateway: /ready lists its checks', async () => {
  const { status, body } = await request(gateway, { path: '/ready' });
  assert.equal(status, 200);
  assert.ok(Object.keys(JSON.parse(body).checks).length > 0, body);
});

test('gateway: a path it does not have gets 404', async () => {
  assert.equal((await request(gateway, { path: '/nope' })).status, 404);
});
