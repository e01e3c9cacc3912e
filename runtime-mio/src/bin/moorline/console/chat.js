// Conversations: which there are, what was said in the one that is open, and what is being said.
import { Lost } from './link.js';
import { $, bytes, clock, day, el, foreign, randomKey, setText } from './view.js';

const MESSAGES_SHOWN = 400;
const HISTORY_PAGE = 100;
const SESSIONS_SHOWN = 50;
const RUNS_KEPT = 64;
const UNSENT_KEPT = 20;
const WAITS = 'waits for its turn';
const ENDED = { 'run.completed': 'done', 'run.failed': 'failed', 'run.cancelled': 'stopped' };

export class Chat extends EventTarget {
  constructor(link, agents) {
    super();
    Object.assign(this, { link, agents, session: null, items: [], runs: new Map(), unsent: [], unfinished: new Map(), sessions: [], sending: false, isAtEnd: true });
    link.addEventListener('hello', ({ detail }) => this.arrived(detail));
    link.addEventListener('event', ({ detail }) => this.happened(detail));
    link.addEventListener('change', () => {
      this.showButtons();
      for (const run of this.runs.values()) if (run.item && run.state === 'working') this.markRun(run);
    });
    $('composer').addEventListener('submit', (event) => {
      event.preventDefault();
      this.say();
    });
    $('say').addEventListener('keydown', (event) => {
      if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        this.say();
      }
    });
    $('stop').addEventListener('click', () => this.stop());
    $('new').addEventListener('click', () => {
      this.open(null);
      $('say').focus();
    });
    $('agent').addEventListener('change', () => this.session && this.open(null));
    agents.addEventListener('change', () => this.showAgents());
    const log = $('log');
    log.addEventListener('scroll', () => {
      this.isAtEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 120;
    });
    // A notice above it takes room away: who was looking at the end still does.
    new ResizeObserver(() => this.atEnd(() => {})).observe(log);
  }

  /** Another user sees nothing of this one. */
  forget() {
    Object.assign(this, { unsent: [], sessions: [], sending: false });
    this.unfinished.clear();
    this.runs.clear();
    this.open(null);
    this.showSessions();
  }

  async arrived(hello) {
    this.sending = false;
    this.refreshSessions();
    if (!hello.resume.resumed) {
      this.runs.clear();
      const open = [...this.unfinished.values()];
      this.unfinished.clear();
      this.sayAgain(open, await this.reload(this.link.cameBack));
    }
    this.send();
  }

  /**
   * A gateway that was killed has forgotten what it was answering: the same message under the same key goes on
   * where it was. Only what has no answer yet is said again: keys are not remembered for ever.
   */
  sayAgain(open, history) {
    const last = history?.messages.at(-1);
    if (last?.role !== 'user') return;
    const message = open.find(({ session, text }) => session === this.session && text.startsWith(last.content));
    if (message) this.unsent.unshift({ ...message, item: null });
  }

  // ---- Sessions

  async refreshSessions() {
    try {
      const { sessions } = await this.link.request('sessions.list', { limit: SESSIONS_SHOWN });
      this.sessions = sessions;
      this.showSessions();
    } catch {
      // They stay as they were: the next change asks again.
    }
  }

  /** Several changes come at once: they are asked for once. */
  refreshSoon() {
    clearTimeout(this.refreshing);
    this.refreshing = setTimeout(() => this.link.isOpen && this.refreshSessions(), 300);
  }

  showSessions() {
    const own = this.link.hello?.user_id;
    const focused = document.activeElement?.dataset.session;
    $('sessions').replaceChildren(...this.sessions.map((session) => {
      const title = session.label || `Chat ${session.key.split(':').at(-1).slice(0, 8)}`;
      const whose = session.userId === own ? '' : ` · ${session.userId}`;
      const about = `${this.agents.name(session.agentId)} · ${session.messageCount} ${session.messageCount === 1 ? 'message' : 'messages'} · ${day(session.updated)}${whose}`;
      const button = el('button', 'session', foreign('b', '', title), foreign('span', 'about', about));
      button.type = 'button';
      button.dataset.session = session.key;
      if (session.key === this.session) button.setAttribute('aria-current', 'true');
      button.addEventListener('click', () => this.open(session.key, session.agentId));
      return el('li', '', button);
    }));
    if (focused) [...$('sessions').querySelectorAll('button')].find((button) => button.dataset.session === focused)?.focus();
    $('no-sessions').hidden = this.sessions.length > 0;
  }

  open(session, agent) {
    this.session = session;
    if (agent) $('agent').value = agent;
    this.items = [];
    this.isAtEnd = true;
    $('log').replaceChildren();
    for (const each of $('sessions').querySelectorAll('button')) {
      if (each.dataset.session === session) each.setAttribute('aria-current', 'true');
      else each.removeAttribute('aria-current');
    }
    this.showButtons();
    if (session) this.reload(false);
  }

  /** What the store has, then what is under way, then what has not been sent. */
  async reload(away) {
    const { session } = this;
    if (!session) return null;
    let history;
    try {
      history = await this.link.request('chat.history', { sessionKey: session, limit: HISTORY_PAGE });
    } catch (error) {
      if (this.session === session && !(error instanceof Lost)) this.unread(error);
      return null;
    }
    if (this.session !== session) return null;
    this.items = [];
    $('log').replaceChildren();
    if (history.more) this.note('Older messages are not shown.');
    for (const message of history.messages) {
      this.add({ id: message.id, role: message.role, text: message.content, at: message.ts, media: message.media });
    }
    if (away) this.note('This page was away and could not be told everything; the conversation was read again.');
    for (const run of [...this.runs.values()].filter((run) => run.session === session)) {
      run.item = null;
      // What had ended before this answer came is in it.
      if (run.state === 'working') this.showRun(run);
      else this.runs.delete(run.id);
    }
    for (const message of this.unsent.filter((message) => message.session === session && message.item)) message.item = this.add(message.shown);
    return history;
  }

  unread(error) {
    if (error.code !== 'NOT_FOUND') {
      this.note(`The conversation could not be read: ${error.code} ${error.message}`);
      return;
    }
    const waiting = this.unsent.filter((message) => message.session === this.session);
    this.open(null);
    this.note('The gateway does not know this conversation any more; a new one begins.');
    for (const message of waiting) Object.assign(message, { session: null, item: this.add(message.shown) });
  }

  // ---- Messages on the screen

  /** `shown` is `{role, text, at, id, media, state}`. */
  add(shown) {
    const text = document.createTextNode(String(shown.text ?? ''));
    const body = el('div', 'text', text);
    body.dir = 'auto';
    const state = el('span', 'state');
    const who = { user: 'You', assistant: this.agents.name($('agent').value) || 'Agent' }[shown.role] ?? shown.role;
    const head = el('header', '', foreign('b', '', who), el('time', '', clock(shown.at ?? Date.now())), state);
    const element = el('article', `message ${shown.role === 'user' ? 'user' : 'assistant'}`, head, body);
    for (const media of (shown.media ?? []).slice(0, 16)) element.append(foreign('div', 'media', media.path ?? media));
    const item = { ...shown, text, element, state, runId: null };
    this.atEnd(() => $('log').append(element));
    this.items.push(item);
    if (this.items.length > MESSAGES_SHOWN) this.items.shift().element.remove();
    this.mark(item, shown.state ?? '');
    return item;
  }

  /** Keeps the end in sight for who was looking at it. */
  atEnd(change) {
    change();
    if (this.isAtEnd) $('log').scrollTop = $('log').scrollHeight;
  }

  mark(item, state, detail = '') {
    if (!item) return;
    setText(item.state, state);
    item.element.dataset.state = state;
    item.problem?.remove();
    item.problem = detail ? foreign('p', 'problem', detail) : null;
    if (detail) this.atEnd(() => item.element.append(item.problem));
  }

  note(text) {
    this.atEnd(() => $('log').append(el('p', 'note', text)));
  }

  // ---- Saying something

  say() {
    const text = $('say').value;
    if (!text.trim() || !this.link.hello) return;
    if (this.unsent.length >= UNSENT_KEPT) return this.objectTo(`${UNSENT_KEPT} messages wait for the connection already.`);
    const message = { key: randomKey(), session: this.session, agent: $('agent').value, text };
    message.shown = { role: 'user', text, at: Date.now(), state: 'sending' };
    const limit = this.link.hello.policy.maxPayload;
    if (bytes(JSON.stringify(text)) + 1024 > limit) {
      return this.objectTo(`This is longer than the gateway takes at once (${Math.floor(limit / 1024)} KiB). Send it in pieces.`);
    }
    this.objectTo('');
    $('say').value = '';
    message.item = this.add(message.shown);
    $('log').scrollTop = $('log').scrollHeight;
    this.unsent.push(message);
    return this.send();
  }

  objectTo(why) {
    $('objection').hidden = !why;
    setText($('objection'), why);
  }

  /**
   * One after the other: the first of a new conversation makes it. What a lost connection left open is sent
   * again under its key, and the gateway does it once.
   */
  async send() {
    if (this.sending || !this.link.isOpen) return;
    const [message] = this.unsent;
    if (!message) return;
    const { socket } = this.link;
    this.sending = true;
    try {
      const answer = await this.link.request('chat.send', {
        message: message.text, agentId: message.agent, idempotencyKey: message.key, ack: true,
        ...(message.session ? { sessionKey: message.session } : {}),
      });
      if (this.unsent[0] === message) this.taken(message, answer);
    } catch (error) {
      if (error instanceof Lost) {
        if (this.unsent[0] === message) this.mark(message.item, 'waits for the connection');
        return;
      }
      if (this.unsent[0] === message) {
        this.unsent.shift();
        this.mark(message.item, 'not sent', `${error.code}: ${error.message}`);
        if (message.item) this.offerAgain(message);
      }
    } finally {
      if (this.link.socket === socket) this.sending = false;
    }
    this.send();
  }

  taken(message, answer) {
    this.unsent.shift();
    const wasNew = message.session === null;
    message.session = answer.sessionKey;
    if (message.item) message.item.runId = answer.runId ?? null;
    const run = this.runs.get(answer.runId);
    if (answer.runId && (!run || run.state === 'working')) {
      this.unfinished.set(answer.runId, message);
      if (this.unfinished.size > UNSENT_KEPT) this.unfinished.delete(this.unfinished.keys().next().value);
    }
    this.mark(message.item, answer.queued ? WAITS : '');
    if (wasNew) {
      // What else was said meanwhile belongs to the same conversation.
      for (const other of this.unsent) if (other.session === null) other.session = answer.sessionKey;
      if (this.session === null && message.item && this.items.includes(message.item)) {
        this.session = answer.sessionKey;
        for (const run of this.runs.values()) if (run.session === this.session && !run.item) this.showRun(run);
      }
      this.refreshSoon();
    }
    this.showButtons();
  }

  offerAgain(message) {
    const again = el('button', 'again', 'Send again');
    again.type = 'button';
    again.addEventListener('click', () => {
      again.remove();
      this.mark(message.item, 'sending');
      this.unsent.push({ ...message, key: randomKey() });
      this.send();
    });
    message.item.problem.append(' ', again);
  }

  async stop() {
    try {
      await this.link.request('chat.abort', { sessionKey: this.session });
    } catch (error) {
      if (!(error instanceof Lost)) this.note(`It could not be stopped: ${error.code} ${error.message}`);
    }
  }

  // ---- What the gateway tells

  happened({ event, payload }) {
    if (event === 'agent') this.runHappened(payload);
    else if (event === 'chat.turn') this.turnHappened(payload);
    else if (event === 'session.updated') {
      this.refreshSoon();
      if (payload.sessionKey !== this.session) return;
      if (payload.change === 'deleted') {
        this.open(null);
        this.note('The conversation was deleted.');
      } else if (payload.change !== 'patched') this.reload(false);
    }
  }

  turnHappened({ runId, turnId, state }) {
    const item = this.items.find((item) => item.runId !== null && (item.runId === runId || item.runId === turnId));
    if (item && state === 'cancelled') this.mark(item, 'taken back');
  }

  runHappened({ type, runId, sessionKey, agentId, payload }) {
    if (type === 'run.started') {
      const run = { id: runId, session: sessionKey, agent: agentId, question: payload?.message ?? '', content: '', size: 0, state: 'working', item: this.runs.get(runId)?.item ?? null };
      this.runs.set(runId, run);
      if (this.runs.size > RUNS_KEPT) this.runs.delete(this.runs.keys().next().value);
      if (sessionKey === this.session) this.showRun(run);
      this.refreshSoon();
    }
    const run = this.runs.get(runId);
    if (!run) {
      if (Object.hasOwn(ENDED, type) && sessionKey === this.session) this.reload(false);
      return;
    }
    if (type === 'chunk') this.chunk(run, String(payload.content), payload.offset);
    if (Object.hasOwn(ENDED, type)) {
      Object.assign(run, { state: ENDED[type], error: payload?.error });
      this.unfinished.delete(runId);
      // It repeats the whole answer: whatever did not arrive is in it.
      if (type === 'run.completed') this.setContent(run, String(payload.content));
      this.refreshSoon();
    }
    if (run.item) this.markRun(run);
    if (run.state !== 'working' && sessionKey !== this.session) this.runs.delete(runId);
    this.showButtons();
  }

  chunk(run, text, offset) {
    if (offset === 0) this.setContent(run, text);
    else if (offset === undefined || offset === run.size) {
      run.content += text;
      run.size += bytes(text);
      if (run.item) this.atEnd(() => run.item.text.appendData(text));
    }
  }

  setContent(run, text) {
    const changed = run.content !== text;
    Object.assign(run, { content: text, size: bytes(text) });
    if (run.item && changed) this.atEnd(() => run.item.text.replaceData(0, run.item.text.length, text));
  }

  showRun(run) {
    if (run.item && this.items.includes(run.item)) return this.setContent(run, run.content);
    this.question(run);
    run.item = this.add({ role: 'assistant', text: run.content, at: Date.now() });
    run.item.element.dataset.run = run.id;
    this.markRun(run);
    return undefined;
  }

  /** The message that a run answers: one of this page's, one of the history, or one that was said elsewhere. */
  question(run) {
    const last = this.items.findLastIndex((item) => item.role !== 'user');
    const open = this.items.slice(last + 1).filter((item) => item.runId === null && !item.answered);
    // The gateway cuts what is too long.
    const found = this.items.find((item) => item.runId === run.id) ?? open.find((item) => item.text.data.startsWith(run.question));
    const item = found ?? this.add({ role: 'user', text: run.question, at: Date.now() });
    item.answered = true;
    if (item.state.textContent === WAITS) {
      // It is said now.
      this.mark(item, '');
      this.items.push(...this.items.splice(this.items.indexOf(item), 1));
      $('log').append(item.element);
    }
  }

  markRun(run) {
    const words = { working: this.link.isOpen ? 'is answering' : 'cut off', done: '', failed: 'failed', stopped: 'stopped' };
    // It is read out when it is whole.
    run.item.element.setAttribute('aria-busy', String(run.state === 'working'));
    this.mark(run.item, words[run.state], run.state === 'failed' ? String(run.error ?? 'The agent gave no reason.') : '');
  }

  get isAnswering() {
    return [...this.runs.values()].some((run) => run.session === this.session && run.state === 'working');
  }

  showButtons() {
    $('stop').disabled = !(this.session && this.isAnswering && this.link.isOpen);
    $('send').disabled = !this.link.hello;
  }

  showAgents() {
    const select = $('agent');
    const ids = [...this.agents.agents.keys()];
    if (ids.join('\n') !== [...select.options].map((option) => option.value).join('\n')) {
      const { value } = select;
      select.replaceChildren(...ids.map((id) => {
        const option = el('option', '', this.agents.name(id));
        option.value = id;
        return option;
      }));
      if (ids.includes(value)) select.value = value;
    }
    this.dispatchEvent(new Event('change'));
  }
}
