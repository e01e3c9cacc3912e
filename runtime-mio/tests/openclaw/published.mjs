// The schemas that OpenClaw publishes for both protocols, and the check of each frame that a gateway sends,
// whoever the client is: it listens in on `ws`, which every client here uses.
import { createRequire } from 'node:module';
import path from 'node:path';
import { pathToFileURL } from 'node:url';

const require = createRequire(import.meta.url);
export const WebSocket = require('ws');
const Ajv = require('ajv');

/** Imports a file of a package that `run` has unpacked. */
export const unpacked = (...names) => import(pathToFileURL(path.join(process.env.OPENCLAW_PACKAGES, ...names)));

const SCHEMAS = {
  3: await unpacked('clawdbot', 'dist', 'gateway', 'protocol', 'schema.js'),
  4: await unpacked('openclaw', 'dist', 'gateway', 'protocol', 'index.js'),
};

// What a payload must be, by event and by method. Where a protocol publishes no schema, the frame alone is checked.
const EVENTS = {
  agent: 'AgentEvent',
  chat: 'ChatEvent',
  tick: 'TickEvent',
  shutdown: 'ShutdownEvent',
  health: 'Health',
  'device.pair.requested': 'DevicePairRequestedEvent',
  'device.pair.resolved': 'DevicePairResolvedEvent',
};
const RESULTS = {
  connect: 'HelloOk',
  health: 'Health',
  'agents.list': 'AgentsListResult',
  'agent.identity.get': 'AgentIdentityResult',
  'models.list': 'ModelsListResult',
  'logs.tail': 'LogsTailResult',
  'sessions.resolve': 'SessionsResolveResult',
};

// What is checked piece by piece, by event and by method.
const PIECES = {
  presence: ({ presence }) => ['PresenceEntry', presence],
  'system-presence': (entries) => ['PresenceEntry', entries],
  'sessions.changed': ({ session }) => ['SessionRow', session ? [session] : []],
  'sessions.describe': ({ session }) => ['SessionRow', session ? [session] : []],
  'sessions.list': ({ sessions }) => ['SessionRow', sessions],
};

// OpenClaw's own gateway sends these, too, although its schema has no place for them.
const BESIDE = { AgentEvent: ['sessionKey', 'sessionId', 'agentId'] };

// Clients of protocol 3 hold frames against a closed schema and look at no more of a payload than they know, so that
// members which came later may be there.
const closed = new Ajv({ strict: false });
const open = new Ajv({ strict: false, removeAdditional: true });
const FRAMES = ['EventFrame', 'ResponseFrame', 'ErrorShape'];

const compiled = new Map();
/** How many values were held against which schema. */
export const checked = new Map();
/** What was not as published, each kind once, with an example. */
export const faults = new Map();

function check(protocol, name, value) {
  const key = `${protocol} ${name}`;
  if (!compiled.has(key)) {
    const ajv = protocol === 3 && !FRAMES.includes(name) ? open : closed;
    const schemas = SCHEMAS[protocol];
    const schema = name === 'Health' ? schemas.SnapshotSchema.properties.health : schemas[`${name}Schema`];
    compiled.set(key, schema && ajv.compile(schema));
  }
  const validate = compiled.get(key);
  if (!validate) return;
  checked.set(key, (checked.get(key) ?? 0) + 1);
  const bare = structuredClone(value);
  for (const member of BESIDE[name] ?? []) delete bare[member];
  if (validate(bare)) return;
  const what = `${key}: ${validate.errors.map((error) => `${error.instancePath} ${error.message} ${JSON.stringify(error.params)}`).join('; ')}`;
  if (!faults.has(what)) faults.set(what, JSON.stringify(value).slice(0, 1000));
}

function look(protocol, method, frame) {
  const isEvent = frame.type === 'event';
  check(protocol, isEvent ? 'EventFrame' : 'ResponseFrame', frame);
  if (frame.ok === false) return check(protocol, 'ErrorShape', frame.error);
  const name = isEvent ? EVENTS[frame.event] : RESULTS[method];
  if (name) check(protocol, name, frame.payload);
  const [piece, values] = PIECES[isEvent ? frame.event : method]?.(frame.payload) ?? ['', []];
  for (const value of values) check(protocol, piece, value);
}

const asked = new WeakMap(); // by socket: its protocol, and the methods of its requests
const of = (socket) => asked.get(socket) ?? asked.set(socket, { methods: new Map() }).get(socket);
const { emit, send } = WebSocket.prototype;

WebSocket.prototype.send = function (data, ...rest) {
  const { id, method, params } = JSON.parse(data);
  of(this).methods.set(id, method);
  if (method === 'connect') of(this).protocol = Math.min(4, params.maxProtocol);
  return send.call(this, data, ...rest);
};

WebSocket.prototype.emit = function (event, ...rest) {
  if (event === 'message') {
    const frame = JSON.parse(rest[0].toString());
    const { protocol, methods } = of(this);
    // The challenge comes before the client has named its protocols.
    for (const one of protocol ? [protocol] : [3, 4]) look(one, methods.get(frame.id), frame);
  }
  return emit.call(this, event, ...rest);
};

// Node 20 has none of its own, and clients that would take that one must be seen, too.
globalThis.WebSocket = WebSocket;
