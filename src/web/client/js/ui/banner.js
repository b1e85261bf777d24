// The line at the top that tells when the connection is away, and when it is back.

import { fill, h } from '../lib/dom.js';
import { icon } from '../lib/icons.js';

/** Nothing is said before this long: most interruptions are over by then. */
const PATIENCE_MS = 700;

export class Banner {
  /** @param {import('../matrix/client.js').Client} client */
  constructor(client) {
    this.client = client;
    this.element = h('div', { class: 'banner', role: 'status', 'aria-live': 'polite' });
    this.timer = 0;
    this.end = client.sync.on('status', () => this.update());
    this.update();
  }

  close() {
    clearTimeout(this.timer);
    this.end();
  }

  update() {
    clearTimeout(this.timer);
    const { status } = this.client.sync;
    document.documentElement.dataset.connection = status;
    if (status === 'online') {
      this.element.classList.remove('shown');
      fill(this.element);
    } else if (status === 'offline') {
      this.timer = setTimeout(() => this.show(), PATIENCE_MS);
    }
  }

  show() {
    const retry = h('button', { class: 'link', type: 'button' }, 'Try now');
    retry.addEventListener('click', () => this.client.sync.hurry());
    const text = navigator.onLine ? 'The server cannot be reached. Reconnecting…' : 'You are offline. Reconnecting when the network is back…';
    fill(this.element, icon('warning'), h('span', {}, text), retry);
    this.element.classList.add('shown');
  }
}
