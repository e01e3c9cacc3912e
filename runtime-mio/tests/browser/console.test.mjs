// The page: who logs in, what is said, and both links shown apart.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Client, QUICK, TOKEN, assertQuiet, gatewayOf, loggedIn, phase, picture, say, shows, tab } from './support.mjs';

const gateway = await gatewayOf(QUICK);

test('the page loads without an error, at both of its addresses', async () => {
  for (const address of ['', 'console']) {
    const page = await tab();
    const requests = [];
    page.on('request', (request) => requests.push(request.url()));
    await page.goto(gateway.home + address);
    await phase(page, 'idle');
    assert.equal(await page.locator('#login').isVisible(), true);
    assert.ok(requests.length > 5 && requests.every((url) => url.startsWith(gateway.home)), String(requests));
    assertQuiet(page);
  }
});

test('a token in the address logs in, and is out of the address and its history at once', async () => {
  const page = await loggedIn(gateway);
  assert.equal(page.url(), gateway.home);
  assert.ok(!(await page.evaluate(() => JSON.stringify([location.href, document.referrer, { ...localStorage }]))).includes(TOKEN));
  assert.equal(await page.evaluate(() => history.length), 2, 'about:blank and the page');
  assert.equal(await page.evaluate(() => sessionStorage.getItem('moorline.token')), TOKEN);
  await shows(page, '#link-facts', /Logged in as\s+me \(admin\)/);
  // The same tab is logged in again when it is loaded anew; another one is not.
  await page.reload();
  await phase(page, 'open');
  const other = await page.context().newPage();
  await other.goto(gateway.home);
  await phase(other, 'idle');
  await page.click('#leave');
  await phase(page, 'idle');
  assert.equal(await page.evaluate(() => sessionStorage.getItem('moorline.token')), null);
  assertQuiet(page);
});

test('a token that comes into the address later is taken out of it, and does not change who is logged in', async () => {
  const page = await loggedIn(gateway);
  let sockets = 0;
  page.on('websocket', () => sockets++);
  await page.evaluate(() => {
    location.hash = 'token=another';
  });
  await page.waitForFunction(() => location.hash === '');
  assert.equal(await page.evaluate(() => sessionStorage.getItem('moorline.token')), TOKEN);
  await say(page, 'still me');
  await shows(page, '.message.assistant .text', /still me/);
  assert.equal(sockets, 0);
  await page.click('#leave');
  await page.evaluate((token) => {
    location.hash = `token=${token}`;
  }, TOKEN);
  await phase(page, 'open');
  assert.equal(page.url(), gateway.home);
});

test('the form logs in', async () => {
  const page = await tab();
  await page.goto(gateway.home);
  await page.fill('#token', TOKEN);
  await page.fill('#user', 'ana');
  await page.press('#user', 'Enter');
  await phase(page, 'open');
  await shows(page, '#link-facts', /ana \(admin\)/);
  assert.equal(await page.inputValue('#token'), '');
  assertQuiet(page);
});

test('a wrong token is explained by its code, is not kept and not tried again', async () => {
  const page = await tab();
  let sockets = 0;
  page.on('websocket', () => sockets++);
  await page.goto(`${gateway.home}#token=wrong`);
  await phase(page, 'refused');
  await shows(page, '#notice', /UNAUTHORIZED[\s\S]*token is not valid here[\s\S]*does not know it/);
  assert.equal(await page.locator('#login').isVisible(), true);
  assert.equal(await page.evaluate(() => sessionStorage.getItem('moorline.token')), null);
  await page.waitForTimeout(1_500);
  assert.equal(sockets, 1);
  assertQuiet(page);
});

test('without a token the gateway wants one', async () => {
  const page = await tab();
  await page.goto(gateway.home);
  await page.click('#login button');
  await phase(page, 'refused');
  await shows(page, '#notice', /The gateway wants a token/);
});

test('an answer streams, both links are shown, and the history has it', async () => {
  const page = await loggedIn(gateway);
  const words = Array.from({ length: 40 }, (_, at) => `word${at}`).join(' ');
  await page.evaluate(() => {
    window.seen = new Set();
    new MutationObserver(() => {
      window.seen.add(document.querySelector('.message.assistant .text')?.textContent.length ?? 0);
    }).observe(document.querySelector('#log'), { subtree: true, childList: true, characterData: true });
  });
  await say(page, words);
  await shows(page, '#agent-chip', /Echo working/);
  await shows(page, '.message.user .text', /^word0 .*word39$/);
  await shows(page, '.message.assistant .text', /^word0 .*word39$/);
  await shows(page, '#agent-chip', /Echo idle/);
  assert.ok((await page.evaluate(() => window.seen.size)) > 10, 'it came in pieces');
  await shows(page, '#link-chip', /connected, \d+ ms/);
  await shows(page, '#link-facts', /Round trip\s+\d+ ms/);
  await shows(page, '#link-facts', /Events\s+\d+, none missing/);
  await shows(page, '#agents', /Echo\s+idle/);
  await shows(page, '#sessions', /Echo · 2 messages/);
  await page.reload();
  await phase(page, 'open');
  await page.click('#sessions button');
  await shows(page, '.message.assistant .text', /^word0 .*word39$/);
  assert.equal(await page.locator('.message').count(), 2);
  await say(page, 'and more');
  await shows(page, '.message.assistant:last-of-type .text', /^and more$/);
  assert.equal(await page.locator('.message').count(), 4);
  assertQuiet(page);
});

test('an answer can be stopped', async () => {
  const page = await loggedIn(gateway);
  await say(page, 'word '.repeat(400));
  await shows(page, '.message.assistant .text', /word word/);
  await page.click('#stop');
  await shows(page, '.message.assistant', /stopped/);
  await shows(page, '#agent-chip', /idle/);
  assert.equal(await page.isDisabled('#stop'), true);
  assertQuiet(page);
});

test('messages wait for their turn, and each has its answer', async () => {
  const page = await loggedIn(gateway);
  await say(page, 'one '.repeat(50));
  await say(page, 'two two');
  await say(page, 'three');
  await shows(page, '.message:nth-of-type(6)', /^Echo\s+\S+\s+three$/);
  const answers = await page.locator('.message.assistant .text').allInnerTexts();
  assert.deepEqual(answers.map((text) => text.trim().split(' ')[0]), ['one', 'two', 'three']);
  assert.equal(await page.locator('.message.user').count(), 3);
});

test('a run that was begun elsewhere is shown where its conversation is open', async () => {
  const one = await loggedIn(gateway);
  await say(one, 'begun by one');
  await shows(one, '.message.assistant .text', /begun by one/);
  const two = await loggedIn(gateway);
  await shows(two, '#sessions', /Echo/);
  await two.click('#sessions button');
  await shows(two, '.message.assistant .text', /begun by one/);
  await say(one, 'and heard by two');
  await shows(two, '.message.user:nth-of-type(3) .text', /and heard by two/);
  await shows(two, '.message.assistant:nth-of-type(4) .text', /and heard by two/);
});

test('a run that fails is shown at the agent, and the link is still good', async () => {
  const hurried = await gatewayOf({ limits: { run_within_ms: 300 } });
  const page = await loggedIn(hurried);
  await say(page, 'word '.repeat(200));
  await shows(page, '.message.assistant', /failed[\s\S]*time/);
  await shows(page, '#agent-chip', /Echo failed/);
  await shows(page, '#agents', /failed[\s\S]*time/);
  await shows(page, '#link-chip', /connected/);
  await say(page, 'short');
  await shows(page, '#agent-chip', /Echo idle/);
});

test('an agent that cannot be reached is told apart from the link of the page', async () => {
  const breaker = { failures: 1, open_first_ms: 60_000 };
  const backend = { type: 'openai', base_url: 'http://127.0.0.1:1/v1', model: 'm', retries: 0, breaker };
  const cut = await gatewayOf({ ...QUICK, agents: [{ id: 'far', name: 'Far', backend }] });
  const page = await loggedIn(cut);
  await shows(page, '#agent-chip', /Far idle/);
  await say(page, 'hello');
  await shows(page, '.message.assistant', /failed[\s\S]*127\.0\.0\.1:1 cannot be reached/);
  await shows(page, '#agent-chip', /Far unreachable/);
  await shows(page, '#agents', /Far\s+unavailable; the gateway tries again at \d[\s\S]*cannot be reached/);
  await shows(page, '#link-chip', /connected/);
});

test('who has no token is shown a code, and goes on when an admin lets them in', async () => {
  const pairing = await gatewayOf({ gateway: { pairing: true } });
  const page = await tab();
  await page.goto(pairing.home);
  await page.click('#login button');
  await phase(page, 'pairing');
  await shows(page, '#pairing-code', /\S{4,}/);
  const code = await page.innerText('#pairing-code');
  await shows(page, '#pairing-hint', new RegExp(`moorline devices approve ${code}"`));
  await page.reload();
  await phase(page, 'pairing');
  assert.equal(await page.innerText('#pairing-code'), code, 'the request outlives the connection');
  const admin = await Client.connect(pairing);
  await admin.call('device.pair.approve', { code });
  await phase(page, 'open');
  await shows(page, '#link-facts', /\(operator\)/);
  await say(page, 'let in');
  await shows(page, '.message.assistant .text', /let in/);
  assertQuiet(page);
});

test('what others write is text, wherever it is shown', async () => {
  const evil = '<img src=x onerror=alert(1)><script>alert(2)</script>&amp;\u202e';
  const dirty = await gatewayOf({ agents: [{ id: 'echo', name: evil }] });
  const admin = await Client.connect(dirty, { user: 'me' });
  const { sessionKey } = await admin.say(`hello ${evil}`);
  await admin.call('sessions.patch', { sessionKey, label: evil });
  const page = await loggedIn(dirty);
  await page.click('#sessions button');
  await shows(page, '.message.assistant .text', /<script>alert\(2\)<\/script>&amp;/);
  await shows(page, '#sessions b', /<img src=x onerror=alert\(1\)>/);
  await shows(page, '#agents b', /<img src=x/);
  const { connections } = await admin.call('connections.list', {});
  const { connId } = connections.find((entry) => !entry.current);
  await admin.call('connections.close', { connId, reason: '<img src=x onerror=alert(3)>' });
  await shows(page, '#notice-title', /1008: <img src=x onerror=alert\(3\)>/);
  await shows(page, '#endings', /<img src=x onerror=alert\(3\)>/);
  assert.equal(await page.locator('img').count(), 1, 'the icon');
  assert.equal(await page.locator('script').count(), 1);
  assertQuiet(page);
});

test('the policy of the page refuses what an injected text would do', async () => {
  const page = await loggedIn(gateway);
  const outcomes = await page.evaluate(async () => {
    const attempt = async (act) => {
      try {
        return String(await act());
      } catch (error) {
        return error.name;
      }
    };
    return {
      markup: await attempt(() => (document.createElement('p').innerHTML = '<b>x</b>')),
      inline: await attempt(() => {
        const link = document.createElement('b');
        link.setAttribute('onclick', 'window.ran = 1');
        link.click();
        return window.ran;
      }),
      elsewhere: await attempt(() => fetch('http://127.0.0.1:9/')),
    };
  });
  assert.equal(outcomes.markup, 'TypeError');
  assert.equal(outcomes.elsewhere, 'TypeError');
  assert.equal(outcomes.inline, 'TypeError');
});

test('pictures', async () => {
  for (const [name, options] of [
    ['light', { viewport: { width: 1280, height: 800 } }],
    ['dark', { viewport: { width: 1280, height: 800 }, colorScheme: 'dark' }],
    ['phone', { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, hasTouch: true }],
  ]) {
    const page = await tab(options);
    await page.goto(gateway.home);
    await phase(page, 'idle');
    await picture(page, `${name}-login`);
    await page.goto(`${gateway.home}#token=${TOKEN}`);
    await phase(page, 'open');
    await say(page, 'What is a mooring line good for?\nIt keeps a boat where it is, whatever the water does.');
    await shows(page, '.message.assistant .text', /water does/);
    await say(page, 'word '.repeat(300));
    await shows(page, '.message.assistant:last-of-type .text', /word/);
    await picture(page, `${name}-chat`);
    const width = await page.evaluate(() => document.documentElement.scrollWidth);
    assert.ok(width <= options.viewport.width, `${name} is ${width} wide`);
    await page.click('#stop');
    await shows(page, '.message.assistant:last-of-type', /stopped/);
    const admin = await Client.connect(gateway, { user: 'ann' });
    const { connections } = await admin.call('connections.list', { userId: 'me' });
    for (const { connId } of connections) await admin.call('connections.close', { connId, reason: 'the house is being painted' });
    await phase(page, 'ended');
    await page.locator('#links-box').evaluate((box) => {
      box.open = true;
    });
    await picture(page, `${name}-ended`);
  }
});
