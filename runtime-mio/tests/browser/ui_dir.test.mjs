// A folder of files that is served beside the gateway: a page with an address of its own for everything.
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';
import { TOKEN, assertQuiet, gatewayOf, phase, say, shows, stateFolder, tab } from './support.mjs';

const state = stateFolder();
const files = {
  'index.html': `<!doctype html><html><head><title>files</title>
    <link rel="stylesheet" href="./assets/look-Bx3kZ9aQ.css"><link rel="icon" href="data:,">
    <script>window.began = true;</script></head>
    <body><p id="said"></p><script type="module" src="./assets/app-Cy4lA0bR.js"></script></body></html>`,
  'assets/look-Bx3kZ9aQ.css': '#said { color: rgb(1, 2, 3); }',
  'assets/app-Cy4lA0bR.js': `import { word } from './word-Dz5mB1cS.js';
    const health = await (await fetch('/health')).json();
    const socket = new WebSocket(\`ws://\${location.host}/\`);
    socket.onmessage = ({ data }) => {
      document.querySelector('#said').textContent = [word, window.began, health.status, JSON.parse(data).event].join(' ');
    };`,
  'assets/word-Dz5mB1cS.js': "export const word = 'hello';",
};
for (const [name, text] of Object.entries(files)) {
  mkdirSync(path.dirname(path.join(state, 'ui', name)), { recursive: true });
  writeFileSync(path.join(state, 'ui', name), text);
}
const gateway = await gatewayOf({ gateway: { ui_dir: path.join(state, 'ui') } }, { state });

test('the page works under any address, with its scripts, its styles and its own socket', async () => {
  for (const address of ['', 'chat/main', 'settings/a/b?c=d']) {
    const page = await tab();
    await page.goto(gateway.home + address);
    await shows(page, '#said', /^hello true ok connect\.challenge$/);
    assert.equal(await page.evaluate(() => getComputedStyle(document.querySelector('#said')).color), 'rgb(1, 2, 3)');
    assertQuiet(page);
  }
});

test('no script runs that does not stand in the folder', async () => {
  const page = await tab();
  await page.goto(gateway.home);
  await shows(page, '#said', /hello/);
  await page.evaluate(() => {
    const script = document.createElement('script');
    script.textContent = 'window.injected = true';
    document.body.append(script);
    document.body.insertAdjacentHTML('beforeend', '<img src="data:image/gif;base64,x" onerror="window.injected = true">');
  });
  await page.waitForFunction(() => document.images[0].complete);
  assert.equal(await page.evaluate(() => window.injected), undefined);
  const refused = page.complaints.filter((text) => text.includes('Content Security Policy'));
  assert.ok(refused.length >= 2, String(page.complaints));
});

test("the gateway's own page stays at its other address", async () => {
  const page = await tab();
  await page.goto(`${gateway.home}console#token=${TOKEN}`);
  await phase(page, 'open');
  await say(page, 'still here');
  await shows(page, '.message.assistant .text', /still here/);
  assertQuiet(page);
});
