// Starts the real binary and talks to it with npm's `ws` and node's own HTTP client.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import http from 'node:http';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import path from 'node:path';
import readline from 'node:readline';
import { after } from 'node:test';

// `ws` lives outside the source tree, and only require() looks into NODE_PATH.
export const WebSocket = createRequire(import.meta.url)('ws');

export const TOKEN = 'token-of-the-client-tests';

/** Fails with the name of what did not happen, instead of hanging. */
export async function within(what, promise, ms = 10_000) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`${what} did not come within ${ms} ms`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

const servers = [];
const folders = [];

export class Server {
  constructor(...args) {
    this.log = path.join(process.env.CLIENTS_LOGS, `${path.basename(process.argv[1])}-${servers.push(this)}.log`);
    const log = openSync(this.log, 'w');
    this.child = spawn(process.env.CLIENTS_BINARY, args, { stdio: ['ignore', 'pipe', log] });
    closeSync(log);
    this.lines = [];
    this.exit = once(this.child, 'exit').then(([code, signal]) => code ?? signal);
    readline.createInterface({ input: this.child.stdout }).on('line', (line) => {
      this.lines.push(line);
      this.child.emit('line');
    });
  }

  /** The first line on stdout that starts with `prefix`. */
  async line(prefix) {
    const exit = this.exit.then((code) => {
      throw new Error(`exited with ${code} before it printed "${prefix}": ${this.stderr}`);
    });
    const look = async () => {
      for (;;) {
        const line = this.lines.find((line) => line.startsWith(prefix));
        if (line !== undefined) return line;
        await once(this.child, 'line');
      }
    };
    return within(`"${prefix}" on stdout`, Promise.race([look(), exit]));
  }

  get stderr() {
    return readFileSync(this.log, 'utf8');
  }

  async kill(signal = 'SIGKILL') {
    this.child.kill(signal);
    return within(`the exit after ${signal}`, this.exit);
  }

  /** Reads the address from the line that announces it, then waits for the last line of the start. */
  async ready(announcement, last = announcement) {
    try {
      this.url = (await this.line(announcement)).slice(announcement.length).trim();
      this.port = Number(new URL(this.url).port);
      await this.line(last);
    } catch (error) {
      await this.kill();
      throw error;
    }
    return this;
  }
}

after(async () => {
  await Promise.all(servers.map((server) => server.kill()));
  for (const folder of folders) rmSync(folder, { recursive: true, force: true });
});

export function stateFolder() {
  const folder = mkdtempSync(path.join(tmpdir(), 'moorline-clients-'));
  folders.push(folder);
  return folder;
}

export function startEcho(...extra) {
  return new Server('echo', '--listen', '127.0.0.1:0', ...extra).ready('moorline echo listening on ');
}

/** The arguments of a gateway; `token: null` leaves the token to the gateway. */
export function serve({ listen = '127.0.0.1:0', state = stateFolder(), token = TOKEN, extra = [] } = {}) {
  const given = token === null ? [] : ['--token', token];
  return ['serve', '--listen', listen, '--state-dir', state, ...given, ...extra];
}

export function startGateway(options) {
  return new Server(...serve(options)).ready('moorline gateway listening on ', 'try: ');
}

/** One `ws` connection and everything it received: text as string, binary as Buffer. */
export class Peer {
  static async open(url, options) {
    const peer = new this(new WebSocket(url, options));
    await within('the upgrade', once(peer.ws, 'open'));
    return peer;
  }

  constructor(ws, decode = (data) => data) {
    this.ws = ws;
    this.received = [];
    this.taken = 0;
    this.closed = new Promise((resolve) => {
      ws.on('close', (code, reason) => {
        this.ending = { code, reason: reason.toString() };
        resolve(this.ending);
      });
    });
    ws.on('error', () => {}); // followed by 'close'
    ws.on('message', (data, binary) => this.received.push(decode(binary ? data : data.toString())));
  }

  send(data, options) {
    this.ws.send(data, options);
  }

  /** The next message that was not taken yet. */
  async next() {
    const index = this.taken++;
    return this.find('a message', () => this.received[index]);
  }

  /** Waits until `look` finds something in what was received. */
  async find(what, look) {
    const search = async () => {
      for (;;) {
        const found = look();
        if (found !== undefined) return found;
        if (this.ending) throw new Error(`${JSON.stringify(this.ending)} before ${what} came`);
        await Promise.race([once(this.ws, 'message'), this.closed]);
      }
    };
    return within(what, search());
  }

  async ended(ms) {
    return within('the close', this.closed, ms);
  }

  async close(code, reason) {
    this.ws.close(code, reason);
    return this.ended();
  }
}

/** A gateway client: requests, their answers, and the events in between. */
export class Client extends Peer {
  /** Opens a socket and logs in; `hello` is the payload of the answer. */
  static async connect(server, { user = 'ana', token = TOKEN } = {}) {
    const client = await Client.open(server.url);
    client.hello = await client.call('connect', { token, user_id: user });
    return client;
  }

  constructor(ws) {
    super(ws, JSON.parse);
    this.requests = 0;
  }

  /** The first frame, from index `from` on, that matches. */
  async until(what, matches, from = 0) {
    return this.find(what, () => this.received.slice(from).find(matches));
  }

  /** Sends text or bytes as they are and gives the next `res` frame. */
  async answer(raw) {
    const from = this.received.length;
    this.send(raw);
    return this.until('an answer', (frame) => frame.type === 'res', from);
  }

  async request(method, params) {
    const id = `r${++this.requests}`;
    this.send(JSON.stringify({ type: 'req', id, method, params }));
    return this.until(`the answer to ${method}`, (frame) => frame.type === 'res' && frame.id === id);
  }

  /** The payload of a request that succeeds. */
  async call(method, params) {
    const answer = await this.request(method, params);
    assert.equal(answer.ok, true, `${method}: ${JSON.stringify(answer)}`);
    return answer.payload;
  }

  /** The error of a request that is refused. */
  async refused(method, params) {
    const answer = await this.request(method, params);
    assert.equal(answer.ok, false, `${method}: ${JSON.stringify(answer)}`);
    assert.equal(typeof answer.error.retryable, 'boolean');
    return answer.error;
  }

  async say(message, params) {
    return this.call('chat.send', { agentId: 'echo', message, ...params });
  }

  /** The run events received so far, of one type if named. */
  runEvents(type) {
    const events = this.received.filter((frame) => frame.event === 'agent').map((frame) => frame.payload);
    return type ? events.filter((event) => event.type === type) : events;
  }

  /** Waits for a run event. */
  async runEvent(type, matches = () => true) {
    return this.find(`agent event ${type}`, () => this.runEvents(type).find(matches));
  }
}

/** Repeats a request until its answer is as wanted: for what another loop tells this one. */
export async function eventually(what, ask, wanted) {
  const deadline = Date.now() + 5_000;
  for (;;) {
    const answer = await ask();
    if (wanted(answer)) return answer;
    assert.ok(Date.now() < deadline, `${what} did not come true: ${JSON.stringify(answer)}`);
  }
}

export const UPGRADE = {
  Connection: 'Upgrade',
  Upgrade: 'websocket',
  'Sec-WebSocket-Key': 'dGhlIHNhbXBsZSBub25jZQ==',
  'Sec-WebSocket-Version': '13',
};

/** One request with node's own HTTP client; an accepted upgrade shows as status 101. */
export async function request(server, { method = 'GET', path = '/', headers = {} } = {}) {
  const sent = http.request({ host: '127.0.0.1', port: server.port, method, path, headers, agent: false });
  const response = new Promise((resolve, reject) => {
    sent.on('error', reject);
    sent.on('upgrade', (response, socket) => {
      socket.destroy();
      resolve({ status: response.statusCode, headers: response.headers, body: '' });
    });
    sent.on('response', async (response) => {
      const body = (await response.setEncoding('utf8').toArray()).join('');
      resolve({ status: response.statusCode, headers: response.headers, body });
    });
  });
  sent.end();
  return within(`the answer to ${method} ${path.slice(0, 80)}`, response);
}
