// Friends and groups: the endpoints of `spec/social.yaml`, and what this client remembers of their answers.

import { Emitter, soon } from '../lib/emitter.js';
import { MatrixError, path } from './http.js';

const BASE = '/_matrix/client/unstable/chat.hearth.social';
/** Entries of a page, and pages of a list. */
const PAGE = 200;
const PAGES_MAX = 50;
/** Account data whose change means that the friends have changed. */
const SIGNALS = new Set(['chat.hearth.friends', 'm.ignored_user_list', 'm.direct']);

/**
 * @typedef {object} Friend
 * @property {string} user_id
 * @property {'none' | 'pending_out' | 'pending_in' | 'friend' | 'ended' | 'blocked'} state
 * @property {string} [room_id]
 * @property {string} [displayname]
 * @property {string} [avatar_url]
 * @property {string} [message]
 * @property {number} [since_ts]
 * @property {'declined' | 'withdrawn' | 'unfriended'} [ending]
 * @property {string[]} past_rooms
 */

/**
 * @typedef {object} Group
 * @property {string} room_id
 * @property {'group' | 'private_group'} kind
 * @property {string} [membership]
 * @property {boolean} created_by_me
 * @property {string} [name]
 * @property {string} [topic]
 * @property {string} [avatar_url]
 * @property {string} [canonical_alias]
 * @property {number} joined_members
 * @property {string} [invited_by]
 */

/** @typedef {'created' | 'joined' | 'invited' | 'open'} GroupList */
/** @typedef {'accept' | 'decline' | 'withdraw' | 'unfriend' | 'block' | 'unblock'} Act */

/** Tells of `friends` and `groups` when they have changed. */
export class Social extends Emitter {
  /**
   * @param {import('./http.js').Http} http
   * @param {import('./store.js').Store} store
   */
  constructor(http, store) {
    super();
    this.http = http;
    this.store = store;
    /** @type {Map<string, Friend>} */
    this.friends = new Map();
    /** @type {Record<GroupList, Group[]>} */
    this.groups = { created: [], joined: [], invited: [], open: [] };
    this.openSearch = '';
    /** Why the lists are not there; nothing if they are. */
    this.problem = '';
    this.isMissing = false;
    this.knowsFriends = false;
    this.knowsGroups = false;
    this.friendsRound = 0;
    this.groupsRound = 0;
    this.memberships = '';
    this.refreshFriends = soon(() => this.loadFriends());
    this.refreshGroups = soon(() => this.loadGroups());
  }

  /** Looks at an answer of `/sync` for what concerns friends and groups. @param {any} answer */
  observe(answer) {
    if (this.isMissing) return;
    const types = (answer.account_data?.events ?? []).map((/** @type {any} */ event) => event.type);
    const memberships = [...this.store.rooms.values()].map((room) => `${room.id} ${room.membership}`).sort().join();
    const haveMoved = memberships !== this.memberships;
    this.memberships = memberships;
    if (!this.knowsFriends || haveMoved || types.some((/** @type {string} */ type) => SIGNALS.has(type))) {
      this.refreshFriends();
    }
    if (!this.knowsGroups || haveMoved) this.refreshGroups();
  }

  /**
   * All pages of a list.
   * @param {string} where @param {string} field @param {Record<string, string>} [query]
   */
  async all(where, field, query = {}) {
    const entries = [];
    let from;
    for (let pages = 0; pages < PAGES_MAX; pages += 1) {
      const page = await this.http.get(`${BASE}${where}`, { query: { ...query, limit: PAGE, from } });
      entries.push(...(page[field] ?? []));
      from = page.next_batch;
      if (!from) break;
    }
    return entries;
  }

  // --- friends ---

  /** @param {unknown} error */
  fail(error) {
    this.isMissing = error instanceof MatrixError && error.errcode === 'M_UNRECOGNIZED';
    const words = error instanceof Error ? error.message : String(error);
    this.problem = this.isMissing ? 'This server has no lists of friends and groups.' : words;
  }

  async loadFriends() {
    const round = (this.friendsRound += 1);
    try {
      const all = await this.all('/friends', 'friends');
      // A later question has a newer answer.
      if (round !== this.friendsRound) return;
      this.friends = new Map(all.map((friend) => [friend.user_id, friend]));
      this.knowsFriends = true;
      this.problem = '';
    } catch (error) {
      this.fail(error);
    }
    this.emit('friends');
  }

  /** @param {...Friend['state']} states */
  friendsIn(...states) {
    const all = [...this.friends.values()].filter((friend) => states.includes(friend.state));
    return all.sort((a, b) => nameOf(a).localeCompare(nameOf(b)));
  }

  /** @param {Friend} friend */
  put(friend) {
    this.friendsRound += 1;
    if (friend.state === 'none') this.friends.delete(friend.user_id);
    else this.friends.set(friend.user_id, friend);
    this.emit('friends');
    return friend;
  }

  /** @param {string} userId @param {string} message @returns {Promise<Friend>} */
  async request(userId, message) {
    const body = message ? { message } : {};
    return this.put(await this.http.post(`${BASE}${path`/friends/${userId}/request`}`, body));
  }

  /** @param {string} userId @param {Act} act @returns {Promise<Friend>} */
  async act(userId, act) {
    try {
      return this.put(await this.http.post(`${BASE}${path`/friends/${userId}`}/${act}`));
    } catch (error) {
      // Somebody was quicker: show what there is now.
      if (error instanceof MatrixError && error.status === 409) this.refreshFriends();
      throw error;
    }
  }

  /** The friends to pick from. @param {string} search @returns {Promise<{ users: Friend[], limited: boolean }>} */
  circle(search) {
    return this.http.get(`${BASE}/circle`, { query: { search, limit: 50 } });
  }

  // --- groups ---

  async loadGroups() {
    const round = (this.groupsRound += 1);
    try {
      const names = /** @type {GroupList[]} */ (['created', 'joined', 'invited', 'open']);
      const lists = await Promise.all(names.map((list) => (
        this.all('/groups', 'groups', { list, search: list === 'open' ? this.openSearch : '' }))));
      if (round !== this.groupsRound) return;
      names.forEach((name, at) => (this.groups[name] = lists[at]));
      this.knowsGroups = true;
      this.problem = '';
    } catch (error) {
      this.fail(error);
    }
    this.emit('groups');
  }

  /** @param {{ name: string, topic?: string, open: boolean, invite: string[] }} group @returns {Promise<Group>} */
  async createGroup(group) {
    const made = await this.http.post(`${BASE}/groups`, group);
    this.refreshGroups();
    return made;
  }

  /** @param {string[]} members @param {string} name @returns {Promise<{ created: boolean, group: Group }>} */
  async openPrivateGroup(members, name) {
    const answer = await this.http.post(`${BASE}/private_groups`, name ? { members, name } : { members });
    this.refreshGroups();
    return answer;
  }
}

/** @param {Friend} friend */
export function nameOf(friend) {
  return friend.displayname?.trim() || friend.user_id.slice(1).split(':')[0];
}
