// OpenClaw's Control UI, as it is published, from `--ui-dir`: it is let in, chats, and comes back.
import assert from 'node:assert/strict';
import { on } from 'node:events';
import { test } from 'node:test';
import { WebSocket, within } from '../clients/node/support.mjs';
import { TOKEN, assertQuiet, gatewayOf, picture, tab } from './support.mjs';

const gateway = await gatewayOf({}, { extra: ['--ui-dir', process.env.CONTROL_UI_DIR] });

/** What the page asks for over HTTP and does well without. */
const ABSENT = /^Failed to load resource: the server responded with a status of 404/;

/** Lets the one device in that waits, as somebody at the gateway's own terminal does. */
async function approve() {
  const socket = new WebSocket(`ws://127.0.0.1:${gateway.port}/`);
  const messages = on(socket, 'message');
  const next = async (what) => JSON.parse((await within(what, messages.next())).value[0]);
  const call = async (method, params) => {
    socket.send(JSON.stringify({ type: 'req', id: method, method, params }));
    for (;;) {
      const message = await next(`the answer to ${method}`);
      if (message.id !== method) continue;
      assert.equal(message.ok, true, JSON.stringify(message));
      return message.payload;
    }
  };
  await next('a challenge');
  await call('connect', {
    minProtocol: 4, maxProtocol: 4, role: 'operator', scopes: ['operator.admin', 'operator.pairing'], auth: { token: TOKEN },
    client: { id: 'cli', version: '1', platform: 'linux', mode: 'cli' },
  });
  const { pending } = await call('device.pair.list', {});
  assert.equal(pending.length, 1);
  await call('device.pair.approve', { requestId: pending[0].requestId });
  socket.close();
}

const composer = (page) => page.locator('textarea:visible').first();

/** Waits until a text is in the conversation so many times, and nothing is under way. */
async function atRest(page, text, times) {
  await page.waitForFunction(([text, times]) => {
    const bubbles = [...document.querySelectorAll('.chat-bubble')].filter((bubble) => bubble.innerText.trim() === text);
    return bubbles.length === times && !document.body.innerText.includes('Working');
  }, [text, times], { polling: 100 }).catch(async () => {
    assert.fail(`"${text}" is not there ${times} times, or is being worked on: ${await page.evaluate(() => document.body.innerText)}`);
  });
}

test('the page is let in once, chats, and finds its conversation again', async () => {
  const page = await tab({ viewport: { width: 1200, height: 800 } });
  await page.goto(`${gateway.home}#token=${TOKEN}`);
  await page.getByText('Approve this browser').waitFor();
  await picture(page, 'control-ui-approve');
  assert.ok(!page.url().includes(TOKEN), page.url());
  await approve();
  await page.getByRole('button', { name: 'Connect', exact: true }).click();
  for (const text of ['hello out there', 'and once more']) {
    await composer(page).fill(text);
    await composer(page).press('Enter');
    // What was said, and the echo.
    await atRest(page, text, 2);
  }
  await picture(page, 'control-ui-chat');
  const address = page.url();
  assert.match(address, /\/chat\/main/);
  await page.reload();
  await composer(page).waitFor();
  await atRest(page, 'and once more', 2);
  assert.equal(page.url(), address);
  // What a page says while there is no gateway is not ours.
  assertQuiet(page, ABSENT);
  // Another tab of the same browser needs no decision any more; nor does it after a restart.
  await gateway.kill('SIGTERM');
  const again = await gateway.restart();
  const other = await page.context().newPage();
  other.setDefaultTimeout(15_000);
  await other.goto(`${again.home}chat/main#token=${TOKEN}`);
  await composer(other).waitFor();
  await atRest(other, 'hello out there', 2);
  await picture(other, 'control-ui-again');
});
