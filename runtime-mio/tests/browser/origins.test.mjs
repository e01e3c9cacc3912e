// Pages of other origins in a real browser: what they can do to a gateway on the user's own machine.
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { TOKEN, gatewayOf, phase, site, tab } from './support.mjs';

const PAGES = { '/': '<!doctype html><title>another site</title><a id="link">there</a>' };

/** What a page can find out by trying to log in over a WebSocket: everything that reaches it. */
function socket(page, url, token) {
  return page.evaluate(([url, token]) => new Promise((resolve) => {
    const seen = [];
    const ws = new WebSocket(url);
    ws.onopen = () => ws.send(JSON.stringify({ type: 'req', id: '1', method: 'connect', params: { token } }));
    ws.onmessage = ({ data }) => {
      seen.push(JSON.parse(data));
      if (seen.at(-1).type === 'res') ws.close(1000);
    };
    ws.onclose = ({ code, reason }) => resolve({ code, reason, seen });
  }), [url, token]);
}

/** What a page gets from a request: a status, a text, or nothing. */
function ask(page, url, options) {
  return page.evaluate(async ([url, options]) => {
    try {
      const answer = await fetch(url, options);
      return { type: answer.type, status: answer.status, text: await answer.text() };
    } catch (error) {
      return error.name;
    }
  }, [url, options]);
}

/** The answers of the gateway that the browser itself saw, which the page need not see. */
function statuses(page) {
  const seen = [];
  page.on('websocket', (ws) => ws.on('socketerror', (error) => seen.push(error)));
  page.on('response', (response) => seen.push([new URL(response.url()).pathname, response.status()]));
  return seen;
}

for (const host of ['127.0.0.1', 'localhost']) {
  test(`a page of another port at ${host} is refused with 403 and reads nothing; an allowed one is let in`, async () => {
    const other = await site(PAGES);
    const origin = `http://${host}:${other.port}`;
    const strict = await gatewayOf({});
    const page = await tab();
    await page.goto(`${origin}/`);
    const seen = statuses(page);
    const refused = await socket(page, strict.url, TOKEN);
    assert.deepEqual(refused, { code: 1006, reason: '', seen: [] });
    assert.match(seen.join(), /403/);
    for (const method of ['GET', 'POST']) {
      for (const path of ['ws', 'health', 'ready', 'console', 'api/media/upload']) {
        assert.equal(await ask(page, strict.home + path, { method }), 'TypeError', `${method} ${path}`);
      }
    }

    const open = await gatewayOf({ gateway: { allowed_origins: [origin] } });
    const allowed = await socket(page, open.url, TOKEN);
    assert.equal(allowed.code, 1000);
    assert.deepEqual(allowed.seen.map(({ type }) => type), ['event', 'res']);
    assert.equal(allowed.seen[1].payload.type, 'hello-ok');
  });
}

test('a page of another origin cannot upload, with the token or without, in any way that browsers have', async () => {
  const other = await site(PAGES);
  const gateway = await gatewayOf({});
  const page = await tab();
  await page.goto(`${other.origin}/`);
  const seen = statuses(page);
  const url = `${gateway.home}api/media/upload`;
  for (const options of [
    { method: 'POST', body: 'x', headers: { Authorization: `Bearer ${TOKEN}` } },
    { method: 'POST', body: 'x' },
    { method: 'POST', body: 'x', credentials: 'include' },
  ]) assert.equal(await ask(page, url, options), 'TypeError');
  const blind = await ask(page, url, { method: 'POST', body: 'x', mode: 'no-cors' });
  assert.deepEqual(blind, { type: 'opaque', status: 0, text: '' });
  // A form needs no permission to be sent, and leads to a page that says why.
  await page.evaluate((url) => {
    const form = document.createElement('form');
    Object.assign(form, { action: url, method: 'post', enctype: 'multipart/form-data' });
    document.body.append(form);
    form.submit();
  }, url);
  await page.waitForURL(url);
  assert.match(await page.innerText('body'), /origin .* is not allowed/);
  const answers = seen.filter(([path]) => path === '/api/media/upload').map(([, status]) => status);
  assert.ok(answers.length >= 2 && answers.every((status) => status === 403), String(answers));
});

test('a page from a sandbox, whose origin is null, is refused', async () => {
  const gateway = await gatewayOf({});
  const frame = `<iframe sandbox="allow-scripts" srcdoc="<script>
    const ws = new WebSocket('${gateway.url}');
    ws.onclose = (event) => parent.postMessage(event.code, '*');
    ws.onopen = () => parent.postMessage('open', '*');
  </script>"></iframe>`;
  const other = await site({ '/': `<!doctype html><script>addEventListener('message', (event) => { window.outcome = event.data; });</script>${frame}` });
  const page = await tab();
  await page.goto(`${other.origin}/`);
  await page.waitForFunction(() => window.outcome !== undefined);
  assert.equal(await page.evaluate(() => window.outcome), 1006);
});

test('a link on another site leads to the page, and takes no referrer along; a frame does not show it', async () => {
  const other = await site(PAGES);
  // Another site, not only another port: to browsers, `localhost` and an address are.
  const gateway = await gatewayOf({});
  const page = await tab();
  await page.goto(`http://localhost:${other.port}/`);
  await page.evaluate((url) => Object.assign(document.querySelector('#link'), { href: url }), gateway.home);
  await page.click('#link');
  await phase(page, 'idle');
  await page.goto(`http://localhost:${other.port}/`);
  await page.evaluate((url) => {
    const frame = Object.assign(document.createElement('iframe'), { src: url });
    document.body.append(frame);
    return new Promise((resolve) => frame.addEventListener('load', resolve));
  }, gateway.home);
  for (const frame of page.frames().slice(1)) assert.equal(await frame.locator('#login').count(), 0);
  // Its files cannot be run elsewhere, either.
  assert.equal(await page.evaluate((url) => new Promise((resolve) => {
    const script = Object.assign(document.createElement('script'), { type: 'module', src: url });
    script.onload = () => resolve('loaded');
    script.onerror = () => resolve('refused');
    document.head.append(script);
  }), `${gateway.home}console/main.js`), 'refused');
});

test('a name that was made to lead here is refused', async () => {
  const gateway = await gatewayOf({});
  const page = await tab();
  // Browsers take every name below localhost for this machine, as a rebound name would be.
  const url = `http://rebound.localhost:${gateway.port}/`;
  const answer = await page.goto(url);
  assert.equal(answer.status(), 403);
  assert.match(await page.innerText('body'), /host rebound\.localhost:\d+ is not this gateway's/);
  assert.deepEqual(await socket(page, `ws://rebound.localhost:${gateway.port}/ws`, TOKEN), { code: 1006, reason: '', seen: [] });
});
