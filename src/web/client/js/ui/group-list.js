// Groups: invitations, those the user has made, those she is in, and those that everybody may join. A button to join is
// only on the last.

import { fill, h } from '../lib/dom.js';
import { icon } from '../lib/icons.js';
import { plural } from '../lib/format.js';
import { avatar } from './avatar.js';
import { newGroup, newPrivateGroup } from './later.js';
import { attempt } from './toast.js';

/** @typedef {import('../matrix/social.js').Group} Group */

const SECTIONS = /** @type {const} */ ([
  ['invited', 'Invitations', ''],
  ['created', 'Created by me', 'You have made no group yet.'],
  ['joined', 'Joined', 'You are in no group that others have made.'],
  ['open', 'Open to join', 'There are no other open groups.'],
]);
const PAUSE_MS = 200;

export class GroupList {
  /**
   * @param {import('../matrix/client.js').Client} client
   * @param {import('./sidebar.js').Actions} actions
   */
  constructor(client, actions) {
    this.client = client;
    this.actions = actions;
    this.body = h('div', { class: 'sections' });
    this.filter = h('input', { type: 'search', placeholder: 'Search groups', 'aria-label': 'Search groups', autocomplete: 'off' });
    let timer = 0;
    this.filter.addEventListener('input', () => {
      clearTimeout(timer);
      timer = setTimeout(() => this.search(), PAUSE_MS);
      this.draw();
    });
    const group = h('button', { type: 'button', data: { act: 'new-group' } }, icon('add'), 'New group');
    group.addEventListener('click', () => newGroup(client, actions.show));
    const closed = h('button', { type: 'button', data: { act: 'new-private-group' } }, icon('lock'), 'Private group');
    closed.addEventListener('click', () => newPrivateGroup(client, actions.show));
    this.element = h('div', { class: 'list' },
      h('div', { class: 'search' }, icon('search'), this.filter), h('div', { class: 'pair' }, group, closed), this.body);
  }

  /** The open ones are searched by the server, which may know many. */
  search() {
    this.client.social.openSearch = this.filter.value.trim();
    this.client.social.refreshGroups();
  }

  draw() {
    const { social } = this.client;
    const stamp = JSON.stringify([social.groups, social.knowsGroups, social.problem, this.actions.current(), this.filter.value, this.liveStamp()]);
    if (this.stamp === stamp) return;
    this.stamp = stamp;
    fill(this.body, social.problem && h('p', { class: 'empty' }, social.problem), SECTIONS.map((section) => this.section(...section)));
  }

  /** What sync knows sooner than the lists. */
  liveStamp() {
    return [...this.client.store.rooms.values()].map((room) => [room.id, room.name, room.membership, room.notifications, room.memberCount]);
  }

  /** @param {import('../matrix/social.js').GroupList} list @param {string} title @param {string} empty */
  section(list, title, empty) {
    const wanted = this.filter.value.trim().toLocaleLowerCase();
    const all = this.client.social.groups[list];
    const groups = list === 'open' || !wanted ? all : all.filter((group) => this.nameOf(group).toLocaleLowerCase().includes(wanted));
    if (groups.length === 0 && (list === 'invited' || !this.client.social.knowsGroups)) return null;
    return h('section', { data: { section: list }, 'aria-labelledby': `groups-${list}` },
      h('h3', { id: `groups-${list}` }, title, h('span', { class: 'count' }, groups.length)),
      groups.length > 0 ? h('ul', { class: 'rows' }, groups.map((group) => this.row(group, list))) : h('p', { class: 'empty' }, wanted ? 'None is called that.' : empty));
  }

  /** @param {Group} group */
  nameOf(group) {
    const room = this.client.store.room(group.room_id);
    return (room?.membership === 'join' ? room.name : group.name) || group.canonical_alias || room?.name || 'Group without a name';
  }

  /** @param {Group} group @param {import('../matrix/social.js').GroupList} list */
  row(group, list) {
    const name = this.nameOf(group);
    const room = this.client.store.room(group.room_id);
    const isMember = room?.membership === 'join' || group.membership === 'join';
    const unread = isMember ? room?.notifications ?? 0 : 0;
    const count = plural(group.joined_members, 'member');
    const detail = list === 'invited' && group.invited_by ? `${group.invited_by} invites you` : group.topic ? `${count} · ${group.topic}` : count;
    const content = [
      avatar(this.client.media, { id: group.room_id, name, address: group.avatar_url, kind: 'group' }),
      h('span', { class: 'who' },
        h('span', { class: 'line' }, h('strong', {}, name), group.kind === 'private_group' && icon('lock', 'tiny'), unread > 0 && h('span', { class: 'badge' }, unread)),
        h('small', { title: detail }, detail)),
    ];
    if (isMember) return h('li', { data: { room: group.room_id } }, this.opener(group, content));
    return h('li', { class: 'person', data: { room: group.room_id } }, content, h('span', { class: 'buttons' }, this.joiner(group, name), list === 'invited' && this.decliner(group, name)));
  }

  /** @param {Group} group @param {any} content */
  opener(group, content) {
    const isCurrent = this.actions.current() === group.room_id;
    const button = h('button', { class: 'row', type: 'button', 'aria-current': isCurrent ? 'true' : null }, content);
    button.addEventListener('click', () => this.actions.show(group.room_id));
    return button;
  }

  /** @param {Group} group @param {string} name */
  joiner(group, name) {
    const button = h('button', { class: 'small primary', type: 'button', 'aria-label': `Join ${name}`, data: { act: 'join' } }, 'Join');
    button.addEventListener('click', () => attempt(button, async () => {
      const id = await this.client.join(group.room_id);
      this.client.social.refreshGroups();
      this.actions.show(id);
    }));
    return button;
  }

  /** @param {Group} group @param {string} name */
  decliner(group, name) {
    const button = h('button', { class: 'small', type: 'button', 'aria-label': `Decline ${name}`, title: 'Decline', data: { act: 'decline' } }, icon('close'));
    button.addEventListener('click', () => attempt(button, async () => {
      await this.client.leave(group.room_id);
      this.client.social.refreshGroups();
    }));
    return button;
  }
}
