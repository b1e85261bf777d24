// The beginning: somebody is signed in on this tab and sees the app, or signs in first.

import { currentSession, useNone, useSession } from './matrix/sessions.js';
import { signIn } from './ui/sign-in.js';
import { applyTheme } from './ui/theme.js';
import { tell } from './ui/toast.js';

/** The server that has served this page. */
const BASE = location.origin;
const root = /** @type {HTMLElement} */ (document.getElementById('app'));

/** The modules that somebody who is signed in needs besides; a test compares the list with what they import. */
const MODULES = [
  'lib/emitter', 'lib/format', 'matrix/client', 'matrix/media', 'matrix/outbox', 'matrix/room', 'matrix/social',
  'matrix/store', 'matrix/sync', 'matrix/timeline', 'ui/app', 'ui/attachment', 'ui/avatar', 'ui/banner',
  'ui/chat-list', 'ui/composer', 'ui/friend-list', 'ui/group-list', 'ui/later', 'ui/menu', 'ui/message', 'ui/notice',
  'ui/room-view', 'ui/sidebar', 'ui/text', 'ui/timeline-view',
];

/** Fetches them all at once: else the browser learns of each only from those that import it. */
function preload() {
  document.head.append(...MODULES.map((name) => {
    const link = document.createElement('link');
    link.rel = 'modulepreload';
    link.href = new URL(`./${name}.js`, import.meta.url).href;
    return link;
  }));
  MODULES.length = 0;
}

/** What only somebody who is signed in needs; the first view does without. */
function load() {
  preload();
  return Promise.all([import('./matrix/client.js'), import('./ui/app.js')]);
}

/** @param {string} [notice] why somebody has to sign in again */
async function begin(notice = '') {
  const session = currentSession();
  if (!session) {
    signIn(root, BASE, notice, () => begin());
    return;
  }
  useSession(session.userId);
  const loaded = await load().catch(() => null);
  if (!loaded) {
    tell('Hearth could not be loaded. Reload the page and try again.');
    return;
  }
  const [{ Client }, { App }] = loaded;
  const client = new Client(BASE, session);
  const app = new App(root, client, {
    switchTo: (userId) => {
      useSession(userId);
      restart();
    },
    addAccount: () => {
      useNone();
      restart();
    },
  });
  const restart = (/** @type {string} */ reason = '') => {
    client.stop();
    app.close();
    history.replaceState(null, '', '#/');
    begin(reason);
  };
  client.on('ended', (reason) => {
    // Not silently somebody else, though there may be other accounts.
    useNone();
    restart(reason);
  });
  client.start();
}

applyTheme();
window.addEventListener('unhandledrejection', (event) => {
  if (event.reason instanceof DOMException && event.reason.name === 'AbortError') event.preventDefault();
});
window.addEventListener('offline', () => tell('You are offline. What you write is sent when the connection is back.'));
begin();
