// The side of the window: who is signed in, and the three lists.

import { fill, h } from '../lib/dom.js';
import { icon } from '../lib/icons.js';
import { soon } from '../lib/emitter.js';
import { sessionList } from '../matrix/sessions.js';
import { avatar } from './avatar.js';
import { ChatList } from './chat-list.js';
import { FriendList, addFriend } from './friend-list.js';
import { GroupList } from './group-list.js';
import { openMenu } from './menu.js';
import { newGroup, newPrivateGroup, openSettings } from './later.js';
import { isDark, setTheme } from './theme.js';
import { attempt } from './toast.js';

/** @typedef {'chats' | 'friends' | 'groups'} Tab */

/**
 * @typedef {object} Actions
 * @property {(roomId: string) => void} show
 * @property {() => string} current
 * @property {(userId: string) => void} switchTo
 * @property {() => void} addAccount
 */

const TABS = /** @type {const} */ ([['chats', 'Chats', 'chats'], ['friends', 'Friends', 'friends'], ['groups', 'Groups', 'groups']]);
const TAB_KEY = 'hearth.tab';

export class Sidebar {
  /** @param {import('../matrix/client.js').Client} client @param {Actions} actions */
  constructor(client, actions) {
    this.client = client;
    this.actions = actions;
    this.lists = {
      chats: new ChatList(client, actions),
      friends: new FriendList(client, actions),
      groups: new GroupList(client, actions),
    };
    /** @type {Tab} */
    this.tab = /** @type {Tab} */ (sessionStorage.getItem(TAB_KEY)) in this.lists ? /** @type {any} */ (sessionStorage.getItem(TAB_KEY)) : 'chats';
    this.me = h('button', { class: 'me', type: 'button', 'aria-haspopup': 'menu', 'aria-expanded': 'false', on: { click: () => this.menu() } });
    this.add = h('button', {
      class: 'plain', type: 'button', 'aria-haspopup': 'menu', 'aria-expanded': 'false', 'aria-label': 'New…', title: 'New…', on: { click: () => this.newMenu() },
    }, icon('add'));
    this.tabs = h('div', { role: 'tablist', class: 'tabs', 'aria-label': 'Lists' }, TABS.map((tab) => this.tabButton(...tab)));
    this.panel = h('div', { role: 'tabpanel', class: 'panel', id: 'sidebar-panel' });
    this.element = h('nav', { class: 'sidebar', 'aria-label': 'Conversations' },
      h('header', {}, this.me, this.add), this.tabs, this.panel);
    const draw = soon(() => this.draw());
    this.ends = [
      client.store.on('rooms', draw), client.store.on('account', draw), client.social.on('friends', draw), client.social.on('groups', draw),
      client.on('profile', () => this.drawMe()),
    ];
    this.drawMe();
    this.open(this.tab);
  }

  close() {
    for (const end of this.ends) end();
  }

  /** @param {Tab} name @param {string} label @param {import('../lib/icons.js').IconName} drawing */
  tabButton(name, label, drawing) {
    const badge = h('span', { class: 'badge', hidden: true });
    const button = h('button', {
      role: 'tab', type: 'button', id: `tab-${name}`, 'aria-controls': 'sidebar-panel', data: { tab: name },
      on: { click: () => this.open(name), keydown: (/** @type {KeyboardEvent} */ event) => this.tabKey(event) },
    }, icon(drawing), label, badge);
    return button;
  }

  /** @param {KeyboardEvent} event */
  tabKey(event) {
    const by = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!by) return;
    event.preventDefault();
    const names = TABS.map(([name]) => name);
    this.open(/** @type {Tab} */ (names.at((names.indexOf(this.tab) + by) % names.length)));
    /** @type {HTMLElement} */ (this.tabs.querySelector('[aria-selected=true]')).focus();
  }

  /** @param {Tab} tab */
  open(tab) {
    this.tab = tab;
    sessionStorage.setItem(TAB_KEY, tab);
    for (const button of this.tabs.children) {
      const isOpen = button.dataset.tab === tab;
      button.setAttribute('aria-selected', String(isOpen));
      button.setAttribute('tabindex', isOpen ? '0' : '-1');
    }
    this.panel.setAttribute('aria-labelledby', `tab-${tab}`);
    fill(this.panel, this.lists[tab].element);
    if (tab === 'groups') this.client.social.refreshGroups();
    this.draw();
  }

  draw() {
    this.lists[this.tab].draw();
    const { store, social } = this.client;
    const unread = store.roomsBy('join').reduce((sum, room) => sum + room.notifications, 0);
    this.badge('chats', unread, 'unread');
    this.badge('friends', social.friendsIn('pending_in').length, 'friend requests');
    this.badge('groups', social.groups.invited.length, 'invitations');
  }

  /** @param {Tab} tab @param {number} count @param {string} what */
  badge(tab, count, what) {
    const badge = /** @type {HTMLElement} */ (this.tabs.querySelector(`[data-tab=${tab}] .badge`));
    badge.hidden = count === 0;
    fill(badge, count > 99 ? '99+' : count, h('span', { class: 'for-readers' }, ` ${what}`));
  }

  drawMe() {
    const { me, displayName: name, profile, media } = this.client;
    fill(this.me, avatar(media, { id: me, name, address: profile.avatar_url }),
      h('span', { class: 'who' }, h('strong', {}, name), h('small', {}, me)), h('span', { class: 'for-readers' }, 'Account menu'));
  }

  menu() {
    const others = sessionList().filter(({ userId }) => userId !== this.client.me);
    openMenu(this.me, [
      { label: 'Profile and settings', icon: 'settings', id: 'settings', act: () => openSettings(this.client) },
      isDark() ? { label: 'Light colours', icon: 'sun', act: () => setTheme('light') } : { label: 'Dark colours', icon: 'moon', act: () => setTheme('dark') },
      ...others.map(({ userId }) => (
        /** @type {const} */ ({ label: `Go on as ${userId}`, icon: 'person', act: () => this.actions.switchTo(userId) }))),
      { label: 'Add another account', icon: 'add', id: 'add-account', act: () => this.actions.addAccount() },
      { label: 'Sign out', icon: 'leave', id: 'sign-out', act: () => attempt(null, () => this.client.logOut()) },
    ]);
  }

  newMenu() {
    openMenu(this.add, [
      { label: 'Add a friend', icon: 'friends', id: 'add-friend', act: () => this.addFriend() },
      { label: 'New group', icon: 'groups', id: 'new-group', act: () => newGroup(this.client, this.actions.show) },
      { label: 'New private group', icon: 'lock', id: 'new-private-group', act: () => newPrivateGroup(this.client, this.actions.show) },
    ]);
  }

  addFriend() {
    addFriend(this.client, () => this.open('friends'));
  }

  search() {
    this.open('chats');
    this.lists.chats.focusSearch();
  }

  /** The conversation after or before the open one. @param {1 | -1} by */
  neighbour(by) {
    const ids = this.lists.chats.roomIds();
    const at = ids.indexOf(this.actions.current());
    return at < 0 ? ids[0] : ids.at((at + by) % ids.length);
  }
}
