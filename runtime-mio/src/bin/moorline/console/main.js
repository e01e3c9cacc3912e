// Puts the page together: who logs in, the state of both links, and what is to be done when one ended.
import { Agents } from './agents.js';
import { Chat } from './chat.js';
import { Link } from './link.js';
import { $, ago, clock, duration, el, fill, foreign, setText } from './view.js';

const TOKEN = 'moorline.token';
const USER = 'moorline.user';
const DEVICE = 'moorline.device';

const TITLES = {
  idle: 'not connected', connecting: 'connecting', login: 'logging in', pairing: 'waiting to be let in', open: 'connected',
  waiting: 'cut off', ended: 'ended', refused: 'login refused',
};

const DOTS = { open: 'good', connecting: 'busy', login: 'busy', pairing: 'busy', waiting: 'bad', ended: 'bad', refused: 'bad' };

/** A browser may be told to keep nothing. */
function kept(storage) {
  const attempt = (act) => {
    try {
      return act();
    } catch {
      return null;
    }
  };
  return {
    get: (key) => attempt(() => storage().getItem(key)),
    set: (key, value) => attempt(() => (value ? storage().setItem(key, value) : storage().removeItem(key))),
  };
}

const tab = kept(() => sessionStorage);
const browser = kept(() => localStorage);

/** A token in the address is taken out of it at once: addresses are kept, shown and shared. */
function takeTokenFromAddress() {
  const found = /(?:^#|&)token=([^&]*)/.exec(location.hash);
  if (!found) return null;
  history.replaceState(null, '', location.pathname + location.search);
  try {
    return decodeURIComponent(found[1]);
  } catch {
    return found[1];
  }
}

const offered = takeTokenFromAddress();
const link = new Link(new URL('ws', document.baseURI.replace(/^http/, 'ws')).href);
const agents = new Agents(link);
const chat = new Chat(link, agents);

function login(token, user) {
  tab.set(TOKEN, token);
  tab.set(USER, user);
  if (link.hello?.user_id !== user) chat.forget();
  link.login({ token, user, senderId: browser.get(DEVICE) });
}

$('login').addEventListener('submit', (event) => {
  event.preventDefault();
  const token = $('token').value.trim();
  $('token').value = '';
  login(token, $('user').value.trim());
});

$('leave').addEventListener('click', () => {
  tab.set(TOKEN, null);
  browser.set(DEVICE, null);
  chat.forget();
  link.leave();
});

$('pairing-stop').addEventListener('click', () => link.leave());

$('again').addEventListener('click', () => link.hurry(true));

// Whoever opened this window may change its address: that must not change who is logged in.
addEventListener('hashchange', () => {
  const token = takeTokenFromAddress();
  if (token && ['idle', 'refused', 'ended'].includes(link.phase)) login(token, tab.get(USER) ?? 'me');
});

let phase = null;

link.addEventListener('change', () => {
  if (link.phase === 'pairing') browser.set(DEVICE, link.pairing.senderId);
  // What was refused is not tried again when the page is loaded anew.
  if (link.phase === 'refused') {
    tab.set(TOKEN, null);
    if (link.refusal.code === 'NOT_PAIRED' || link.refusal.credential === 'device') browser.set(DEVICE, null);
  }
  if (link.phase === 'ended' && link.ending.then === 'login') tab.set(TOKEN, null);
  show();
  if (phase !== link.phase) {
    phase = link.phase;
    focus();
  }
});
agents.addEventListener('change', showAgents);
chat.addEventListener('change', showAgents);
$('agent').addEventListener('change', showAgents);
setInterval(show, 1000);

/** What is to be done next has the focus, unless somebody is busy elsewhere. */
function focus() {
  const free = document.activeElement === document.body || document.activeElement === null || document.activeElement.hidden
    || !document.activeElement.checkVisibility?.();
  if (!free) return;
  if (phase === 'open') $('say').focus({ preventScroll: true });
  else if (phase === 'idle' || phase === 'refused') $('token').focus({ preventScroll: true });
}

function show() {
  const { phase } = link;
  document.body.dataset.phase = phase;
  const title = ['waiting', 'ended', 'refused'].includes(phase) ? `${TITLES[phase]} – Moorline` : 'Moorline';
  if (document.title !== title) document.title = title;
  const wantsLogin = phase === 'idle' || phase === 'refused' || (phase === 'ended' && link.ending.then === 'login');
  const inside = link.hello !== null && link.hello !== undefined && !wantsLogin;
  $('entry').hidden = inside;
  $('work').hidden = !inside;
  $('login').hidden = !wantsLogin;
  $('pairing').hidden = phase !== 'pairing';
  $('leave').hidden = phase === 'idle' || phase === 'refused';
  showChip();
  showNotice(wantsLogin);
  if (phase === 'pairing') showPairing();
  if (inside) {
    showFacts();
    showEndings();
    showAgents();
  }
}

function showChip() {
  $('link-dot').className = `dot ${DOTS[link.phase] ?? ''}`;
  let words = TITLES[link.phase];
  if (link.phase === 'open' && link.roundTrip !== undefined) words += `, ${duration(link.roundTrip)}`;
  if (link.phase === 'waiting') words += `, ${left()}`;
  setText($('link-words'), words);
}

const left = () => {
  const seconds = Math.ceil((link.retryAt - Date.now()) / 1000);
  return seconds > 0 ? `again in ${seconds} s` : 'again now';
};

/** One notice: the login that was refused, the connection that ended, or the end that is announced. */
function showNotice(wantsLogin) {
  const { phase, ending, refusal, shutdown } = link;
  let shown = null;
  if (phase === 'refused') {
    shown = { title: `Login refused: ${refusal.code}`, ...refusal, detail: refusal.text };
  } else if (ending && (['waiting', 'ended'].includes(phase) || (phase === 'connecting' && link.attempts > 0 && link.ending.then === 'again'))) {
    const closed = `Closed with ${ending.code}${ending.reason ? `: ${ending.reason}` : ''}`;
    shown = { title: closed, ...ending };
  } else if (phase === 'open' && shutdown) {
    shown = { title: String(shutdown.reason), meaning: 'The gateway is about to close this connection.', action: '' };
  }
  $('notice').hidden = !shown;
  if (!shown) return;
  setText($('notice-title'), shown.title);
  setText($('notice-meaning'), shown.by ? `${shown.meaning} Ended by: ${shown.by}.` : shown.meaning);
  setText($('notice-detail'), shown.detail ?? '');
  $('notice-detail').hidden = !shown.detail;
  setText($('notice-action'), shown.action);
  setText($('notice-next'), phase === 'waiting' ? `Tries ${left()}.` : phase === 'connecting' ? 'Trying…' : '');
  $('notice-next').hidden = !$('notice-next').textContent;
  $('again').hidden = wantsLogin || phase === 'open' || phase === 'connecting';
}

function showPairing() {
  setText($('pairing-code'), String(link.pairing.code));
  const left = Math.max(0, link.pairing.expiresAt - Date.now());
  setText($('pairing-hint'), `It is good for ${duration(left)} more. This page goes on by itself once you are let in: `
    + `on the gateway's host with "moorline devices approve ${link.pairing.code}", elsewhere with device.pair.approve.`);
}

function showFacts() {
  const { hello, resume, phase } = link;
  const fact = (name, ...values) => [el('dt', '', name), el('dd', '', ...values)];
  const came = hello.resume.resumed ? `resumed, ${hello.resume.replayed} messages caught up`
    : hello.resume.gap ? 'gap: what was missed is gone, the conversation was read again' : 'a new link';
  const silence = link.heardAt ? `${ago(link.heardAt)}, lost after ${duration(hello.policy.readTimeoutMs)}` : '';
  fill($('link-facts'), [
    ...fact('State', TITLES[phase]),
    ...fact(phase === 'waiting' ? 'Next' : 'Since', phase === 'waiting' ? left() : clock(link.since)),
    ...fact('Round trip', link.roundTrip === undefined ? '' : duration(link.roundTrip)),
    ...fact('Heard', silence),
    ...fact('Logged in as', foreign('span', '', hello.user_id), ` (${hello.role})`),
    ...fact('Connection', `${hello.server.connId}`),
    ...fact('Last login', came),
    ...fact('Events', link.missing ? `${resume.lastSeq}, ${link.missing} missing` : `${resume.lastSeq}, none missing`),
    ...fact('Gateway', `${hello.server.name} ${hello.server.version}`),
  ]);
}

function showEndings() {
  $('no-endings').hidden = link.endings.length > 0;
  fill($('endings'), link.endings.map((ending) => {
    const lasted = ending.lasted === undefined ? '' : `, after ${duration(ending.lasted)}`;
    return el('li', '', el('b', '', ending.title ?? String(ending.code)), ' ', foreign('span', '', ending.reason),
      el('p', 'detail', `${clock(ending.at)}${lasted}, by ${ending.by}. ${ending.meaning}`));
  }));
}

function showAgents() {
  agents.show($('agents'));
  const agent = agents.agents.get($('agent').value);
  $('agent-chip').hidden = !agent || $('work').hidden;
  if (agent) {
    $('agent-dot').className = `dot ${agents.state(agent)}`;
    setText($('agent-words'), `${agent.name || agent.id} ${agents.state(agent)}`);
  }
  const store = link.isOpen ? agents.health?.database : undefined;
  setText($('store-words'), store === undefined ? '' : store === 'ok' ? 'The gateway’s store works.' : 'The gateway’s store does not work.');
}

const wide = matchMedia('(min-width: 62rem)');
const unfold = () => {
  $('sessions-box').open = wide.matches;
  $('links-box').open = wide.matches;
};
wide.addEventListener('change', unfold);
unfold();

$('user').value = tab.get(USER) ?? 'me';
const token = offered ?? tab.get(TOKEN);
if (token) login(token, $('user').value);
else if (browser.get(DEVICE)) login('', $('user').value);
else show();
