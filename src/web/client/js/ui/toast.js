// Short messages at the edge of the window: what went wrong, or that something was done.

import { h } from '../lib/dom.js';
import { icon } from '../lib/icons.js';
import { MatrixError, NetworkError } from '../matrix/http.js';

const SHOWN_MS = 6_000;
const SHOWN_AT_ONCE_MAX = 4;

/** Said in the user's words, where the server's are not. @type {Record<string, string>} */
const WORDS = {
  M_FORBIDDEN: 'That is not allowed',
  M_LIMIT_EXCEEDED: 'That was a lot at once. Wait a moment and try again',
  M_NOT_FOUND: 'That is not there (any more)',
  M_TOO_LARGE: 'That is too large for this server',
  M_UNRECOGNIZED: 'This server cannot do that',
  M_USER_DEACTIVATED: 'This account has been closed',
  M_USER_LOCKED: 'This account has been locked. Ask whoever runs the server',
  M_USER_SUSPENDED: 'This account has been suspended. Ask whoever runs the server',
};

/** What an error means to whoever sees it. @param {unknown} error */
export function explain(error) {
  if (error instanceof NetworkError) return `${error.message}. Check your connection and try again.`;
  if (error instanceof MatrixError) {
    if (error.status >= 500) return 'The server has a problem. Try again in a moment.';
    const words = WORDS[error.errcode];
    const said = error.message && !/^The server answered/.test(error.message) ? error.message : '';
    if (!words) return said || 'The server refused that.';
    return said && error.errcode === 'M_FORBIDDEN' ? `${words}: ${said}` : `${words}.`;
  }
  return error instanceof Error ? error.message : String(error);
}

function shelf() {
  return /** @type {HTMLElement} */ (document.getElementById('toasts'));
}

/** @param {string} text @param {'status' | 'alert'} role */
function show(text, role) {
  const close = h('button', { class: 'plain', type: 'button', 'aria-label': 'Dismiss' }, icon('close'));
  const toast = h('div', { class: `toast ${role}`, role }, icon(role === 'alert' ? 'warning' : 'check'), h('p', {}, text), close);
  const remove = () => toast.remove();
  close.addEventListener('click', remove);
  shelf().append(toast);
  while (shelf().childElementCount > SHOWN_AT_ONCE_MAX) shelf().firstElementChild?.remove();
  let timer = setTimeout(remove, SHOWN_MS);
  toast.addEventListener('mouseenter', () => clearTimeout(timer));
  toast.addEventListener('mouseleave', () => (timer = setTimeout(remove, SHOWN_MS)));
}

/** @param {string} text */
export function tell(text) {
  show(text, 'status');
}

/** @param {unknown} error @param {string} [what] what did not work */
export function complain(error, what) {
  if (error instanceof DOMException && error.name === 'AbortError') return;
  if (!(error instanceof MatrixError || error instanceof NetworkError)) console.error(error);
  show(what ? `${what} ${explain(error)}` : explain(error), 'alert');
}

/**
 * Runs what a button starts: the button waits, errors are told.
 * @template T
 * @param {HTMLButtonElement | null} button
 * @param {() => Promise<T>} work
 * @param {string} [what]
 * @returns {Promise<T | undefined>}
 */
export async function attempt(button, work, what) {
  if (button?.getAttribute('aria-busy') === 'true') return undefined;
  button?.setAttribute('aria-busy', 'true');
  try {
    return await work();
  } catch (error) {
    complain(error, what);
    return undefined;
  } finally {
    button?.removeAttribute('aria-busy');
  }
}
