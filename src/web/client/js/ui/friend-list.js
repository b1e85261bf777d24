// Friends, requests in both directions, chats of the past, and whom the user has blocked.

import { fill, h } from '../lib/dom.js';
import { icon } from '../lib/icons.js';
import { plural, shortTime } from '../lib/format.js';
import { nameOf } from '../matrix/social.js';
import { MatrixError } from '../matrix/http.js';
import { avatar } from './avatar.js';
import { confirm, field, openDialog } from './dialog.js';
import { openMenu } from './menu.js';
import { attempt, explain, tell } from './toast.js';

/** @typedef {import('../matrix/social.js').Friend} Friend */
/** @typedef {import('../matrix/client.js').Client} Client */

const ENDINGS = { declined: 'Request declined', withdrawn: 'Request withdrawn', unfriended: 'No longer friends' };

export class FriendList {
  /** @param {Client} client @param {import('./sidebar.js').Actions} actions */
  constructor(client, actions) {
    this.client = client;
    this.actions = actions;
    this.body = h('div', { class: 'sections' });
    const add = h('button', { class: 'wide', type: 'button', data: { act: 'add-friend' } }, icon('add'), 'Add a friend');
    add.addEventListener('click', () => addFriend(client, () => this.draw()));
    this.element = h('div', { class: 'list' }, add, this.body);
  }

  draw() {
    const { social } = this.client;
    const stamp = JSON.stringify([[...social.friends.values()], social.knowsFriends, social.problem, this.actions.current(), this.unreadStamp()]);
    if (this.stamp === stamp) return;
    this.stamp = stamp;
    const focused = /** @type {HTMLElement | null} */ (document.activeElement)?.closest('[data-user]');
    const userId = this.body.contains(focused) ? /** @type {HTMLElement} */ (focused).dataset.user : undefined;
    fill(this.body,
      social.problem && h('p', { class: 'empty' }, social.problem),
      this.section('Requests', 'requests', social.friendsIn('pending_in'), (friend) => this.incoming(friend)),
      this.section('Sent', 'sent', social.friendsIn('pending_out'), (friend) => this.outgoing(friend)),
      this.section('Friends', 'friends', social.friendsIn('friend'), (friend) => this.friend(friend), social.knowsFriends ? 'No friends yet. Add one by name.' : 'Loading…'),
      this.section('Past chats', 'past', social.friendsIn('ended'), (friend) => this.ended(friend)),
      this.section('Blocked', 'blocked', social.friendsIn('blocked'), (friend) => this.blocked(friend)));
    if (userId) /** @type {HTMLElement | null} */ (this.body.querySelector(`[data-user="${CSS.escape(userId)}"] button`))?.focus();
  }

  unreadStamp() {
    const { social, store } = this.client;
    return social.friendsIn('friend').map(({ room_id: id }) => store.room(id ?? '')?.notifications ?? 0);
  }

  /**
   * @param {string} title @param {string} id @param {Friend[]} friends
   * @param {(friend: Friend) => HTMLElement} draw @param {string} [empty]
   */
  section(title, id, friends, draw, empty) {
    if (friends.length === 0 && !empty) return null;
    return h('section', { data: { section: id }, 'aria-labelledby': `friends-${id}` },
      h('h3', { id: `friends-${id}` }, title, h('span', { class: 'count' }, friends.length)),
      friends.length > 0 ? h('ul', { class: 'rows' }, friends.map(draw)) : h('p', { class: 'empty' }, empty));
  }

  /** @param {Friend} friend @param {any} detail @param {...any} buttons */
  row(friend, detail, ...buttons) {
    return h('li', { class: 'person', data: { user: friend.user_id } },
      avatar(this.client.media, { id: friend.user_id, name: nameOf(friend), address: friend.avatar_url }),
      h('span', { class: 'who' }, h('strong', {}, nameOf(friend)), h('small', { title: friend.user_id }, detail)),
      h('span', { class: 'buttons' }, buttons));
  }

  /**
   * @param {Friend} friend @param {import('../matrix/social.js').Act} act @param {string} label
   * @param {import('../lib/icons.js').IconName} drawing @param {string} [done]
   */
  button(friend, act, label, drawing, done) {
    const button = h('button', {
      class: act === 'accept' ? 'primary small' : 'small', type: 'button', 'aria-label': `${label}: ${nameOf(friend)}`, title: label, data: { act },
    }, icon(drawing), act === 'accept' && label);
    button.addEventListener('click', () => attempt(button, async () => {
      const now = await this.client.social.act(friend.user_id, act);
      if (done) tell(done);
      if (act === 'accept' && now.room_id) this.actions.show(now.room_id);
    }));
    return button;
  }

  /** @param {Friend} friend */
  more(friend) {
    const button = h('button', {
      class: 'plain', type: 'button', 'aria-haspopup': 'menu', 'aria-expanded': 'false', 'aria-label': `More about ${nameOf(friend)}`, data: { act: 'more' },
    }, icon('menu'));
    button.addEventListener('click', () => openMenu(button, [
      ...friend.past_rooms.map((id, at) => (
        /** @type {const} */ ({ label: at === 0 ? 'Read the last past chat' : `Past chat ${at + 1}`, icon: 'chats', id: 'past', act: () => this.past(id) }))).slice(0, 5),
      friend.state === 'friend' && { label: 'Unfriend', icon: 'leave', id: 'unfriend', isDangerous: true, act: () => unfriend(this.client, friend) },
      friend.state !== 'blocked' && { label: 'Block', icon: 'close', id: 'block', isDangerous: true, act: () => block(this.client, friend) },
    ]));
    return button;
  }

  /** @param {string} roomId */
  past(roomId) {
    attempt(null, async () => {
      await this.client.loadLeft(roomId);
      this.actions.show(roomId);
    }, 'This chat cannot be read.');
  }

  /** @param {Friend} friend */
  incoming(friend) {
    return this.row(friend, friend.message ? `“${friend.message}”` : friend.user_id,
      this.button(friend, 'accept', 'Accept', 'check', `You and ${nameOf(friend)} are friends now.`),
      this.button(friend, 'decline', 'Decline', 'close'), this.more(friend));
  }

  /** @param {Friend} friend */
  outgoing(friend) {
    return this.row(friend, `Asked ${shortTime(friend.since_ts ?? 0)}`, this.button(friend, 'withdraw', 'Withdraw', 'close'));
  }

  /** @param {Friend} friend */
  friend(friend) {
    const unread = this.client.store.room(friend.room_id ?? '')?.notifications ?? 0;
    const open = h('button', {
      class: 'small', type: 'button', 'aria-label': `Message ${nameOf(friend)}${unread > 0 ? `, ${unread} unread` : ''}`, title: 'Open the chat', data: { act: 'message' },
    }, icon('message'), unread > 0 && h('span', { class: 'badge' }, unread));
    open.addEventListener('click', () => friend.room_id && this.actions.show(friend.room_id));
    return this.row(friend, friend.user_id, open, this.more(friend));
  }

  /** @param {Friend} friend */
  ended(friend) {
    const read = friend.past_rooms[0] && h('button', {
      class: 'small', type: 'button', 'aria-label': `Read the chat with ${nameOf(friend)}`, title: 'Read the chat', data: { act: 'read' },
    }, icon('chats'));
    if (read) read.addEventListener('click', () => this.past(friend.past_rooms[0]));
    const again = h('button', {
      class: 'small', type: 'button', 'aria-label': `Befriend ${nameOf(friend)} again`, title: 'Befriend again', data: { act: 'again' },
    }, icon('add'));
    again.addEventListener('click', () => attempt(again, () => befriend(this.client, friend.user_id, '')));
    return this.row(friend, friend.ending ? ENDINGS[friend.ending] : friend.user_id, read, again, this.more(friend));
  }

  /** @param {Friend} friend */
  blocked(friend) {
    return this.row(friend, friend.user_id, this.button(friend, 'unblock', 'Unblock', 'check', `${nameOf(friend)} is no longer blocked.`));
  }
}

/** @param {Client} client @param {string} userId @param {string} message */
export async function befriend(client, userId, message) {
  const friend = await client.social.request(userId, message);
  tell(friend.state === 'friend' ? `You and ${nameOf(friend)} are friends now.` : `${nameOf(friend)} has your request.`);
  return friend;
}

/** @param {Client} client @param {Friend} friend */
export async function unfriend(client, friend) {
  const text = `The chat with ${nameOf(friend)} ends. Both of you can still read it, and you can ask again later.`;
  if (await confirm({ title: `Unfriend ${nameOf(friend)}?`, text, act: 'Unfriend' })) {
    await attempt(null, () => client.social.act(friend.user_id, 'unfriend'));
  }
}

/** @param {Client} client @param {Friend} friend */
export async function block(client, friend) {
  const text = `${nameOf(friend)} cannot send you requests any more, and you see none of their messages. If you are friends, that ends.`;
  if (await confirm({ title: `Block ${nameOf(friend)}?`, text, act: 'Block' })) {
    await attempt(null, () => client.social.act(friend.user_id, 'block'));
  }
}

/** Whom a person means: `anna`, `@anna` and `anna:example.org` too. @param {string} typed @param {string} me */
export function userIdOf(typed, me) {
  const name = typed.trim().replace(/^@/, '');
  return `@${name}${name.includes(':') ? '' : me.slice(me.indexOf(':'))}`;
}

/** The window in which somebody is asked for friendship. @param {Client} client @param {() => void} done */
export function addFriend(client, done) {
  const who = h('input', { type: 'text', name: 'who', required: true, autocomplete: 'off', autocapitalize: 'none', spellcheck: 'false', autofocus: true });
  const message = h('input', { type: 'text', name: 'message', maxlength: '500', autocomplete: 'off' });
  const found = h('ul', { class: 'rows found', 'aria-label': 'People on this server' });
  const problem = h('p', { class: 'problem', role: 'alert' });
  let timer = 0;
  who.addEventListener('input', () => {
    clearTimeout(timer);
    problem.textContent = '';
    timer = setTimeout(() => suggest(client, who, found), 200);
  });
  openDialog({
    title: 'Add a friend',
    content: [
      field('Name', who, `Such as anna, or with the server: @anna:example.org. You are ${client.me}.`), found,
      field('Message (optional)', message), problem,
    ],
    actions: [h('button', { class: 'primary', type: 'submit' }, 'Send request')],
    submit: async () => {
      try {
        await befriend(client, userIdOf(who.value, client.me), message.value.trim());
        done();
        return true;
      } catch (error) {
        const isUnknown = error instanceof MatrixError && error.status === 404;
        problem.textContent = isUnknown ? 'There is nobody of that name.' : explain(error);
        return false;
      }
    },
  });
}

/** @param {Client} client @param {HTMLInputElement} who @param {HTMLElement} found */
async function suggest(client, who, found) {
  const term = who.value.trim();
  // Servers need not have a directory of users; a name works without it.
  const users = term.length < 2 ? [] : await client.searchUsers(term).catch(() => []);
  if (term !== who.value.trim()) return;
  const others = users.filter((/** @type {any} */ user) => user.user_id !== client.me).slice(0, 5);
  fill(found, others.map((/** @type {any} */ user) => {
    const name = user.display_name || user.user_id;
    const button = h('button', { class: 'row', type: 'button' },
      avatar(client.media, { id: user.user_id, name, address: user.avatar_url, size: 'small' }),
      h('span', { class: 'who' }, h('strong', {}, name), h('small', {}, user.user_id)));
    button.addEventListener('click', () => {
      who.value = user.user_id;
      fill(found);
      who.focus();
    });
    return h('li', {}, button);
  }));
  if (others.length > 0) found.setAttribute('aria-description', `${plural(others.length, 'person', 'people')} found`);
}
