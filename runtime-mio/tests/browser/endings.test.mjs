// How connections end, what the page says of it, and how it comes back.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { Client, QUICK, TOKEN, assertQuiet, gatewayOf, loggedIn, network, phase, picture, say, shows, tab } from './support.mjs';

/** A browser reports a refused or lost WebSocket by itself. */
const CUT = /^WebSocket connection to .* failed|net::ERR_(CONNECTION_REFUSED|EMPTY_RESPONSE|CONNECTION_RESET)/;

test('a killed gateway is 1006 with its meaning; the page comes back, says gap, and has the conversation', async () => {
  const first = await gatewayOf(QUICK);
  const page = await loggedIn(first, { viewport: { width: 1280, height: 800 } });
  await say(page, 'before the kill');
  await shows(page, '.message.assistant .text', /before the kill/);
  await shows(page, '#agent-chip', /idle/);
  await first.kill('SIGKILL');
  await shows(page, '#notice', /Closed with 1006[\s\S]*cut without a word[\s\S]*Ended by: nobody who said so/);
  await shows(page, '#link-chip', /cut off|connecting/);
  await shows(page, '#agent-chip', /unknown/);
  await shows(page, '#agents', /not known while this page is away/);
  await shows(page, '#notice', /The gateway does not answer/);
  await picture(page, 'light-waiting');
  await say(page, 'said while away');
  await first.restart();
  await phase(page, 'open');
  await shows(page, '#link-facts', /Last login\s+gap/);
  await shows(page, '.message.assistant:last-of-type .text', /said while away/);
  assert.equal(await page.locator('.message.user').count(), 2, 'sent once');
  assert.equal(await page.locator('.message.assistant').count(), 2);
  await shows(page, '#agent-chip', /idle/);
  await shows(page, '#endings', /1006/);
  assert.equal(await page.locator('#notice').isVisible(), false);
  assertQuiet(page, CUT);
});

test('what a killed gateway was answering is answered after all, and once', async () => {
  const first = await gatewayOf(QUICK);
  const page = await loggedIn(first);
  const text = Array.from({ length: 100 }, (_, at) => `w${at}`).join(' ');
  await say(page, text);
  await shows(page, '.message.assistant .text', /w5 /);
  await first.kill('SIGKILL');
  await shows(page, '.message.assistant', /cut off/);
  const second = await first.restart();
  await shows(page, '.message.assistant .text', /w99$/);
  assert.equal(await page.innerText('.message.assistant .text'), text);
  assert.equal(await page.locator('.message').count(), 2);
  const { messages } = await (await Client.connect(second, { user: 'me' })).call('chat.history', {
    sessionKey: await page.getAttribute('#sessions [aria-current]', 'data-session'),
  });
  assert.deepEqual(messages.map(({ role, content }) => [role, content]), [['user', text], ['assistant', text]]);
});

test('a gateway that has forgotten everything gets what was said meanwhile in a new conversation', async () => {
  const first = await gatewayOf(QUICK, { extra: ['--ephemeral'] });
  const page = await loggedIn(first);
  await say(page, 'to be forgotten');
  await shows(page, '.message.assistant .text', /to be forgotten/);
  await first.kill('SIGKILL');
  await shows(page, '#notice', /1006/);
  await say(page, 'said while away');
  await first.restart();
  await shows(page, '#log', /does not know this conversation any more/);
  await shows(page, '.message.assistant .text', /said while away/);
  assert.equal(await page.locator('.message').count(), 2);
});

test('a restart is 1012 with its meaning, and the page resumes without having lost anything', async () => {
  const first = await gatewayOf(QUICK);
  const page = await loggedIn(first);
  await say(page, 'before the restart');
  await shows(page, '.message.assistant .text', /before the restart/);
  await shows(page, '#agent-chip', /idle/);
  const exit = first.kill('SIGUSR2');
  await shows(page, '#notice', /1012: service restart[\s\S]*being restarted[\s\S]*Ended by: the gateway/);
  assert.equal(await exit, 0);
  await first.restart();
  await phase(page, 'open');
  await shows(page, '#link-facts', /Last login\s+resumed/);
  await shows(page, '#link-facts', /none missing/);
  await say(page, 'after it');
  await shows(page, '.message.assistant:last-of-type .text', /after it/);
  assert.equal(await page.locator('.message').count(), 4);
  assertQuiet(page, CUT);
});

test('a gateway that stops for good is 1001', async () => {
  const first = await gatewayOf(QUICK);
  const page = await loggedIn(first);
  await first.kill('SIGTERM');
  await shows(page, '#endings', /1001 going away[\s\S]*by the gateway[\s\S]*stops for good/);
});

test('cuts in the middle of an answer cost nothing: it goes on where it was', async () => {
  const cable = await network(await gatewayOf(QUICK, { extra: ['--loops', '2'] }));
  const page = await loggedIn(cable);
  const text = Array.from({ length: 250 }, (_, at) => `w${at}`).join(' ');
  await say(page, text);
  for (const word of ['w5', 'w60']) {
    await shows(page, '.message.assistant .text', new RegExp(`${word} `));
    cable.cut();
    await shows(page, '#notice', /Closed with 1006/);
    await phase(page, 'open');
    await shows(page, '#link-facts', /Last login\s+resumed, \d+ messages caught up/);
  }
  await shows(page, '.message.assistant .text', /w249$/);
  assert.equal(await page.innerText('.message.assistant .text'), text);
  await shows(page, '#link-facts', /Events\s+\d+, none missing/);
  assert.equal(await page.locator('.message').count(), 2);
  assertQuiet(page);
});

test('a page that the gateway does not let in is told what has to be allowed', async () => {
  const gateway = await gatewayOf({}, { listen: '0.0.0.0:0' });
  const page = await tab();
  const origin = `http://gateway.localhost:${gateway.port}`;
  await page.goto(`${origin}/#token=${TOKEN}`);
  await phase(page, 'ended');
  await shows(page, '#notice', new RegExp(`Refused with 403[\\s\\S]*allow it with --allow-origin ${origin}`));
});

test('who is closed by an administrator reads 1008 and the words, and stays away until told to come', async () => {
  const gateway = await gatewayOf(QUICK);
  const page = await loggedIn(gateway);
  let sockets = 0;
  page.on('websocket', () => sockets++);
  const admin = await Client.connect(gateway, { user: 'someone' });
  const { connections } = await admin.call('connections.list', { userId: 'me' });
  await admin.call('connections.close', { connId: connections[0].connId, reason: 'lunch break' });
  await phase(page, 'ended');
  await shows(page, '#notice', /Closed with 1008: lunch break[\s\S]*administrator[\s\S]*Ended by: the gateway/);
  await shows(page, '#link-chip', /ended/);
  await page.waitForTimeout(1_500);
  assert.equal(sockets, 0);
  await page.click('#again');
  await phase(page, 'open');
  await shows(page, '#link-facts', /Last login\s+gap/);
  assertQuiet(page);
});

test('a revoked token is 1008 with its meaning, and the form asks for another one', async () => {
  const gateway = await gatewayOf(QUICK);
  const admin = await Client.connect(gateway, { user: 'someone' });
  const { key, id } = await admin.call('api_keys.create', { name: 'page', role: 'operator', user: 'me' });
  const page = await tab();
  await page.goto(`${gateway.home}#token=${key}`);
  await phase(page, 'open');
  await admin.call('api_keys.revoke', { id });
  await shows(page, '#notice', /1008: revoked[\s\S]*was taken back/);
  assert.equal(await page.locator('#login').isVisible(), true);
  assert.equal(await page.evaluate(() => sessionStorage.getItem('moorline.token')), null);
});

test('an API key whose time is over makes room for another one, and nothing is lost', async () => {
  const gateway = await gatewayOf(QUICK);
  const admin = await Client.connect(gateway, { user: 'someone' });
  const make = (more) => admin.call('api_keys.create', { name: 'page', role: 'operator', user: 'me', ...more });
  const [short, long] = [await make({ expiresInMs: 4_000 }), await make({})];
  const page = await tab();
  await page.goto(`${gateway.home}#token=${short.key}`);
  await phase(page, 'open');
  await say(page, 'word '.repeat(300));
  await shows(page, '#notice', /1008: credential expired[\s\S]*time .* is over/);
  await page.fill('#token', long.key);
  await page.click('#login button');
  await phase(page, 'open');
  await shows(page, '#link-facts', /Last login\s+resumed/);
  await shows(page, '.message.assistant .text', /^(word ?){300}$/);
  await shows(page, '#link-facts', /none missing/);
});

test('a gateway that falls silent is given up after the time it has announced', async () => {
  const gateway = await gatewayOf({ limits: { ping_every_ms: 300, pong_within_ms: 700 } });
  const page = await loggedIn(gateway);
  await shows(page, '#link-chip', /connected, \d+ ms/);
  gateway.child.kill('SIGSTOP');
  try {
    await shows(page, '#endings', /4000[\s\S]*by this page[\s\S]*Nothing came/);
  } finally {
    gateway.child.kill('SIGCONT');
  }
  await phase(page, 'open');
});

test('a message that is too long is not sent', async () => {
  const gateway = await gatewayOf({ limits: { message_bytes: 4096 } });
  const page = await loggedIn(gateway);
  await say(page, 'x'.repeat(5000));
  await shows(page, '#objection', /longer than the gateway takes/);
  assert.equal((await page.inputValue('#say')).length, 5000, 'it is still there');
  await shows(page, '#link-chip', /connected/);
  await say(page, 'x');
  await shows(page, '.message.assistant .text', /^x$/);
});

test('a gateway that takes nobody more says why, and the page tries again', async () => {
  const gateway = await gatewayOf({ limits: { connections: 1 } });
  const client = await Client.connect(gateway);
  const page = await tab();
  await page.goto(`${gateway.home}#token=${TOKEN}`);
  await shows(page, '#notice', /Refused with 503[\s\S]*takes nobody now \(connections\)/);
  await client.close(1000);
  await phase(page, 'open');
});

test('every ending of the documentation has a meaning of its own here, and the page comes back where it says so', async () => {
  const read = (file) => readFileSync(new URL(`../../../${file}`, import.meta.url), 'utf8');
  const source = read('runtime-mio/src/bin/moorline/console/endings.js');
  const { explain } = await import(`data:text/javascript,${encodeURIComponent(source)}`);
  const table = read('docs/endings.md').split('## After it')[1].split('\n##')[0];
  const cells = table.split('\n').map((line) => line.split('|').map((cell) => cell.trim()).slice(1, -1));
  // The page does not speak the dialect of OpenClaw.
  const rows = cells.filter(([code, , why]) => /^1\d\d\d/.test(code) && !why.includes('OpenClaw'));
  assert.ok(rows.length >= 20, String(rows.length));
  const unknown = explain(1999, '').meaning;
  const meanings = new Set();
  for (const row of rows) {
    const [code, told, , retry] = row;
    const reason = (/`(.*?)`/.exec(told)?.[1] ?? '').replaceAll(/\b[NM]\b/g, '70000');
    const { meaning, action, then } = explain(Number(code), reason);
    assert.ok(meaning !== unknown && action, String(row));
    if (code === '1008') assert.ok(meanings.size < meanings.add(meaning).size, String(row));
    const expected = /new one|right credential/.test(retry) ? 'login' : /^(no\b|ask why|$)/.test(retry) ? 'stop' : 'again';
    assert.equal(then, expected, String(row));
  }
});
