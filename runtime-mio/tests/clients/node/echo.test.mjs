// `moorline echo` with the client `ws`: what is sent comes back.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { test } from 'node:test';
import { Peer, startEcho, within } from './support.mjs';

const MIB = 1024 * 1024;
const server = await startEcho();

test('the ready line names the address', () => {
  assert.match(server.lines[0], /^moorline echo listening on ws:\/\/127\.0\.0\.1:\d+\/$/);
});

for (const [name, message] of [
  ['text', 'hello'],
  ['binary', Buffer.from([0, 255, 254, 128, 0])],
  ['an empty text', ''],
  ['an empty binary', Buffer.alloc(0)],
  ['text in many scripts', 'grüße, κόσμε, мир, 世界, 🙂, \u{10FFFF}, \0'],
  ['text of 126 bytes', 'x'.repeat(126)],
  ['text of 65,536 bytes', 'x'.repeat(65_536)],
]) {
  test(`${name} comes back unchanged`, async () => {
    const peer = await Peer.open(server.url);
    peer.send(message);
    assert.deepEqual(await peer.next(), message);
    assert.deepEqual(await peer.close(1000), { code: 1000, reason: '' });
  });
}

test('1 MiB of text comes back byte for byte', async () => {
  const peer = await Peer.open(server.url);
  const message = 'ä€🙂x'.repeat(MIB / 10 + 1).slice(0, -1);
  assert.ok(Buffer.byteLength(message) >= MIB);
  peer.send(message);
  assert.ok((await peer.next()) === message);
});

test('1 MiB of binary comes back byte for byte', async () => {
  const peer = await Peer.open(server.url);
  const message = Buffer.from(Array.from({ length: MIB }, (_, i) => (i * 31 + (i >> 8)) & 255));
  peer.send(message);
  assert.ok(message.equals(await peer.next()));
});

test('fragments of a text come back as one text', async () => {
  const peer = await Peer.open(server.url);
  peer.send('grü', { fin: false });
  peer.send('', { fin: false });
  peer.send('ße', { fin: true });
  assert.equal(await peer.next(), 'grüße');
});

test('a code point may be cut by a fragment', async () => {
  const peer = await Peer.open(server.url);
  const bytes = Buffer.from('🙂');
  peer.send(bytes.subarray(0, 1), { fin: false, binary: false });
  peer.send(bytes.subarray(1, 3), { fin: false });
  peer.send(bytes.subarray(3), { fin: true });
  assert.equal(await peer.next(), '🙂');
});

test('a thousand fragments of a binary come back as one binary', async () => {
  const peer = await Peer.open(server.url);
  for (let i = 0; i < 1000; i++) peer.send(Buffer.from([i & 255]), { fin: i === 999 });
  assert.deepEqual(await peer.next(), Buffer.from(Array.from({ length: 1000 }, (_, i) => i & 255)));
});

test('a ping is answered with its payload, also between fragments', async () => {
  const peer = await Peer.open(server.url);
  peer.send('one ', { fin: false });
  for (const payload of [Buffer.alloc(0), Buffer.from('ping'), Buffer.alloc(125, 0xfe)]) {
    peer.ws.ping(payload);
    assert.deepEqual(await within('the pong', once(peer.ws, 'pong')), [payload]);
  }
  peer.send('two', { fin: true });
  assert.equal(await peer.next(), 'one two');
});

test('ten pings at once get ten pongs in order', async () => {
  const peer = await Peer.open(server.url);
  const pongs = [];
  peer.ws.on('pong', (payload) => pongs.push(payload.toString()));
  for (let i = 0; i < 10; i++) peer.ws.ping(`${i}`);
  peer.send('after');
  assert.equal(await peer.next(), 'after');
  assert.deepEqual(pongs, ['0', '1', '2', '3', '4', '5', '6', '7', '8', '9']);
});

test('a pong nobody asked for is ignored', async () => {
  const peer = await Peer.open(server.url);
  peer.ws.pong('unasked');
  peer.send('still here');
  assert.equal(await peer.next(), 'still here');
});

for (const [code, reason] of [
  [1000, 'done'],
  [1001, 'leaving'],
  [3000, 'registered'],
  [4999, 'größte'],
  [1000, 'r'.repeat(123)],
]) {
  test(`close ${code} with a reason of ${Buffer.byteLength(reason)} bytes is answered with the same`, async () => {
    const peer = await Peer.open(server.url);
    assert.deepEqual(await peer.close(code, reason), { code, reason });
  });
}

test('a close without a code is answered without a code', async () => {
  const peer = await Peer.open(server.url);
  assert.deepEqual(await peer.close(), { code: 1005, reason: '' });
});

test('permessage-deflate is declined and messages pass', async () => {
  const peer = await Peer.open(server.url, { perMessageDeflate: { threshold: 0 } });
  assert.equal(peer.ws.extensions, '');
  peer.send('compressible '.repeat(1000));
  assert.equal(await peer.next(), 'compressible '.repeat(1000));
});

test('200 messages sent at once come back in order', async () => {
  const peer = await Peer.open(server.url);
  const sizes = [0, 1, 125, 126, 4096, 65_535, 65_536];
  const messages = Array.from({ length: 200 }, (_, i) => `${i}:${'x'.repeat(sizes[i % sizes.length])}`);
  messages.forEach((message) => peer.send(message));
  for (const message of messages) assert.ok((await peer.next()) === message);
});

test('50 connections exchange 100 messages each at the same time', async () => {
  const talk = async (name) => {
    const peer = await Peer.open(server.url);
    for (let i = 0; i < 100; i++) {
      peer.send(`${name}:${i}`);
      assert.equal(await peer.next(), `${name}:${i}`);
    }
    return peer.close(1000);
  };
  const ends = await Promise.all(Array.from({ length: 50 }, (_, name) => talk(name)));
  assert.ok(ends.every(({ code }) => code === 1000));
});

test('a connection cut in the middle of a message does not disturb the others', async () => {
  const [cut, other] = await Promise.all([Peer.open(server.url), Peer.open(server.url)]);
  cut.send('never finished', { fin: false });
  cut.ws.terminate();
  other.send('fine');
  assert.equal(await other.next(), 'fine');
});

test('any path is accepted', async () => {
  const peer = await Peer.open(`${server.url}a/b?c=d`);
  peer.send('there');
  assert.equal(await peer.next(), 'there');
});

test('more than --max-message is closed with 1009', async () => {
  const small = await startEcho('--max-message', '64KiB');
  const peer = await Peer.open(small.url);
  peer.send('x'.repeat(65_536));
  assert.equal((await peer.next()).length, 65_536);
  peer.send('x'.repeat(65_537));
  assert.equal((await peer.ended()).code, 1009);
});
