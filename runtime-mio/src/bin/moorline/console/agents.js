// The gateway's link to its agents, as the gateway tells it: apart from the page's own.
import { ago, clock, duration, el, fill, foreign } from './view.js';

/** Runs that a page is told of at once are few; forgotten ones must not pile up. */
const RUNS_KEPT = 256;

export class Agents extends EventTarget {
  constructor(link) {
    super();
    this.link = link;
    this.agents = new Map();
    link.addEventListener('hello', ({ detail: hello }) => {
      // What was missed is not known: runs that still go on are told of anew.
      if (!hello.resume.resumed) for (const agent of this.agents.values()) agent.runs.clear();
      this.health = hello.snapshot.health;
      this.take(hello.snapshot.agents);
    });
    link.addEventListener('event', ({ detail }) => detail.event === 'agent' && this.happened(detail.payload));
    link.addEventListener('probed', async () => {
      this.health = link.health ?? this.health;
      try {
        this.take((await link.request('agents.list')).agents);
      } catch {
        // The link tells of it, or the next question is answered.
      }
    });
  }

  take(list) {
    const known = this.agents;
    this.agents = new Map(list.map(({ id, name, status, isRunning, link }) => {
      const runs = known.get(id)?.runs ?? new Map();
      return [id, { runs, failure: known.get(id)?.failure ?? null, id, name, status, reach: link, busy: isRunning }];
    }));
    this.asOf = Date.now();
    this.dispatchEvent(new Event('change'));
  }

  happened({ type, agentId, runId, payload }) {
    const agent = this.agents.get(agentId);
    if (!agent) return;
    this.asOf = Date.now();
    if (type === 'run.started') {
      agent.failure = null;
      agent.runs.set(runId, Date.now());
      if (agent.runs.size > RUNS_KEPT) agent.runs.delete(agent.runs.keys().next().value);
    } else if (/^run\.(completed|failed|cancelled)$/.test(type)) {
      agent.runs.delete(runId);
      agent.busy = agent.runs.size > 0;
      agent.failure = type === 'run.failed' ? { text: String(payload?.error ?? ''), at: Date.now() } : null;
    } else return;
    this.dispatchEvent(new Event('change'));
  }

  name(id) {
    return this.agents.get(id)?.name || id;
  }

  /** `unknown`, `working`, `unreachable`, `failed` or `idle`. */
  state(agent) {
    if (!agent || !this.link.isOpen) return 'unknown';
    if (agent.runs.size || agent.busy) return 'working';
    if (agent.status && agent.status !== 'active') return 'unreachable';
    if (agent.failure) return 'failed';
    return 'idle';
  }

  /** What it was when it was heard of last. */
  words(agent) {
    const state = this.link.isOpen ? this.state(agent) : 'unknown';
    if (state === 'unknown') {
      const last = agent.failure ? 'failed' : agent.runs.size || agent.busy ? 'working' : 'idle';
      return `not known while this page is away; ${last} at ${clock(this.asOf)}`;
    }
    if (state === 'working') {
      const since = agent.runs.size ? Math.min(...agent.runs.values()) : null;
      return since ? `working for you, for ${duration(Date.now() - since)}` : 'working for somebody';
    }
    if (state === 'unreachable') {
      const at = agent.reach?.retryAtMs;
      const again = agent.status === 'unavailable' && at > Date.now() ? `; the gateway tries again at ${clock(at)}` : '';
      return `${agent.status}${again}`;
    }
    return state === 'failed' ? `failed ${ago(agent.failure.at)}` : 'idle';
  }

  show(list) {
    fill(list, [...this.agents.values()].map((agent) => {
      const item = el('li', '', el('span', `dot ${this.state(agent)}`), foreign('b', '', agent.name || agent.id), el('span', '', this.words(agent)));
      item.dataset.agent = agent.id;
      if (this.state(agent) === 'unreachable' && agent.reach?.reason) item.append(foreign('p', 'detail', agent.reach.reason));
      else if (agent.failure) item.append(foreign('p', 'detail', agent.failure.text));
      return item;
    }));
  }
}
