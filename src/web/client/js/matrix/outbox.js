// What this user sends: shown at once, sent in order, tried again until the server has it.

import { NetworkError, isPassing, path, pause } from './http.js';

/** Pauses between attempts. */
const PAUSE_MS_FIRST = 500;
const PAUSE_MS_MAX = 8_000;
/** What is kept for a reload of the page, in letters of JSON. */
const KEPT_LETTERS_MAX = 200_000;

/**
 * @typedef {object} Pending
 * @property {string} txnId
 * @property {'waiting' | 'uploading' | 'sending' | 'sent' | 'failed'} status
 * @property {string} [eventId] known when the server has answered
 * @property {number} [progress] of an upload, 0…1
 * @property {string} [problem]
 * @property {boolean} [isLasting] the problem will not go away by itself
 * @property {Blob} [file] still to be uploaded
 * @property {AbortController} [stop]
 */

/** @typedef {import('./timeline.js').MatrixEvent} MatrixEvent */
/** @typedef {import('./room.js').Room} Room */

export class Outbox {
  /**
   * @param {import('./http.js').Http} http
   * @param {import('./store.js').Store} store
   * @param {import('./media.js').Media} media
   */
  constructor(http, store, media) {
    this.http = http;
    this.store = store;
    this.media = media;
    /** @type {Map<string, MatrixEvent[]>} by room, in order */
    this.queues = new Map();
    /** @type {Set<string>} rooms whose queue is being worked on */
    this.busy = new Set();
    this.hurried = new AbortController();
    this.serial = 0;
    this.storageKey = `hearth.outbox.${store.me}`;
    this.isStopped = false;
  }

  /**
   * @param {Room} room @param {string} type @param {any} content @param {Blob} [file]
   */
  send(room, type, content, file) {
    const txnId = `web.${Date.now().toString(36)}.${Math.random().toString(36).slice(2, 10)}.${(this.serial += 1)}`;
    return this.enqueue(room, type, content, txnId, file);
  }

  /**
   * @param {Room} room @param {string} type @param {any} content @param {string} txnId @param {Blob} [file]
   */
  enqueue(room, type, content, txnId, file) {
    /** @type {MatrixEvent} */
    const echo = {
      event_id: `~${txnId}`,
      type,
      sender: this.store.me,
      origin_server_ts: Date.now(),
      content,
      pending: { txnId, status: 'waiting', file },
    };
    if (type === 'm.room.redaction') echo.redacts = content.redacts;
    room.echoes.push(echo);
    this.queues.set(room.id, [...(this.queues.get(room.id) ?? []), echo]);
    this.keep();
    this.store.touched(room);
    this.work(room);
    return echo;
  }

  /** @param {Room} room */
  async work(room) {
    if (this.busy.has(room.id)) return;
    this.busy.add(room.id);
    try {
      for (;;) {
        const next = (this.queues.get(room.id) ?? []).find(({ pending }) => pending?.status === 'waiting');
        if (!next || this.isStopped) return;
        await this.deliver(room, next);
      }
    } finally {
      this.busy.delete(room.id);
    }
  }

  /** @param {Room} room @param {MatrixEvent} echo */
  async deliver(room, echo) {
    const pending = /** @type {Pending} */ (echo.pending);
    for (let attempt = 1; !this.isStopped; attempt += 1) {
      try {
        await this.upload(room, echo);
        this.change(room, echo, { status: 'sending', problem: undefined });
        const answer = await this.put(room, echo);
        this.change(room, echo, { status: 'sent', eventId: answer.event_id });
        this.finish(room, echo);
        return;
      } catch (error) {
        if (pending.stop?.signal.aborted) return this.discard(room, echo);
        const problem = error instanceof Error ? error.message : String(error);
        if (!isPassing(error)) return this.change(room, echo, { status: 'failed', problem, isLasting: true });
        this.change(room, echo, { problem: error instanceof NetworkError ? 'Waiting for the connection' : problem });
        await this.wait(attempt);
      }
    }
  }

  /** @param {Room} room @param {MatrixEvent} echo */
  async upload(room, echo) {
    const pending = /** @type {Pending} */ (echo.pending);
    if (!pending.file) return;
    pending.stop ??= new AbortController();
    this.change(room, echo, { status: 'uploading', progress: 0 });
    const name = echo.content.filename ?? echo.content.body;
    echo.content.url = await this.media.upload(pending.file, name, pending.stop.signal, (progress) => (
      this.change(room, echo, { progress })));
    // What was sent need not be fetched to be shown.
    this.media.put(echo.content.url, pending.file);
    pending.file = undefined;
    this.keep();
  }

  /** @param {Room} room @param {MatrixEvent} echo */
  put(room, echo) {
    const { txnId } = /** @type {Pending} */ (echo.pending);
    if (echo.type === 'm.room.redaction') {
      const { redacts, reason } = echo.content;
      const body = reason ? { reason } : {};
      return this.http.put(path`/_matrix/client/v3/rooms/${room.id}/redact/${redacts}/${txnId}`, body);
    }
    return this.http.put(path`/_matrix/client/v3/rooms/${room.id}/send/${echo.type}/${txnId}`, echo.content);
  }

  /** @param {Room} room @param {MatrixEvent} echo @param {Partial<Pending>} change */
  change(room, echo, change) {
    Object.assign(/** @type {Pending} */ (echo.pending), change);
    this.store.touched(room);
  }

  /** The server has it. The echo stays until sync brings the event, if it has not already. @param {Room} room @param {MatrixEvent} echo */
  finish(room, echo) {
    this.queues.set(room.id, (this.queues.get(room.id) ?? []).filter((other) => other !== echo));
    const id = echo.pending?.eventId;
    if (id && room.ids.has(id)) room.echoes = room.echoes.filter((other) => other !== echo);
    this.keep();
    this.store.touched(room);
  }

  /** @param {Room} room @param {MatrixEvent} echo */
  discard(room, echo) {
    echo.pending?.stop?.abort();
    this.queues.set(room.id, (this.queues.get(room.id) ?? []).filter((other) => other !== echo));
    room.echoes = room.echoes.filter((other) => other !== echo);
    this.keep();
    this.store.touched(room);
  }

  /** @param {Room} room @param {MatrixEvent} echo */
  retry(room, echo) {
    this.change(room, echo, { status: 'waiting', problem: undefined, isLasting: false });
    this.work(room);
  }

  /** The connection is back: do not wait for the next attempt. */
  hurry() {
    this.hurried.abort();
    this.hurried = new AbortController();
  }

  stop() {
    this.isStopped = true;
    this.hurry();
  }

  /** @param {number} attempt */
  async wait(attempt) {
    await pause(Math.min(PAUSE_MS_FIRST * 2 ** (attempt - 1), PAUSE_MS_MAX), this.hurried.signal).catch(() => {});
  }

  /** Unsent text survives a reload. With the same transaction id the server takes it once, whatever it already has. */
  keep() {
    const all = [...this.queues].flatMap(([roomId, echoes]) => echoes
      .filter(({ pending }) => !pending?.file && pending?.status !== 'sent')
      .map(({ type, content, pending }) => ({ roomId, type, content, txnId: pending?.txnId })));
    const json = JSON.stringify(all);
    if (all.length === 0) sessionStorage.removeItem(this.storageKey);
    else if (json.length < KEPT_LETTERS_MAX) sessionStorage.setItem(this.storageKey, json);
  }

  /** What was not sent when the page was left. */
  restore() {
    const json = sessionStorage.getItem(this.storageKey);
    if (!json) return;
    for (const { roomId, type, content, txnId } of JSON.parse(json)) {
      const room = this.store.room(roomId);
      if (room?.membership === 'join') this.enqueue(room, type, content, txnId);
    }
  }
}
