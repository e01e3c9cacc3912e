// What it means when a connection ends or is refused, and what to do then.

/** The page's own code, for a gateway that has fallen silent: any but 1000, so that it can be resumed. */
export const SILENT = 4000;

// `again`: whether to come back without being asked. `login`: only with other credentials.
const POLICY = [
  [/^handshake timeout$/, 'The login did not come in time.', 'Nothing to do: this page tries again.', 'again'],
  [/^resumed elsewhere$/, 'Another connection took over what this one was following: another window or device of yours.',
    'Go on there, or connect here again.', 'stop'],
  [/^revoked$/, 'What you logged in with was taken back.', 'Ask whoever runs the gateway for a new token.', 'login'],
  [/^credential expired$/, 'The time of what you logged in with is over.', 'Log in with a new token; nothing is lost until then.', 'login'],
  [/^closed by an administrator$/, 'An administrator closed this connection.', 'Ask why first, then connect again.', 'stop'],
  [/^too many refused logins$/, 'Too many wrong logins came over this connection.', 'Check the token, then log in again.', 'login'],
  [/^too many invalid frames$/, 'The gateway did not understand what this page sent.',
    'Reload the page: it may be of another version than the gateway.', 'stop'],
  [/^keepalive timeout$/, 'The gateway heard nothing from here for too long: the computer slept, or the network swallowed everything.',
    'Nothing to do: this page comes back and catches up.', 'again'],
  [/^slow consumer$/, 'This page read more slowly than the gateway had to send.',
    'Nothing to do: this page comes back and catches up. A faster network helps.', 'again'],
  [/^message timeout$/, 'A message was begun and not finished in time.', 'Nothing to do: this page comes back.', 'again'],
  [/^message of more than \d+ fragments$/, 'A message came in too many pieces; something in between cut it.',
    'Look for a proxy that rewrites WebSocket frames.', 'stop'],
];

const CODES = {
  1000: ['Ended as asked.', 'Connect again when you like.', 'stop'],
  1001: ['The gateway stops for good, or this page is being left.',
    'Nothing to do: this page tries again, in case it is started anew.', 'again'],
  1002: ['The gateway says that this end broke the WebSocket protocol.',
    'It would happen again. Reload the page, or look for a proxy that alters the traffic.', 'stop'],
  1003: ['The gateway does not take the kind of data that was sent.', 'It would happen again. Reload the page.', 'stop'],
  1005: ['The connection ended without a code.', 'Nothing to do: this page tries again.', 'again'],
  1006: ['The connection was cut without a word: the gateway was killed, the network changed, or something in between let go.',
    'Nothing to do: this page comes back and catches up. If it happens at regular times, look at the idle limit of a proxy.', 'again'],
  1007: ['What was sent was not valid UTF-8, or not valid compressed data.',
    'It would happen again. Look for a proxy that alters the traffic.', 'stop'],
  1008: ['An administrator closed this connection, or a rule did that this page does not know; the reason says which.',
    'Ask why first, then connect again.', 'stop'],
  1009: ['A message was larger than the gateway takes; nothing of it was kept.',
    'Send less at once. Files have a way of their own, the upload.', 'again'],
  1010: ['The browser wanted an extension that the gateway does not have.', 'Try another browser.', 'stop'],
  1011: ['A fault within the gateway.', 'Nothing to do: this page tries again. The gateway’s log says more.', 'again'],
  1012: ['The gateway is being restarted.', 'Nothing to do: this page comes back when it is up, and catches up.', 'again'],
  1013: ['The gateway has too much to do.', 'Nothing to do: this page tries again later.', 'again'],
  1014: ['A proxy in between had no proper answer from the gateway.',
    'Nothing to do: this page tries again. If it stays, look at the proxy.', 'again'],
  1015: ['The TLS connection could not be made.', 'Check the certificate.', 'stop'],
  [SILENT]: ['Nothing came from the gateway for too long, not even an answer to a question: this page let go.',
    'Nothing to do: this page comes back and catches up.', 'again'],
};

/** An ending: who did it, what it means, what to do, and whether to come back (`again`, `stop`, `login`). */
export function explain(code, reason, byPage) {
  const rule = code === 1008 && POLICY.find(([pattern]) => pattern.test(reason));
  const [meaning, action, then] = rule ? rule.slice(1)
    : CODES[code] ?? ['A code that this page does not know.', 'Connect again when you like.', 'stop'];
  return { code, reason, by: whose(code, byPage), meaning, action, then };
}

function whose(code, byPage) {
  if (byPage) return 'this page';
  if (code === 1006) return 'nobody who said so';
  return code === 1014 || code === 1015 ? 'something in between' : 'the gateway';
}

/** A handshake that was refused: browsers tell nothing of it, so `found` is what was asked for afterwards. */
export function explainRefusal(found) {
  const again = (title, meaning, action) => ({ title, meaning, action, then: 'again' });
  switch (found.what) {
    case 'unreachable':
      return again('No answer', 'The gateway does not answer: it is not running, or the network is down.', 'Nothing to do: this page tries again.');
    case 'forbidden':
      return { title: 'Refused with 403', meaning: 'The gateway does not let this page in.', detail: found.text,
        action: 'Whoever runs the gateway has to allow it; the line above says how.', then: 'stop' };
    case 'unready':
      return again('Refused with 503', `The gateway is there and takes nobody now (${found.text}).`, 'Nothing to do: this page tries again.');
    case 'status':
      return again(`Refused with ${found.status}`, `The gateway, or a proxy before it, answers with HTTP status ${found.status}.`, 'Nothing to do: this page tries again.');
    default:
      return again('No WebSocket', 'The gateway answers, but the WebSocket did not open.',
        'If it stays so, a proxy in between may not pass the Upgrade and Connection headers on.');
  }
}

const WHY = {
  unknown: 'The gateway does not know it.',
  revoked: 'It was revoked.',
  expired: 'Its time is over.',
  malformed: 'It is damaged: was all of it copied?',
  signature: 'Its signature is wrong.',
  issuer: 'It was issued by somebody the gateway does not trust.',
  audience: 'It was issued for another service.',
  'not-yet': 'It is not valid yet: compare the clocks.',
  claims: 'It lacks something that the gateway needs.',
};

const KIND = { token: 'token', api_key: 'API key', jwt: 'JSON Web Token', device: 'pairing of this browser' };

/** A refused login, by its code. */
export function explainLogin(error) {
  const seconds = Math.ceil((error.retryAfterMs ?? 0) / 1000);
  const { credential, why } = error.details ?? {};
  switch (error.code) {
    case 'UNAUTHORIZED':
      if (error.retryable) {
        return { meaning: 'Too many wrong logins came from this address: it is locked out for a while.',
          action: seconds ? `Try again in ${seconds} s, with the right token.` : 'Try again later, with the right token.' };
      }
      if (!credential || credential === 'none') {
        return { meaning: 'The gateway wants a token.',
          action: 'It is in the file “token” in the gateway’s state folder, or was set by whoever runs the gateway.' };
      }
      return { meaning: `This ${KIND[credential] ?? 'credential'} is not valid here. ${WHY[why] ?? ''}`.trim(),
        action: 'Check that it is this gateway’s and was copied whole. It is in the file “token” in the gateway’s state folder, or was set by whoever runs the gateway.' };
    case 'RESOURCE_EXHAUSTED':
      return { meaning: 'The gateway has no room for another login.', action: seconds ? `Try again in ${seconds} s.` : 'Try again later.' };
    case 'INVALID_REQUEST':
      return { meaning: 'The gateway did not understand the login.', action: 'Check what you wrote, or reload the page.' };
    default:
      return { meaning: `The gateway refused the login (${error.code}).`, action: 'Try again, or ask whoever runs the gateway.' };
  }
}
