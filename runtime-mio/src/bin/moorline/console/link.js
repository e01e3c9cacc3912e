// The page's own link to the gateway: a socket, its life signs, its end, and coming back.
import { SILENT, explain, explainLogin, explainRefusal } from './endings.js';

const CONNECT_WITHIN = 15_000;
const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 30_000;
/** A connection that held this long was a good one: the next pause is a short one again. */
const HELD = 10_000;
/** Until the gateway has told its own. */
const POLICY = { pingIntervalMs: 25_000, readTimeoutMs: 60_000, maxPayload: 16 * 1024 };
const ENDINGS_KEPT = 8;

/** A request that was answered with an error. */
export class Refused extends Error {
  constructor({ code, message, details, retryable, retryAfterMs }) {
    super(String(message));
    Object.assign(this, { code: String(code), details, retryable, retryAfterMs });
  }
}

/** A request whose connection ended before the answer: it may have been done or not. */
export class Lost extends Error {}

/**
 * Phases: `idle`, `connecting`, `login`, `pairing`, `open`, `waiting` (for the next attempt), `ended` (nobody
 * comes back by itself), `refused` (the login). Events: `change`; `hello` with the answer to `connect`;
 * `event` with what the gateway sends by itself.
 */
export class Link extends EventTarget {
  constructor(url) {
    super();
    this.url = url;
    this.phase = 'idle';
    this.endings = [];
    this.attempts = 0;
    this.next = 0;
    this.lastTick = Date.now();
    setInterval(() => this.tick(), 500);
    addEventListener('online', () => this.hurry());
    document.addEventListener('visibilitychange', () => document.hidden || this.hurry());
    // A closed page needs nothing kept for it. One that comes back from the browser's cache connects anew.
    addEventListener('pagehide', () => this.socket?.close(1000));
    addEventListener('pageshow', (shown) => shown.persisted && this.credentials && this.hurry(true));
  }

  /** Logs in as somebody; what belonged to the login before is forgotten, unless only its time was over. */
  login(credentials) {
    const expired = this.phase === 'ended' && this.ending.reason === 'credential expired';
    const goesOn = expired && this.credentials.user === credentials.user;
    const { resume, hello } = this;
    this.leave();
    Object.assign(this, { credentials, attempts: 0 }, goesOn ? { resume, hello } : {});
    this.connect();
  }

  /** Ends for good: the gateway keeps nothing for a client that says goodbye. */
  leave() {
    this.drop(1000);
    Object.assign(this, { credentials: null, resume: null, hello: null, pairing: null });
    this.become('idle');
  }

  /** Tries again at once. */
  hurry(always = false) {
    if (this.phase === 'waiting' || (always && ['ended', 'refused'].includes(this.phase))) this.connect();
  }

  get isOpen() {
    return this.phase === 'open';
  }

  /** The payload of the answer; throws `Refused` or `Lost`. */
  request(method, params = {}) {
    const { socket } = this;
    if (socket?.readyState !== WebSocket.OPEN) return Promise.reject(new Lost());
    const id = String(++this.next);
    return new Promise((resolve, reject) => {
      socket.pending.set(id, { resolve, reject });
      socket.send(JSON.stringify({ type: 'req', id, method, params }));
    });
  }

  become(phase, more = {}) {
    Object.assign(this, { phase, since: Date.now() }, more);
    this.changed();
  }

  changed() {
    this.dispatchEvent(new Event('change'));
  }

  connect() {
    this.drop(SILENT);
    const socket = new WebSocket(this.url);
    Object.assign(socket, { pending: new Map(), opened: false, probe: null, asked: 0 });
    Object.assign(this, { socket, attempts: this.attempts + 1, connectBy: Date.now() + CONNECT_WITHIN });
    // What a socket says that is not the current one any more is of no interest.
    const mine = (act) => (event) => this.socket === socket && act(event);
    socket.addEventListener('open', mine(() => {
      socket.opened = true;
      this.openedAt = this.heardAt = Date.now();
      this.become('login');
      this.sayHello();
    }));
    socket.addEventListener('message', mine(({ data }) => this.heard(data)));
    socket.addEventListener('close', mine(({ code, reason }) => this.closed(code, reason, false)));
    this.become('connecting');
  }

  /** Lets go of the socket without waiting for its end. */
  drop(code) {
    const { socket } = this;
    if (!socket) return;
    this.socket = null;
    for (const { reject } of socket.pending.values()) reject(new Lost());
    socket.close(code);
  }

  async sayHello() {
    const { token, user, senderId } = this.credentials;
    const { socket, resume } = this;
    const sent = performance.now();
    try {
      const hello = await this.request('connect', {
        user_id: user, protocol: 3,
        client: { id: 'moorline-console', platform: 'web' },
        ...(token ? { token } : senderId ? { sender_id: senderId } : {}),
        ...(resume ? { resume } : {}),
      });
      if (this.socket === socket) this.welcomed(hello, performance.now() - sent);
    } catch (error) {
      if (this.socket === socket && error instanceof Refused) this.turnedAway(error);
    }
  }

  welcomed(hello, roundTrip) {
    this.roundTrip = roundTrip;
    this.server = hello.server;
    if (hello.status === 'pending_pairing') {
      this.credentials.senderId = hello.sender_id;
      this.pairing = { code: hello.pairing_code, expiresAt: hello.expiresAtMs, senderId: hello.sender_id };
      this.resume = null;
      this.become('pairing');
      return;
    }
    this.pairing = null;
    this.shutdown = null;
    this.hello = hello;
    // A new link counts its events from 1.
    const lastSeq = hello.resume.resumed ? this.resume?.lastSeq ?? 0 : 0;
    this.cameBack = this.resume !== null;
    this.resume = { token: hello.resume.token, lastSeq };
    this.missing = 0;
    this.become('open');
    this.dispatchEvent(new CustomEvent('hello', { detail: hello }));
  }

  turnedAway(error) {
    if (['UNAVAILABLE', 'INTERNAL', 'AGENT_TIMEOUT'].includes(error.code)) {
      this.drop(SILENT);
      this.ended({ ...explain(1013, error.message, true), title: `Not logged in: ${error.code}`, meaning: `The gateway cannot log anybody in now (${error.code}).` },
        error.retryAfterMs);
      return;
    }
    this.drop(1000);
    this.resume = null;
    this.become('refused', { refusal: { ...explainLogin(error), code: error.code, text: error.message, credential: error.details?.credential } });
  }

  heard(data) {
    this.heardAt = Date.now();
    let frame;
    try {
      frame = JSON.parse(data);
    } catch {
      return;
    }
    if (frame?.type === 'res') this.answered(frame);
    else if (frame?.type === 'event') this.happened(frame);
  }

  answered({ id, ok, payload, error }) {
    const waiting = this.socket.pending.get(id);
    if (!waiting) return;
    this.socket.pending.delete(id);
    if (ok) waiting.resolve(payload);
    else waiting.reject(new Refused(error ?? {}));
  }

  happened(frame) {
    const { seq, event, payload } = frame;
    if (this.resume && Number.isInteger(seq)) {
      const first = event === 'lagged' ? payload.from : seq;
      this.missing += Math.max(0, first - this.resume.lastSeq - 1);
      this.resume.lastSeq = Math.max(this.resume.lastSeq, seq);
    }
    if (event === 'shutdown') {
      this.shutdown = { reason: payload.reason, backAt: Number.isFinite(payload.restartExpectedMs) ? Date.now() + payload.restartExpectedMs : null };
      this.changed();
    }
    if (event === 'device.pair.resolved' && this.phase === 'pairing') this.pairingResolved(payload.action);
    this.dispatchEvent(new CustomEvent('event', { detail: frame }));
  }

  pairingResolved(action) {
    if (action === 'approved') {
      this.sayHello();
      return;
    }
    this.drop(1000);
    this.credentials.senderId = null;
    this.become('refused', {
      pairing: null,
      refusal: { code: 'NOT_PAIRED', meaning: `This browser was not let in: the request is ${action}.`, action: 'Ask again, or log in with a token.' },
    });
  }

  async closed(code, reason, byPage) {
    const { socket } = this;
    const wasOpen = socket.opened;
    this.socket = null;
    for (const { reject } of socket.pending.values()) reject(new Lost());
    if (wasOpen) {
      if (Date.now() - this.openedAt >= HELD) this.attempts = 0;
      const { shutdown } = this;
      const pause = shutdown?.backAt ? Math.max(0, shutdown.backAt - Date.now()) : 0;
      this.ended({ ...explain(code, reason, byPage), lasted: Date.now() - this.openedAt }, pause);
      return;
    }
    this.become('connecting', { socket: null, connectBy: Infinity });
    const looking = this.credentials;
    const found = await this.findOut();
    if (this.socket === null && this.phase === 'connecting' && this.credentials === looking) {
      this.ended({ code: 1006, reason: '', by: found.what === 'unreachable' ? 'nobody who said so' : 'the gateway', ...explainRefusal(found) });
    }
  }

  /** Why a handshake failed: a browser says nothing but 1006, so the gateway is asked by plain HTTP. */
  async findOut() {
    const within = () => ({ cache: 'no-store', redirect: 'error', signal: AbortSignal.timeout(5_000) });
    const at = new URL(this.url);
    at.protocol = at.protocol.replace('ws', 'http');
    try {
      // Of requests to their own origin, browsers name the origin with POST only: it is judged as the upgrade was.
      const answer = await fetch(at, { method: 'POST', ...within() });
      if (answer.status === 403) return { what: 'forbidden', text: (await answer.text()).trim().slice(0, 400) };
      if (answer.status !== 405) return { what: 'status', status: answer.status };
      const ready = await fetch(new URL('ready', at), within());
      const checks = ready.status === 503 ? (await ready.json()).checks : [];
      const failing = checks.filter((check) => !check.ok).map((check) => String(check.name));
      return failing.length ? { what: 'unready', text: failing.join(', ') } : { what: 'upgrade' };
    } catch {
      return { what: 'unreachable' };
    }
  }

  ended(ending, pause = 0) {
    this.ending = { ...ending, at: Date.now() };
    this.endings = [this.ending, ...this.endings].slice(0, ENDINGS_KEPT);
    if (ending.then === 'again') {
      this.become('waiting', { retryAt: Date.now() + Math.max(pause, this.backoff()) });
    } else {
      if (ending.then === 'login') this.credentials.token = null;
      this.become('ended');
    }
  }

  /** Doubled each time, and another one for each client: they must not all come at once. */
  backoff() {
    const most = Math.min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** Math.min(this.attempts, 10));
    return most * (0.5 + Math.random() / 2);
  }

  tick() {
    const now = Date.now();
    const slept = now - this.lastTick > 10_000;
    this.lastTick = now;
    if (this.phase === 'waiting' && now >= this.retryAt) this.connect();
    if (this.phase === 'connecting' && this.socket && now >= this.connectBy) {
      this.socket.close();
      this.closed(SILENT, '', true);
    }
    if (['login', 'open', 'pairing'].includes(this.phase)) this.watch(now, slept);
  }

  /**
   * Pages do not see the gateway's Pings, so a cheap question is asked as often as those come. A page that slept
   * must not take its own silence for the gateway's: it asks first.
   */
  watch(now, slept) {
    const { socket } = this;
    const { pingIntervalMs, readTimeoutMs } = { ...POLICY, ...this.hello?.policy };
    const patience = Math.max(readTimeoutMs - pingIntervalMs, 1_000);
    // Of a page in the background the clock is slow all the time: then two questions without an answer are enough.
    if (slept && socket.asked > 1 && now - this.heardAt >= readTimeoutMs) slept = false;
    if (this.phase === 'login' || (socket.probe && !slept)) {
      if (now - Math.max(this.heardAt, socket.probe ?? this.since) >= patience) {
        socket.close(SILENT);
        this.closed(SILENT, '', true);
      }
    } else if (slept || now - (socket.probed ?? this.since) >= pingIntervalMs) {
      this.ask(socket, now);
    }
  }

  async ask(socket, now) {
    socket.probe = socket.probed = now;
    socket.asked += 1;
    const sent = performance.now();
    try {
      if (this.phase === 'pairing') {
        const { status } = await this.request('browser.pairing.status', { sender_id: this.pairing.senderId });
        if (status !== 'pending' && this.phase === 'pairing' && this.socket === socket) this.pairingResolved(status);
      } else {
        this.health = await this.request('health');
      }
    } catch (error) {
      if (error instanceof Lost) return;
      // Any answer is a sign of life.
    }
    if (this.socket !== socket) return;
    Object.assign(socket, { probe: null, asked: 0 });
    this.roundTrip = performance.now() - sent;
    this.changed();
    if (this.isOpen) this.dispatchEvent(new Event('probed'));
  }
}
