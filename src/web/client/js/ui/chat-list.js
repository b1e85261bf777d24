// All open conversations, newest first, with what is unread.

import { h, reconcile } from '../lib/dom.js';
import { icon } from '../lib/icons.js';
import { shortTime } from '../lib/format.js';
import { avatar } from './avatar.js';

/** @typedef {import('../matrix/room.js').Room} Room */

export class ChatList {
  /**
   * @param {import('../matrix/client.js').Client} client
   * @param {import('./sidebar.js').Actions} actions
   */
  constructor(client, actions) {
    this.client = client;
    this.actions = actions;
    this.filter = h('input', {
      type: 'search', placeholder: 'Search conversations', 'aria-label': 'Search conversations', autocomplete: 'off',
      on: { input: () => this.draw(), keydown: (/** @type {KeyboardEvent} */ event) => this.searchKey(event) },
    });
    this.list = h('ul', { class: 'rows', 'aria-label': 'Conversations', on: { keydown: (/** @type {KeyboardEvent} */ event) => arrowKeys(event) } });
    this.empty = h('p', { class: 'empty' });
    this.element = h('div', { class: 'list' }, h('div', { class: 'search' }, icon('search'), this.filter), this.list, this.empty);
  }

  focusSearch() {
    this.filter.focus();
    this.filter.select();
  }

  /** @param {KeyboardEvent} event */
  searchKey(event) {
    const first = this.list.querySelector('button');
    if (event.key === 'Enter') first?.click();
    else if (event.key === 'ArrowDown') first?.focus();
    else if (event.key === 'Escape' && this.filter.value) {
      this.filter.value = '';
      this.draw();
    }
  }

  rooms() {
    const { store } = this.client;
    const wanted = this.filter.value.trim().toLocaleLowerCase();
    const rooms = store.roomsBy('join').filter((room) => !room.isTombstoned || room.notifications > 0);
    const found = wanted ? rooms.filter((room) => store.titleOf(room).toLocaleLowerCase().includes(wanted)) : rooms;
    return found.sort((a, b) => b.activeAt - a.activeAt);
  }

  roomIds() {
    return this.rooms().map((room) => room.id);
  }

  draw() {
    const { store } = this.client;
    const rooms = this.rooms();
    const current = this.actions.current();
    reconcile(this.list, rooms, (room) => room.id, (room) => JSON.stringify(this.look(room, current)), (room) => this.row(room, current));
    this.empty.hidden = rooms.length > 0;
    if (!store.isReady) this.empty.textContent = 'Loading…';
    else this.empty.textContent = this.filter.value ? 'Nothing is called that.' : 'No conversations yet. Find a friend or join a group.';
  }

  /** All that a row shows. @param {Room} room @param {string} current */
  look(room, current) {
    const { store } = this.client;
    const last = room.lastMessage();
    const isDirect = store.isDirect(room);
    return {
      title: store.titleOf(room),
      picture: this.picture(room),
      isDirect,
      kind: room.kind,
      isEncrypted: room.isEncrypted,
      isCurrent: room.id === current,
      time: shortTime(last?.ts ?? room.activeAt),
      text: last ? `${last.sender === room.me ? 'You: ' : isDirect ? '' : `${room.nameOf(last.sender)}: `}${last.summary}` : room.topic,
      isTyping: room.typing.length > 0,
      isWaiting: isDirect && room.memberCount < 2,
      unread: room.notifications,
      highlights: room.highlights,
    };
  }

  /** @param {Room} room */
  picture(room) {
    const partner = this.client.store.partner(room);
    return room.avatar || (partner ? room.member(partner).avatar_url : '') || '';
  }

  /** @param {Room} room @param {string} current */
  row(room, current) {
    const look = this.look(room, current);
    const text = look.isTyping ? 'typing…' : look.isWaiting ? 'Waiting for an answer' : look.text;
    const button = h('button', { class: 'row', type: 'button', 'aria-current': look.isCurrent ? 'true' : null, data: { focus: 'open', room: room.id } },
      avatar(this.client.media, {
        id: this.client.store.partner(room) ?? room.id, name: look.title, address: look.picture, kind: look.isDirect ? 'person' : 'group',
      }),
      h('span', { class: 'who' },
        h('span', { class: 'line' }, h('strong', {}, look.title), room.isEncrypted && icon('lock', 'tiny'), h('small', { class: 'time' }, look.time)),
        h('span', { class: 'line' }, h('small', { class: look.isTyping ? 'preview typing' : 'preview' }, text || 'No messages yet'), unreadBadge(look))));
    button.addEventListener('click', () => this.actions.show(room.id));
    return h('li', { class: look.unread > 0 ? 'unread' : '' }, button);
  }
}

/** @param {{ unread: number, highlights: number }} look */
function unreadBadge({ unread, highlights }) {
  if (unread === 0) return null;
  return h('span', { class: highlights > 0 ? 'badge strong' : 'badge' }, unread > 99 ? '99+' : unread, h('span', { class: 'for-readers' }, ' unread'));
}

/** Up and down in a list of buttons. @param {KeyboardEvent} event */
export function arrowKeys(event) {
  const by = { ArrowDown: 1, ArrowUp: -1 }[event.key];
  if (!by || event.altKey) return;
  const list = /** @type {HTMLElement} */ (event.currentTarget);
  const buttons = /** @type {HTMLElement[]} */ ([...list.querySelectorAll('.row')]);
  const at = buttons.indexOf(/** @type {HTMLElement} */ (document.activeElement));
  const next = buttons[at + by];
  if (at < 0 || !next) return;
  event.preventDefault();
  next.focus();
}
