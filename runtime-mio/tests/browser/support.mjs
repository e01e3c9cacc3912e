// A browser, pages of the gateway in it, and sites of other origins.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import { createRequire } from 'node:module';
import path from 'node:path';
import { after } from 'node:test';
import { TOKEN, startGateway, stateFolder } from '../clients/node/support.mjs';

export { Client, TOKEN, startGateway, stateFolder } from '../clients/node/support.mjs';

const { chromium } = createRequire(import.meta.url)('playwright-core');

const browser = await chromium.launch({ executablePath: process.env.BROWSER_BINARY, args: ['--disable-gpu'] });
after(() => browser.close());

/** A gateway whose settings are in a file, and which can be started again at the same address. */
export async function gatewayOf(settings, { token = TOKEN, extra = [], listen, state = stateFolder() } = {}) {
  const file = path.join(state, 'settings.json5');
  writeFileSync(file, JSON.stringify(settings));
  const gateway = await startGateway({ state, token, listen, extra: ['--config', file, ...extra] });
  gateway.home = `http://127.0.0.1:${gateway.port}/`;
  gateway.restart = () => gatewayOf(settings, { token, extra, listen: `127.0.0.1:${gateway.port}`, state });
  return gateway;
}

/** Pings come soon, so that what is measured with them is there soon. */
export const QUICK = { limits: { ping_every_ms: 400 } };

/**
 * A tab with a store of its own. What it finds wrong is collected; `allowed` are the complaints that a test expects.
 */
export async function tab(options = {}) {
  const context = await browser.newContext({ reducedMotion: 'reduce', ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(15_000);
  page.complaints = [];
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) page.complaints.push(message.text());
  });
  page.on('pageerror', (error) => page.complaints.push(String(error)));
  page.on('dialog', (dialog) => {
    page.complaints.push(`a dialog: ${dialog.message()}`);
    dialog.dismiss();
  });
  return page;
}

/** Fails on whatever the browser had to say against the page, besides what is expected. */
export function assertQuiet(page, allowed = /^$/) {
  assert.deepEqual(page.complaints.filter((text) => !allowed.test(text)), []);
}

/** A tab that is logged in. */
export async function loggedIn(gateway, options) {
  const page = await tab(options);
  await page.goto(`${gateway.home}#token=${TOKEN}`);
  await phase(page, 'open');
  return page;
}

export const phase = (page, name) => page.waitForSelector(`body[data-phase="${name}"]`);

/** Waits until an element has a text that matches. */
export async function shows(page, selector, pattern) {
  try {
    await page.waitForFunction(
      ([selector, source, flags]) => new RegExp(source, flags).test(document.querySelector(selector)?.innerText ?? ''),
      [selector, pattern.source, pattern.flags], { polling: 50 });
  } catch {
    const text = await page.locator(selector).allInnerTexts();
    assert.fail(`${selector} does not show ${pattern}, but ${JSON.stringify(text)}`);
  }
}

export async function say(page, text) {
  await page.fill('#say', text);
  await page.press('#say', 'Enter');
}

export const picture = (page, name) => page.screenshot({ path: path.join(process.env.BROWSER_PICTURES, `${name}.png`) });

/** Another site: each path is a page. */
export async function site(pages) {
  const server = http.createServer((request, response) => {
    const page = pages[request.url];
    response.writeHead(page === undefined ? 404 : 200, { 'Content-Type': 'text/html; charset=utf-8' });
    response.end(page ?? '');
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  after(() => server.close());
  return { port: server.address().port, origin: `http://127.0.0.1:${server.address().port}` };
}

/** A network between the browser and a gateway, which can be cut. */
export async function network(gateway) {
  const sockets = new Set();
  const server = net.createServer((near) => {
    const far = net.connect(gateway.port, '127.0.0.1');
    for (const [from, to] of [[near, far], [far, near]]) {
      sockets.add(from);
      from.on('error', () => {}); // followed by 'close'
      from.on('close', () => {
        sockets.delete(from);
        to.destroy();
      });
      from.pipe(to);
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const cut = () => sockets.forEach((socket) => socket.destroy());
  after(() => {
    server.close();
    cut();
  });
  return { home: `http://127.0.0.1:${server.address().port}/`, cut };
}
