// The messages of a conversation: the newest in sight, older ones loaded while scrolling up, read when seen.

import { fill, h, reconcile } from '../lib/dom.js';
import { icon } from '../lib/icons.js';
import { dayName } from '../lib/format.js';
import { MessageDrawer, messageStamp } from './message.js';
import { noticeText } from './notice.js';
import { explain } from './toast.js';

/** Older messages are loaded when fewer pixels than this are left above. */
const LOAD_AT_PX = 600;
/** So near to the end counts as being at the end. */
const END_PX = 60;

/** @typedef {import('../matrix/timeline.js').Item} Item */

/**
 * @typedef {object} Actions
 * @property {(event: import('../matrix/timeline.js').MatrixEvent) => void} reply
 * @property {(event: import('../matrix/timeline.js').MatrixEvent, body: string) => void} edit
 */

export class TimelineView {
  /**
   * @param {import('../matrix/client.js').Client} client
   * @param {import('../matrix/room.js').Room} room
   * @param {Actions} actions
   */
  constructor(client, room, actions) {
    this.client = client;
    this.room = room;
    this.drawer = new MessageDrawer(client, room, { ...actions, goTo: (id) => this.goTo(id) });
    /** Where the unread ones begin stays where it was when the conversation was opened. */
    this.readUpTo = room.readUpTo;
    this.isAtEnd = true;
    this.isLoading = false;
    this.problem = '';
    this.top = h('div', { class: 'timeline-top' });
    this.list = h('ol', { class: 'messages', role: 'log', 'aria-live': 'polite', 'aria-label': 'Messages' });
    this.scroller = h('div', { class: 'timeline', tabindex: '0', 'aria-label': 'Messages, scrollable' }, this.top, this.list);
    this.jump = h('button', { class: 'jump', type: 'button', hidden: true, 'aria-label': 'Jump to the newest message', on: { click: () => this.toEnd() } },
      icon('down'), h('span', { class: 'badge', hidden: true }));
    this.element = h('div', { class: 'timeline-frame' }, this.scroller, this.jump);
    this.scroller.addEventListener('scroll', () => this.scrolled(), { passive: true });
    this.scroller.addEventListener('keydown', (/** @type {KeyboardEvent} */ event) => this.key(event));
    this.seen = () => this.markSeen();
    document.addEventListener('visibilitychange', this.seen);
    window.addEventListener('focus', this.seen);
    // Pictures that arrive, and a window that changes, do not move the reader.
    this.resize = new ResizeObserver(() => this.isAtEnd && this.stick());
    this.resize.observe(this.list);
    this.resize.observe(this.scroller);
  }

  close() {
    document.removeEventListener('visibilitychange', this.seen);
    window.removeEventListener('focus', this.seen);
    this.resize.disconnect();
  }

  draw() {
    const items = this.room.items(this.readUpTo);
    const anchor = this.isAtEnd ? null : this.anchor();
    reconcile(this.list, items, (item) => item.key, (item) => this.stamp(item), (item) => this.item(item));
    this.drawTop();
    if (anchor) this.restore(anchor);
    else this.stick();
    this.drawJump();
    this.markSeen();
    this.loadIfNear();
  }

  // --- items ---

  /** @param {Item} item */
  stamp(item) {
    if (item.kind === 'message') return messageStamp(this.room, item);
    if (item.kind === 'notice') return noticeText(this.room, /** @type {any} */ (item.event));
    return `${dayName(item.ts)}`;
  }

  /** @param {Item} item @returns {HTMLElement} */
  item(item) {
    switch (item.kind) {
      case 'message': return this.drawer.draw(item);
      case 'notice': return h('li', { class: 'event-notice' }, noticeText(this.room, /** @type {any} */ (item.event)));
      case 'day': return h('li', { class: 'day', role: 'separator', 'aria-label': dayName(item.ts) }, h('span', {}, dayName(item.ts)));
      default: return h('li', { class: 'unread-line', role: 'separator', 'aria-label': 'New messages' }, h('span', {}, 'New'));
    }
  }

  /** Its height is always the same, so that nothing moves. */
  drawTop() {
    const stamp = `${this.isLoading} ${this.problem} ${this.room.before === null}`;
    if (this.top.dataset.stamp === stamp) return;
    this.top.dataset.stamp = stamp;
    if (this.problem) {
      const retry = h('button', { class: 'link', type: 'button', on: { click: () => this.load() } }, 'Try again');
      fill(this.top, h('p', {}, this.problem, ' ', retry));
    } else if (this.room.before === null) {
      fill(this.top, h('p', {}, 'This is where it begins.'));
    } else {
      fill(this.top, h('p', { class: this.isLoading ? 'loading' : '' }, this.isLoading ? 'Loading older messages…' : ''));
    }
  }

  // --- scrolling ---

  scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.scroller;
    this.isAtEnd = scrollHeight - scrollTop - clientHeight < END_PX;
    this.drawJump();
    this.markSeen();
    this.loadIfNear();
  }

  stick() {
    this.scroller.scrollTop = this.scroller.scrollHeight;
  }

  /** The first message in sight and where it is, to put it there again after a change. Separators may go. */
  anchor() {
    const top = this.scroller.getBoundingClientRect().top;
    for (const child of /** @type {NodeListOf<HTMLElement>} */ (this.list.querySelectorAll('.message, .event-notice'))) {
      const box = child.getBoundingClientRect();
      if (box.bottom > top) return { key: child.dataset.key ?? '', offset: box.top - top };
    }
    return null;
  }

  /** @param {{ key: string, offset: number }} anchor */
  restore({ key, offset }) {
    const element = this.list.querySelector(`[data-key="${CSS.escape(key)}"]`);
    if (!element) return;
    const top = this.scroller.getBoundingClientRect().top;
    this.scroller.scrollTop += element.getBoundingClientRect().top - top - offset;
  }

  toEnd() {
    this.isAtEnd = true;
    this.stick();
    this.drawJump();
    this.markSeen();
  }

  drawJump() {
    this.jump.hidden = this.isAtEnd;
    const badge = this.jump.querySelector('.badge');
    const count = this.room.notifications;
    badge.hidden = count === 0;
    badge.textContent = count > 99 ? '99+' : String(count);
  }

  loadIfNear() {
    if (this.isLoading || this.problem || this.room.before === null || !this.element.isConnected) return;
    const isShort = this.scroller.scrollHeight <= this.scroller.clientHeight + END_PX;
    if (isShort || this.scroller.scrollTop < LOAD_AT_PX) this.load();
  }

  async load() {
    this.isLoading = true;
    this.problem = '';
    this.drawTop();
    try {
      await this.client.loadOlder(this.room);
    } catch (error) {
      this.problem = `Older messages could not be loaded. ${explain(error)}`;
    }
    this.isLoading = false;
    // What was loaded is in place before it is looked at whether more is needed.
    requestAnimationFrame(() => this.element.isConnected && this.draw());
  }

  /** Shows the message that a reply quotes; loads back to it, within reason. @param {string} id */
  async goTo(id) {
    const find = () => /** @type {HTMLElement | null} */ (this.list.querySelector(`[data-event="${CSS.escape(id)}"]`));
    for (let pages = 0; !find() && this.room.before !== null && pages < 20; pages += 1) {
      if (!(await this.client.loadOlder(this.room).catch(() => false))) break;
      this.draw();
    }
    const element = find();
    if (!element) return;
    this.isAtEnd = false;
    element.scrollIntoView({ block: 'center' });
    element.focus({ preventScroll: true });
    element.classList.remove('found');
    requestAnimationFrame(() => element.classList.add('found'));
  }

  // --- read state ---

  markSeen() {
    if (!this.isAtEnd || document.visibilityState !== 'visible' || !document.hasFocus()) return;
    const last = this.room.events.at(-1);
    if (!last || this.room.membership !== 'join') return;
    const isNews = this.room.notifications > 0 || last.sender !== this.room.me;
    if (isNews && this.room.receipts.get(this.room.me) !== last.event_id) this.client.markRead(this.room, last.event_id);
  }

  // --- keyboard ---

  /** Up and down move from message to message; letters act on the one that has the focus. @param {KeyboardEvent} event */
  key(event) {
    const messages = /** @type {HTMLElement[]} */ ([...this.list.querySelectorAll('.message')]);
    const target = /** @type {HTMLElement} */ (event.target);
    const at = messages.indexOf(target);
    if (event.key === 'End') return this.toEnd();
    if (target !== this.scroller && at < 0) return undefined;
    if (event.key === 'ArrowUp' || event.key === 'ArrowDown') {
      const next = at < 0 ? messages.at(-1) : messages[at + (event.key === 'ArrowUp' ? -1 : 1)];
      if (!next) return undefined;
      event.preventDefault();
      next.focus();
      return undefined;
    }
    const act = { r: 'reply', e: 'edit', '+': 'react', Delete: 'delete' }[event.key];
    if (at < 0 || !act || event.ctrlKey || event.metaKey || event.altKey) return undefined;
    const button = /** @type {HTMLElement | null} */ (target.querySelector(`[data-act=${act}]`));
    if (button) event.preventDefault();
    button?.click();
    return undefined;
  }
}
