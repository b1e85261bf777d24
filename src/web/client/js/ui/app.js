// The window: a list of what there is at the side, and the conversation that is open.

import { fill, h } from '../lib/dom.js';
import { icon } from '../lib/icons.js';
import { soon } from '../lib/emitter.js';
import { Banner } from './banner.js';
import { RoomView } from './room-view.js';
import { Sidebar } from './sidebar.js';
import { attempt } from './toast.js';

/** @typedef {{ switchTo: (userId: string) => void, addAccount: () => void }} Accounts */

export class App {
  /**
   * @param {HTMLElement} root
   * @param {import('../matrix/client.js').Client} client
   * @param {Accounts} accounts
   */
  constructor(root, client, accounts) {
    this.client = client;
    /** @type {RoomView | null} */
    this.view = null;
    /** @type {(() => void)[]} */
    this.ends = [];
    this.sidebar = new Sidebar(client, { ...accounts, show: (roomId) => this.show(roomId), current: () => this.roomId });
    this.main = h('main', { class: 'main', id: 'main', tabindex: '-1' });
    this.banner = new Banner(client);
    this.frame = h('div', { class: 'frame' }, this.sidebar.element, this.main);
    fill(root, this.banner.element, this.frame);
    this.welcome();
    const title = soon(() => this.title());
    this.listen(client.store.on('rooms', title));
    this.listen(client.social.on('friends', title));
    this.listen(client.on('ready', () => this.route()));
    const onHash = () => this.route();
    const onKey = (/** @type {KeyboardEvent} */ event) => this.key(event);
    window.addEventListener('hashchange', onHash);
    document.addEventListener('keydown', onKey);
    this.listen(() => {
      window.removeEventListener('hashchange', onHash);
      document.removeEventListener('keydown', onKey);
    });
  }

  /** @param {() => void} end */
  listen(end) {
    this.ends.push(end);
  }

  close() {
    this.view?.close();
    this.sidebar.close();
    this.banner.close();
    for (const end of this.ends) end();
  }

  /** The room that the address names. */
  get roomId() {
    const found = /^#\/room\/(.+)$/.exec(location.hash);
    try {
      return found ? decodeURIComponent(found[1]) : '';
    } catch {
      return '';
    }
  }

  /** Opens a room, loading it first if it is a chat of the past. @param {string} roomId */
  show(roomId) {
    const hash = `#/room/${encodeURIComponent(roomId)}`;
    if (location.hash === hash) this.route();
    else location.hash = hash;
  }

  route() {
    if (!this.client.store.isReady) return;
    const id = this.roomId;
    const isOpen = id !== '';
    this.frame.classList.toggle('in-room', isOpen);
    if (isOpen && this.view?.id === id) {
      this.view.focus();
    } else {
      this.view?.close();
      this.view = null;
      if (isOpen) this.open(id);
      else this.welcome();
    }
    this.sidebar.draw();
    this.title();
  }

  /** @param {string} id */
  open(id) {
    this.view = new RoomView(this.client, id, { show: (roomId) => this.show(roomId), leave: () => (location.hash = '#/') });
    fill(this.main, this.view.element);
    this.view.start();
  }

  welcome() {
    const add = h('button', { class: 'primary', type: 'button' }, icon('friends'), 'Find friends');
    add.addEventListener('click', () => attempt(null, async () => this.sidebar.addFriend()));
    const browse = h('button', { type: 'button' }, icon('groups'), 'See open groups');
    browse.addEventListener('click', () => this.sidebar.open('groups'));
    fill(this.main, h('section', { class: 'welcome' }, icon('flame', 'logo'),
      h('h2', {}, 'Take a seat by the fire'),
      h('p', {}, 'Choose a conversation, find a friend, or join a group.'),
      h('div', { class: 'actions' }, add, browse)));
  }

  title() {
    const { store, social } = this.client;
    const unread = store.roomsBy('join').reduce((sum, room) => sum + room.notifications, 0);
    const count = unread + social.friendsIn('pending_in').length;
    const room = store.room(this.roomId);
    const name = room ? `${store.titleOf(room)} – Hearth` : 'Hearth';
    document.title = count > 0 ? `(${count}) ${name}` : name;
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if ((event.ctrlKey || event.metaKey) && event.key.toLowerCase() === 'k') {
      event.preventDefault();
      this.sidebar.search();
    } else if (event.altKey && (event.key === 'ArrowDown' || event.key === 'ArrowUp')) {
      event.preventDefault();
      const next = this.sidebar.neighbour(event.key === 'ArrowDown' ? 1 : -1);
      if (next) this.show(next);
    }
  }
}
