// One room as this client knows it.

import { listOf, localpart } from '../lib/format.js';
import { isEdit, isMessage, itemsOf, summaryOf } from './timeline.js';

/** @typedef {import('./timeline.js').MatrixEvent} MatrixEvent */

/** Power of a creator where creators stand above all levels (room version 12). */
const CREATOR_POWER = Infinity;

/** @param {any} value */
function text(value) {
  return typeof value === 'string' ? value.trim() : '';
}

export class Room {
  /** @param {string} id @param {string} me */
  constructor(id, me) {
    this.id = id;
    this.me = me;
    /** @type {'join' | 'invite' | 'leave' | 'knock'} */
    this.membership = 'join';
    /** @type {Map<string, Map<string, MatrixEvent>>} */
    this.state = new Map();
    /** @type {MatrixEvent[]} oldest first, without gaps, up to now */
    this.events = [];
    /** @type {Set<string>} */
    this.ids = new Set();
    /** @type {string | null} where older events begin; none if there are none */
    this.before = null;
    /** @type {MatrixEvent[]} what this client is sending */
    this.echoes = [];
    /** @type {Map<string, string>} reader → event */
    this.receipts = new Map();
    /** @type {string[]} */
    this.typing = [];
    /** @type {Map<string, any>} */
    this.accountData = new Map();
    /** @type {Map<string, any>} events that replies quote and the timeline does not hold; null while not known */
    this.quoted = new Map();
    this.notifications = 0;
    this.highlights = 0;
    /** @type {string[]} */
    this.heroes = [];
    this.joinedCount = 0;
    this.invitedCount = 0;
    this.knowsMembers = false;
    /** What `lastMessage` has answered, and to what: lists ask often. */
    this.lastStamp = '';
    /** @type {{ sender: string, ts: number, summary: string } | null} */
    this.lastKnown = null;
  }

  /** @param {string} type @param {string} [key] */
  stateEvent(type, key = '') {
    return this.state.get(type)?.get(key);
  }

  /** @param {string} type @param {string} [key] @returns {any} */
  stateContent(type, key = '') {
    return this.stateEvent(type, key)?.content ?? {};
  }

  /** @param {MatrixEvent} event */
  putState(event) {
    if (event.state_key === undefined) return;
    const byKey = this.state.get(event.type) ?? new Map();
    this.state.set(event.type, byKey.set(event.state_key, event));
  }

  // --- who and what ---

  /** `direct`, `group` or `private_group`, as Hearth has written it into the room; empty for rooms of other origin. */
  get kind() {
    return text(this.stateContent('m.room.create')['chat.hearth.kind']);
  }

  get isEncrypted() {
    return this.stateEvent('m.room.encryption') !== undefined;
  }

  get isTombstoned() {
    return text(this.stateContent('m.room.tombstone').replacement_room) !== '';
  }

  get creator() {
    return this.stateEvent('m.room.create')?.sender ?? '';
  }

  get topic() {
    return text(this.stateContent('m.room.topic').topic);
  }

  get joinRule() {
    return text(this.stateContent('m.room.join_rules').join_rule) || 'invite';
  }

  /** @param {string} userId @returns {any} */
  member(userId) {
    return this.stateContent('m.room.member', userId);
  }

  /** All that are known, by membership. @param {...string} memberships */
  members(...memberships) {
    const all = [...(this.state.get('m.room.member') ?? [])];
    return all.filter(([, event]) => memberships.includes(event.content?.membership)).map(([userId]) => userId);
  }

  /** @param {string} userId */
  nameOf(userId) {
    return text(this.member(userId).displayname) || localpart(userId);
  }

  /** The name, and which of those with the same name. @param {string} userId */
  uniqueNameOf(userId) {
    const name = this.nameOf(userId);
    const others = this.members('join', 'invite').some((other) => other !== userId && this.nameOf(other) === name);
    return others ? `${name} (${userId})` : name;
  }

  /** Members other than this user, as far as known, those who have gone last. */
  others() {
    const present = this.members('join', 'invite').filter((userId) => userId !== this.me);
    if (present.length > 0) return present;
    const heroes = this.heroes.filter((userId) => userId !== this.me);
    return heroes.length > 0 ? heroes : this.members('leave').filter((userId) => userId !== this.me);
  }

  get name() {
    const given = text(this.stateContent('m.room.name').name) || text(this.stateContent('m.room.canonical_alias').alias);
    if (given) return given;
    const heroes = this.heroes.filter((userId) => userId !== this.me);
    const people = heroes.length > 0 ? heroes : this.others();
    const total = Math.max(people.length, this.joinedCount + this.invitedCount - 1);
    return listOf(people.map((userId) => this.nameOf(userId)), total) || 'Empty chat';
  }

  /** @returns {string} an mxc address, or nothing */
  get avatar() {
    return text(this.stateContent('m.room.avatar').url);
  }

  get memberCount() {
    return this.joinedCount || this.members('join').length;
  }

  /** @param {string} userId */
  power(userId) {
    const create = this.stateContent('m.room.create');
    const creatorsRule = Number(create.room_version) >= 12;
    const creators = [this.creator, ...(Array.isArray(create.additional_creators) ? create.additional_creators : [])];
    if (creatorsRule && creators.includes(userId)) return CREATOR_POWER;
    const levels = this.stateContent('m.room.power_levels');
    return Number(levels.users?.[userId] ?? levels.users_default ?? 0);
  }

  /** Whether this user may do what needs a level of `m.room.power_levels`. @param {string} act @param {number} usual */
  may(act, usual) {
    return this.power(this.me) >= Number(this.stateContent('m.room.power_levels')[act] ?? usual);
  }

  /** @param {string} type */
  maySend(type) {
    const levels = this.stateContent('m.room.power_levels');
    const isState = type.startsWith('m.room.') && type !== 'm.room.message';
    const needed = levels.events?.[type] ?? (isState ? levels.state_default ?? 50 : levels.events_default ?? 0);
    return this.membership === 'join' && this.power(this.me) >= Number(needed);
  }

  // --- timeline ---

  /** New events, at the end. @param {MatrixEvent[]} events @param {{ limited?: boolean, prev_batch?: string }} gap */
  append(events, { limited, prev_batch: before }) {
    if (limited || this.events.length === 0) {
      this.events = [];
      this.ids.clear();
      this.before = before ?? null;
    }
    for (const event of events) {
      if (event.state_key !== undefined) this.putState(event);
      if (this.ids.has(event.event_id)) continue;
      this.ids.add(event.event_id);
      this.events.push(event);
    }
  }

  /** Older events, newest first, as the server sends them. @param {MatrixEvent[]} events @param {string | null} before */
  prepend(events, before) {
    const fresh = events.filter((event) => !this.ids.has(event.event_id));
    for (const event of fresh) this.ids.add(event.event_id);
    this.events = [...fresh.reverse(), ...this.events];
    this.before = before;
  }

  /** @param {string} id */
  event(id) {
    return this.events.find((event) => event.event_id === id) ?? this.quoted.get(id) ?? null;
  }

  /** @param {string | null} readUpTo */
  items(readUpTo = null) {
    return itemsOf(this.events, { me: this.me, echoes: this.echoes, readUpTo, receipts: this.receipts });
  }

  /** The newest message, as one line; edits and deletions included. */
  lastMessage() {
    const stamp = `${this.events.length} ${this.events.at(-1)?.event_id} ${this.echoes.map((echo) => echo.event_id)}`;
    if (this.lastStamp === stamp) return this.lastKnown;
    this.lastStamp = stamp;
    this.lastKnown = this.findLastMessage();
    return this.lastKnown;
  }

  findLastMessage() {
    const items = itemsOf(this.events.slice(-60), { me: this.me, echoes: this.echoes });
    const last = items.filter((item) => item.kind === 'message').pop();
    if (!last?.event) return null;
    const summary = last.isDeleted ? 'Message deleted' : summaryOf(last.content, last.event.type);
    return { sender: last.event.sender, ts: last.ts, summary };
  }

  /** When something was last said. */
  get activeAt() {
    for (let at = this.events.length - 1; at >= 0; at -= 1) {
      const event = this.events[at];
      if (isMessage(event) && !isEdit(event)) return event.origin_server_ts;
    }
    const mine = this.stateEvent('m.room.member', this.me) ?? this.stateEvent('m.room.create');
    return mine?.origin_server_ts ?? 0;
  }

  /** The event after which the unread ones begin; none if all is read, or nothing is known. @returns {string | null} */
  get readUpTo() {
    if (this.notifications === 0) return null;
    const known = text(this.accountData.get('m.fully_read')?.event_id) || this.receipts.get(this.me);
    if (known) return known;
    // Nothing was ever marked here: count from the end.
    let left = this.notifications;
    for (let at = this.events.length - 1; at > 0; at -= 1) {
      const event = this.events[at];
      if (isMessage(event) && !isEdit(event) && event.sender !== this.me) left -= 1;
      if (left === 0) return this.events[at - 1].event_id;
    }
    return null;
  }
}
