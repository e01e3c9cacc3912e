// How things are shown: elements, times and sizes. Texts become text nodes, never markup.

export const $ = (id) => document.getElementById(id);

/** An element with a class and children; strings among them are texts. */
export function el(tag, className, ...children) {
  const element = document.createElement(tag);
  if (className) element.className = className;
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== ''));
  return element;
}

/** A text of somebody else's: its direction of writing must not reach what stands around it. */
export function foreign(tag, className, text) {
  const element = el(tag, className, String(text ?? ''));
  element.dir = 'auto';
  return element;
}

/** Replaces the children where something differs, so that what did not change keeps focus and selection. */
export function fill(parent, children) {
  const same = children.length === parent.children.length
    && children.every((child, at) => child.isEqualNode(parent.children[at]));
  if (!same) parent.replaceChildren(...children);
}

export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function duration(ms) {
  if (ms < 1_000) return `${Math.round(ms)} ms`;
  const seconds = Math.round(ms / 1000);
  if (seconds < 60) return `${seconds} s`;
  const minutes = Math.floor(seconds / 60);
  if (minutes < 60) return seconds % 60 ? `${minutes} min ${seconds % 60} s` : `${minutes} min`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

export const ago = (at) => {
  const seconds = Math.max(0, Math.round((Date.now() - at) / 1000));
  return seconds ? `${duration(seconds * 1000)} ago` : 'now';
};

export const clock = (at) => new Date(at).toLocaleTimeString([], { hour12: false });

export function day(at) {
  const date = new Date(at);
  const today = date.toDateString() === new Date().toDateString();
  return today ? date.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit', hour12: false }) : date.toLocaleDateString();
}

/** 128 bits; `crypto.randomUUID` is there on secure origins only. */
export function randomKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
}

const encoder = new TextEncoder();

export const bytes = (text) => encoder.encode(text).length;
