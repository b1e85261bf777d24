// One conversation: its head, its messages, and where one writes.

import { fill, h } from '../lib/dom.js';
import { icon } from '../lib/icons.js';
import { soon } from '../lib/emitter.js';
import { listOf, plural } from '../lib/format.js';
import { nameOf } from '../matrix/social.js';
import { avatar } from './avatar.js';
import { Composer } from './composer.js';
import { block, befriend, unfriend } from './friend-list.js';
import { openMenu } from './menu.js';
import { confirm } from './dialog.js';
import { roomDetails } from './later.js';
import { TimelineView } from './timeline-view.js';
import { attempt, explain } from './toast.js';

/** @typedef {{ show: (roomId: string) => void, leave: () => void }} Actions */

export class RoomView {
  /**
   * @param {import('../matrix/client.js').Client} client
   * @param {string} id
   * @param {Actions} actions
   */
  constructor(client, id, actions) {
    this.client = client;
    this.id = id;
    this.actions = actions;
    this.head = h('header', { class: 'room-head' });
    this.notice = h('div', { class: 'room-notice', role: 'status' });
    this.body = h('div', { class: 'room-body' });
    this.typing = h('p', { class: 'typing-line', 'aria-live': 'polite' });
    this.foot = h('footer', { class: 'room-foot' });
    this.element = h('article', { class: 'room', 'aria-label': 'Conversation' }, this.head, this.notice, this.body, this.typing, this.foot);
    /** @type {TimelineView | null} */
    this.timeline = null;
    /** @type {Composer | null} */
    this.composer = null;
    this.mode = '';
    const draw = soon(() => this.draw());
    this.ends = [
      client.store.on('room', (room) => room.id === id && draw()),
      client.store.on('account', draw),
      client.social.on('friends', draw),
    ];
    this.listenForFiles();
  }

  get room() {
    return this.client.store.room(this.id);
  }

  async start() {
    const room = this.room;
    if (room) this.draw();
    else fill(this.body, h('p', { class: 'empty' }, 'Loading…'));
    if (room?.membership === 'join') {
      this.client.loadMembers(room).catch(() => {});
    } else if (!room || (room.membership === 'leave' && room.events.length === 0)) {
      try {
        await this.client.loadLeft(this.id);
        this.draw();
      } catch (error) {
        fill(this.body, h('p', { class: 'empty' }, `This conversation cannot be shown. ${explain(error)}`));
      }
    }
  }

  close() {
    for (const end of this.ends) end();
    this.timeline?.close();
    this.client.stopTyping();
  }

  focus() {
    this.composer?.focus();
  }

  draw() {
    const room = this.room;
    if (!room) return;
    this.element.setAttribute('aria-label', `Conversation: ${this.client.store.titleOf(room)}`);
    const mode = room.membership === 'join' || room.membership === 'leave' ? 'messages' : room.membership;
    if (mode !== this.mode) this.enter(mode);
    this.drawHead(room);
    this.drawNotice(room);
    this.drawFoot(room);
    this.drawTyping(room);
    this.timeline?.draw();
    if (mode === 'invite') this.drawInvite(room);
  }

  /** @param {string} mode */
  enter(mode) {
    this.mode = mode;
    this.timeline?.close();
    this.timeline = null;
    if (mode !== 'messages') return;
    const room = /** @type {import('../matrix/room.js').Room} */ (this.room);
    this.timeline = new TimelineView(this.client, room, {
      reply: (event) => this.composer?.replyTo(event),
      edit: (event, body) => this.composer?.edit(event, body),
    });
    fill(this.body, this.timeline.element);
  }

  /** @param {import('../matrix/room.js').Room} room */
  friend(room) {
    const partner = this.client.store.partner(room) ?? (room.kind === 'direct' ? room.others()[0] : null);
    return partner ? this.client.social.friends.get(partner) ?? null : null;
  }

  /** @param {import('../matrix/room.js').Room} room */
  drawHead(room) {
    const { store, media } = this.client;
    const partner = store.partner(room);
    const isDirect = partner !== null || room.kind === 'direct';
    const title = store.titleOf(room);
    const picture = room.avatar || (partner ? room.member(partner).avatar_url : '');
    const detail = isDirect ? partner ?? '' : [plural(room.memberCount, 'member'), room.topic].filter(Boolean).join(' · ');
    const stamp = JSON.stringify([title, picture, detail, room.membership, room.isEncrypted, room.kind]);
    if (this.head.dataset.stamp === stamp) return;
    this.head.dataset.stamp = stamp;
    const back = h('button', { class: 'plain back', type: 'button', 'aria-label': 'Back to the list', on: { click: this.actions.leave } }, icon('back'));
    const info = h('button', {
      class: 'plain', type: 'button', 'aria-label': 'Details', title: 'Details', data: { act: 'details' },
      on: { click: () => roomDetails(this.client, room, this.actions.show) },
    }, icon('info'));
    const more = h('button', {
      class: 'plain', type: 'button', 'aria-haspopup': 'menu', 'aria-expanded': 'false', 'aria-label': 'More', data: { act: 'room-menu' },
    }, icon('menu'));
    more.addEventListener('click', () => this.menu(more, room));
    fill(this.head, back,
      avatar(media, { id: partner ?? room.id, name: title, address: picture, kind: isDirect ? 'person' : 'group' }),
      h('div', { class: 'who' },
        h('h2', {}, title, room.kind === 'private_group' && icon('lock', 'tiny')), h('small', { title: detail }, detail)),
      info, room.membership === 'join' && more);
  }

  /** @param {HTMLElement} button @param {import('../matrix/room.js').Room} room */
  menu(button, room) {
    const friend = this.friend(room);
    const isFriend = friend?.state === 'friend' && friend.room_id === room.id;
    openMenu(button, [
      { label: 'Details', icon: 'info', act: () => roomDetails(this.client, room, this.actions.show) },
      isFriend && { label: 'Unfriend', icon: 'leave', id: 'unfriend', isDangerous: true, act: () => unfriend(this.client, friend) },
      friend && friend.state !== 'blocked' && { label: 'Block', icon: 'close', id: 'block', isDangerous: true, act: () => block(this.client, friend) },
      !isFriend && { label: 'Leave', icon: 'leave', id: 'leave', isDangerous: true, act: () => this.leave(room) },
    ]);
  }

  /** @param {import('../matrix/room.js').Room} room */
  async leave(room) {
    const title = `Leave ${this.client.store.titleOf(room)}?`;
    const text = room.joinRule === 'public' ? 'You can join again at any time.' : 'You can only come back if somebody invites you.';
    if (!(await confirm({ title, text, act: 'Leave' }))) return;
    await attempt(null, async () => {
      await this.client.leave(room.id);
      this.actions.leave();
    });
  }

  /** @param {import('../matrix/room.js').Room} room */
  drawNotice(room) {
    const parts = [];
    const replaced = room.stateContent('m.room.tombstone').replacement_room;
    if (typeof replaced === 'string' && replaced) {
      const go = h('button', { class: 'link', type: 'button' }, 'Go there');
      go.addEventListener('click', () => attempt(go, async () => this.actions.show(await this.client.join(replaced))));
      parts.push(h('p', {}, icon('info'), h('span', {}, 'This group has moved. '), go));
    }
    if (room.isEncrypted) {
      parts.push(h('p', { data: { notice: 'encrypted' } }, icon('lock'), h('span', {},
        'This conversation is end-to-end encrypted. Messages in it can be read and written with a client that does encryption, such as Element.')));
    }
    const waiting = room.membership === 'join' && this.client.store.isDirect(room) && room.memberCount < 2;
    if (waiting) parts.push(h('p', {}, icon('info'), h('span', {}, 'Your request has not been answered yet. You can already write: it will be there.')));
    const stamp = parts.map((part) => part.textContent).join();
    if (this.notice.dataset.stamp === stamp) return;
    this.notice.dataset.stamp = stamp;
    fill(this.notice, parts);
  }

  /** @param {import('../matrix/room.js').Room} room */
  drawFoot(room) {
    const friend = this.friend(room);
    const state = room.membership !== 'join' ? `left ${friend?.state ?? ''} ${room.membership}`
      : room.isEncrypted ? 'encrypted' : room.maySend('m.room.message') ? 'open' : 'silent';
    if (this.foot.dataset.state === state) return;
    this.foot.dataset.state = state;
    this.composer = null;
    if (state === 'open') {
      this.composer = new Composer(this.client, room, () => this.timeline?.toEnd());
      fill(this.foot, this.composer.element);
      if (matchMedia('(hover: hover)').matches && !document.querySelector('dialog[open]')) this.composer.focus();
    } else if (room.membership === 'leave') {
      fill(this.foot, this.ended(friend));
    } else if (state === 'silent') {
      fill(this.foot, h('p', { class: 'ended' }, 'You may read here, but not write.'));
    } else {
      fill(this.foot);
    }
  }

  /** @param {import('../matrix/social.js').Friend | null} friend */
  ended(friend) {
    if (!friend) return h('p', { class: 'ended' }, 'You are no longer in this conversation. What was said until then remains readable.');
    const name = nameOf(friend);
    if (friend.state === 'friend' && friend.room_id !== this.id) {
      const go = h('button', { class: 'primary', type: 'button' }, `Open the chat with ${name}`);
      go.addEventListener('click', () => this.actions.show(/** @type {string} */ (friend.room_id)));
      return h('p', { class: 'ended' }, 'This is a chat of the past.', go);
    }
    const again = friend.state === 'ended' && h('button', { class: 'primary', type: 'button', data: { act: 'again' } }, 'Befriend again');
    if (again) again.addEventListener('click', () => attempt(again, () => befriend(this.client, friend.user_id, '')));
    return h('p', { class: 'ended' }, `This chat with ${name} has ended. It remains readable.`, again);
  }

  /** @param {import('../matrix/room.js').Room} room */
  drawTyping(room) {
    const names = room.membership === 'join' ? room.typing.map((userId) => room.nameOf(userId)) : [];
    const text = names.length === 0 ? '' : `${listOf(names)} ${names.length === 1 ? 'is' : 'are'} typing…`;
    if (this.typing.textContent !== text) this.typing.textContent = text;
  }

  /** @param {import('../matrix/room.js').Room} room */
  drawInvite(room) {
    const mine = room.stateEvent('m.room.member', room.me);
    const inviter = mine?.sender ?? '';
    const isDirect = mine?.content?.is_direct === true || room.kind === 'direct';
    const accept = h('button', { class: 'primary', type: 'button', data: { act: 'accept-invite' } }, isDirect ? 'Accept' : 'Join');
    accept.addEventListener('click', () => attempt(accept, () => this.client.join(room.id)));
    const decline = h('button', { type: 'button' }, 'Decline');
    decline.addEventListener('click', () => attempt(decline, async () => {
      await this.client.leave(room.id);
      this.actions.leave();
    }));
    const who = inviter ? room.nameOf(inviter) : 'Somebody';
    fill(this.body, h('section', { class: 'welcome' },
      avatar(this.client.media, { id: room.id, name: this.client.store.titleOf(room), kind: isDirect ? 'person' : 'group', size: 'large' }),
      h('h2', {}, isDirect ? `${who} would like to be friends` : `${who} invites you to ${this.client.store.titleOf(room)}`),
      h('p', {}, inviter), h('div', { class: 'actions' }, accept, decline)));
  }

  /** Files that are dropped anywhere onto the conversation. */
  listenForFiles() {
    let depth = 0;
    const mark = (/** @type {number} */ by) => {
      depth = Math.max(0, depth + by);
      this.element.classList.toggle('dropping', depth > 0 && this.composer !== null);
    };
    const hasFiles = (/** @type {DragEvent} */ event) => event.dataTransfer?.types.includes('Files');
    this.element.addEventListener('dragenter', (/** @type {DragEvent} */ event) => hasFiles(event) && mark(1));
    this.element.addEventListener('dragleave', (/** @type {DragEvent} */ event) => hasFiles(event) && mark(-1));
    this.element.addEventListener('dragover', (/** @type {DragEvent} */ event) => hasFiles(event) && event.preventDefault());
    this.element.addEventListener('drop', (/** @type {DragEvent} */ event) => {
      if (!hasFiles(event)) return;
      event.preventDefault();
      mark(-depth);
      this.composer?.attach([...(event.dataTransfer?.files ?? [])]);
    });
  }
}
