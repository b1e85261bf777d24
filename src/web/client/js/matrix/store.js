// All that sync has told: rooms and account data. Only sync responses and a few answers of the server change it.

import { Emitter } from '../lib/emitter.js';
import { Room } from './room.js';

/** @typedef {import('./timeline.js').MatrixEvent} MatrixEvent */

/** @param {any} value @returns {any[]} */
function list(value) {
  return Array.isArray(value) ? value.filter((entry) => entry && typeof entry === 'object') : [];
}

/** @param {any} value @returns {[string, any][]} */
function entries(value) {
  return value && typeof value === 'object' ? Object.entries(value) : [];
}

/**
 * Tells of `rooms` (something in the list has changed), `room` (with the room that has changed) and `account` (with the
 * type of account data).
 */
export class Store extends Emitter {
  /** @param {string} me */
  constructor(me) {
    super();
    this.me = me;
    /** @type {Map<string, Room>} */
    this.rooms = new Map();
    /** @type {Map<string, any>} */
    this.accountData = new Map();
    this.isReady = false;
  }

  /** @param {string} id */
  room(id) {
    return this.rooms.get(id) ?? null;
  }

  /** @param {string} id */
  roomFor(id) {
    const room = this.rooms.get(id) ?? new Room(id, this.me);
    this.rooms.set(id, room);
    return room;
  }

  /** @param {string} membership */
  roomsBy(membership) {
    return [...this.rooms.values()].filter((room) => room.membership === membership);
  }

  /** The other user of a direct chat, by `m.direct` or by what the room says of itself. @param {Room} room */
  partner(room) {
    for (const [userId, ids] of entries(this.accountData.get('m.direct'))) {
      if (Array.isArray(ids) && ids.includes(room.id)) return userId;
    }
    if (room.kind !== 'direct') return null;
    return room.others()[0] ?? null;
  }

  /** What a room is called here. @param {Room} room */
  titleOf(room) {
    const partner = this.partner(room);
    return partner && !room.stateContent('m.room.name').name ? room.nameOf(partner) : room.name;
  }

  /** @param {Room} room */
  isDirect(room) {
    return this.partner(room) !== null;
  }

  get ignored() {
    const users = this.accountData.get('m.ignored_user_list')?.ignored_users;
    return new Set(entries(users).map(([userId]) => userId));
  }

  /** @param {Room} room */
  touched(room) {
    this.emit('room', room);
    this.emit('rooms');
  }

  /** @param {any} answer of `/sync` */
  apply(answer) {
    for (const event of list(answer.account_data?.events)) {
      this.accountData.set(event.type, event.content ?? {});
    }
    const rooms = answer.rooms ?? {};
    for (const [id, part] of entries(rooms.join)) this.applyJoined(this.roomFor(id), part);
    for (const [id, part] of entries(rooms.invite)) this.applyStripped(id, part.invite_state, 'invite');
    for (const [id, part] of entries(rooms.knock)) this.applyStripped(id, part.knock_state, 'knock');
    for (const [id, part] of entries(rooms.leave)) this.applyLeft(id, part);
    this.isReady = true;
    for (const event of list(answer.account_data?.events)) this.emit('account', event.type);
    this.emit('rooms');
  }

  /** @param {Room} room @param {any} part */
  applyJoined(room, part) {
    if (room.membership !== 'join') {
      room.membership = 'join';
      room.events = [];
      room.knowsMembers = false;
    }
    for (const event of list(part.state?.events)) room.putState(event);
    const timeline = list(part.timeline?.events);
    if (part.timeline && (timeline.length > 0 || part.timeline.limited)) room.append(timeline, part.timeline);
    dropEchoes(room, timeline);
    applySummary(room, part);
    for (const event of list(part.ephemeral?.events)) applyEphemeral(room, event);
    for (const event of list(part.account_data?.events)) room.accountData.set(event.type, event.content ?? {});
    this.emit('room', room);
  }

  /** @param {string} id @param {any} state @param {'invite' | 'knock'} membership */
  applyStripped(id, state, membership) {
    const room = this.roomFor(id);
    if (room.membership !== membership) {
      room.events = [];
      room.ids.clear();
    }
    room.membership = membership;
    for (const event of list(state?.events)) room.putState(event);
    this.emit('room', room);
  }

  /** @param {string} id @param {any} part */
  applyLeft(id, part) {
    const room = this.rooms.get(id);
    if (!room) return;
    const wasJoined = room.membership === 'join';
    room.membership = 'leave';
    room.notifications = 0;
    room.highlights = 0;
    room.typing = [];
    for (const event of list(part.state?.events)) room.putState(event);
    if (wasJoined) room.append(list(part.timeline?.events), part.timeline ?? {});
    this.emit('room', room);
    this.emit('left', room);
  }
}

/** What has come back from the server is no echo any more. @param {Room} room @param {MatrixEvent[]} events */
function dropEchoes(room, events) {
  if (room.echoes.length === 0) return;
  const back = new Set(events.flatMap((event) => [event.event_id, event.unsigned?.transaction_id]));
  room.echoes = room.echoes.filter(({ pending }) => !back.has(pending?.txnId) && !back.has(pending?.eventId));
}

/** @param {Room} room @param {any} part */
function applySummary(room, part) {
  const summary = part.summary ?? {};
  if (Array.isArray(summary['m.heroes'])) room.heroes = summary['m.heroes'].filter((id) => typeof id === 'string');
  room.joinedCount = Number(summary['m.joined_member_count'] ?? room.joinedCount);
  room.invitedCount = Number(summary['m.invited_member_count'] ?? room.invitedCount);
  const unread = part.unread_notifications;
  if (unread) {
    room.notifications = Number(unread.notification_count ?? 0);
    room.highlights = Number(unread.highlight_count ?? 0);
  }
}

/** @param {Room} room @param {any} event */
function applyEphemeral(room, event) {
  if (event.type === 'm.typing') {
    const users = Array.isArray(event.content?.user_ids) ? event.content.user_ids : [];
    room.typing = users.filter((/** @type {any} */ userId) => typeof userId === 'string' && userId !== room.me);
  } else if (event.type === 'm.receipt') {
    for (const [eventId, kinds] of entries(event.content)) {
      for (const kind of ['m.read', 'm.read.private']) {
        for (const [userId, receipt] of entries(kinds?.[kind])) {
          if (receipt?.thread_id === undefined || receipt.thread_id === 'main') room.receipts.set(userId, eventId);
        }
      }
    }
  }
}
