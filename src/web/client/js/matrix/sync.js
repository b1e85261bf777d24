// The loop that asks for news, and goes on by itself when the server or the network was away.

import { Emitter } from '../lib/emitter.js';
import { MatrixError, NetworkError, pause } from './http.js';

/** How long the server may hold a request that has no news, and how much longer the answer may take. */
const POLL_MS = 30_000;
const GRACE_MS = 20_000;
/** Longest wait for the first answer, which may be large. */
const FIRST_MS = 120_000;
/** Pauses between attempts: the first, and the longest. */
const PAUSE_MS_FIRST = 500;
const PAUSE_MS_MAX = 15_000;

const FILTER = JSON.stringify({
  presence: { not_types: ['*'] },
  room: {
    // The members that are needed come each time: several tabs of one device share what the server thinks it knows.
    state: { lazy_load_members: true, include_redundant_members: true },
    timeline: { limit: 30, lazy_load_members: true, include_redundant_members: true },
    ephemeral: { types: ['m.typing', 'm.receipt'] },
  },
});

/** Tells of `status`: `connecting` before the first answer, `online`, or `offline` between attempts. */
export class SyncLoop extends Emitter {
  /**
   * @param {import('./http.js').Http} http
   * @param {(answer: any) => void} apply
   */
  constructor(http, apply) {
    super();
    this.http = http;
    this.apply = apply;
    /** @type {'connecting' | 'online' | 'offline'} */
    this.status = 'connecting';
    /** @type {string | undefined} */
    this.since = undefined;
    this.stopper = new AbortController();
    this.retry = new AbortController();
    this.hurry = this.hurry.bind(this);
    this.poll = new AbortController();
    // A request that waits would not notice for long that nothing can come.
    this.onOffline = () => this.poll.abort();
    this.onVisible = () => document.visibilityState === 'visible' && this.hurry();
  }

  start() {
    window.addEventListener('online', this.hurry);
    window.addEventListener('offline', this.onOffline);
    document.addEventListener('visibilitychange', this.onVisible);
    this.run();
  }

  stop() {
    window.removeEventListener('online', this.hurry);
    window.removeEventListener('offline', this.onOffline);
    document.removeEventListener('visibilitychange', this.onVisible);
    this.stopper.abort();
    this.poll.abort();
    this.retry.abort();
  }

  /** Do not wait for the next attempt. */
  hurry() {
    if (this.status !== 'online') this.retry.abort();
  }

  /** @param {'connecting' | 'online' | 'offline'} status */
  setStatus(status) {
    if (this.status === status) return;
    this.status = status;
    this.emit('status', status);
  }

  async run() {
    let failures = 0;
    while (!this.stopper.signal.aborted) {
      try {
        const answer = await this.ask();
        failures = 0;
        this.apply(answer);
        this.since = answer.next_batch;
        this.setStatus('online');
      } catch (error) {
        if (this.stopper.signal.aborted) return;
        if (error instanceof MatrixError && error.status === 401) return;
        if (!isExpected(error)) console.warn('sync', error);
        failures += 1;
        this.setStatus('offline');
        await this.wait(failures);
      }
    }
  }

  ask() {
    // After a failure the first question is answered at once, so that the banner goes as soon as it can.
    const timeout = this.since && this.status === 'online' ? POLL_MS : 0;
    this.poll = new AbortController();
    return this.http.get('/_matrix/client/v3/sync', {
      query: { since: this.since, timeout, filter: FILTER },
      timeoutMs: this.since ? timeout + GRACE_MS : FIRST_MS,
      signal: this.poll.signal,
    });
  }

  /** @param {number} failures */
  async wait(failures) {
    const longest = Math.min(PAUSE_MS_FIRST * 2 ** (failures - 1), PAUSE_MS_MAX);
    this.retry = new AbortController();
    // Not all clients at once when the server comes back.
    await pause(longest * (0.5 + Math.random() / 2), this.retry.signal).catch(() => {});
  }
}

/** @param {unknown} error */
function isExpected(error) {
  return error instanceof MatrixError || error instanceof NetworkError || (error instanceof DOMException && error.name === 'AbortError');
}
