// The client of one logged-in user: everything that the views ask for.

import { Emitter } from '../lib/emitter.js';
import { Http, MatrixError, path } from './http.js';
import { Media } from './media.js';
import { Outbox } from './outbox.js';
import { TokenKeeper, sessionDelete, whenGone } from './sessions.js';
import { Social } from './social.js';
import { Store } from './store.js';
import { SyncLoop } from './sync.js';

const CLIENT = '/_matrix/client/v3';
/** Older messages that are asked for at once. */
const PAGE = 50;
/** How long the server believes that somebody is still typing, and how often it is told. */
const TYPING_MS = 20_000;
const TYPING_AGAIN_MS = 8_000;

/** @typedef {import('./room.js').Room} Room */
/** @typedef {import('./timeline.js').MatrixEvent} MatrixEvent */

/** Tells of `ended`: the session is over, with the reason. */
export class Client extends Emitter {
  /** @param {string} base @param {import('./sessions.js').Session} session */
  constructor(base, session) {
    super();
    this.me = session.userId;
    const anonymous = new Http(base, null);
    const refresh = (/** @type {string} */ token) => (
      anonymous.post(`${CLIENT}/refresh`, { refresh_token: token }, { anonymous: true }));
    this.http = new Http(base, new TokenKeeper(this.me, refresh, () => this.end('You have been signed out.')));
    this.store = new Store(this.me);
    this.media = new Media(this.http);
    this.outbox = new Outbox(this.http, this.store, this.media);
    this.social = new Social(this.http, this.store);
    this.sync = new SyncLoop(this.http, (answer) => this.apply(answer));
    /** @type {{ displayname?: string, avatar_url?: string }} */
    this.profile = {};
    this.typingRoom = '';
    this.typingAt = 0;
    /** @type {Map<string, Promise<boolean>>} rooms whose older messages are on their way */
    this.paging = new Map();
    /** @type {Map<string, string>} the newest event of each room that was marked read */
    this.marked = new Map();
  }

  start() {
    whenGone(this.me, () => this.end('You have signed out in another tab.'));
    this.sync.on('status', (status) => status === 'online' && this.outbox.hurry());
    this.sync.start();
    this.loadProfile();
  }

  stop() {
    this.sync.stop();
    this.outbox.stop();
    this.media.forget();
  }

  /** @param {string} reason */
  end(reason) {
    this.stop();
    this.emit('ended', reason);
  }

  /** @param {any} answer */
  apply(answer) {
    const isFirst = !this.store.isReady;
    this.store.apply(answer);
    this.social.observe(answer);
    if (isFirst) {
      this.outbox.restore();
      this.emit('ready');
    }
  }

  async logOut() {
    this.stop();
    await this.http.post(`${CLIENT}/logout`).catch(() => {});
    sessionDelete(this.me);
    this.emit('ended', '');
  }

  // --- this user ---

  get displayName() {
    return this.profile.displayname || this.me.slice(1).split(':')[0];
  }

  async loadProfile() {
    try {
      this.profile = await this.http.get(path`/_matrix/client/v3/profile/${this.me}`);
    } catch (error) {
      if (!(error instanceof MatrixError && error.status === 404)) return;
      this.profile = {};
    }
    this.emit('profile');
  }

  /** @param {'displayname' | 'avatar_url'} field @param {string} value */
  async setProfile(field, value) {
    await this.http.put(path`/_matrix/client/v3/profile/${this.me}/${field}`, { [field]: value });
    this.profile = { ...this.profile, [field]: value };
    this.emit('profile');
  }

  /**
   * @param {string} oldPassword @param {string} newPassword
   */
  async changePassword(oldPassword, newPassword) {
    const auth = { type: 'm.login.password', identifier: { type: 'm.id.user', user: this.me }, password: oldPassword };
    const body = { new_password: newPassword, logout_devices: false };
    try {
      await this.http.post(`${CLIENT}/account/password`, body);
    } catch (error) {
      if (!(error instanceof MatrixError) || error.status !== 401 || !error.body.session) throw error;
      await this.http.post(`${CLIENT}/account/password`, { ...body, auth: { ...auth, session: error.body.session } });
    }
  }

  // --- rooms ---

  /** @param {any} request */
  async createRoom(request) {
    const { room_id: id } = await this.http.post(`${CLIENT}/createRoom`, request);
    return id;
  }

  /** @param {string} roomIdOrAlias @returns {Promise<string>} */
  async join(roomIdOrAlias) {
    const { room_id: id } = await this.http.post(path`/_matrix/client/v3/join/${roomIdOrAlias}`);
    return id;
  }

  /** @param {string} roomId */
  async leave(roomId) {
    await this.http.post(path`/_matrix/client/v3/rooms/${roomId}/leave`);
  }

  /** @param {string} roomId @param {string} userId */
  async invite(roomId, userId) {
    await this.http.post(path`/_matrix/client/v3/rooms/${roomId}/invite`, { user_id: userId });
  }

  /** @param {string} roomId @param {string} type @param {any} content @param {string} [key] */
  async setState(roomId, type, content, key = '') {
    await this.http.put(path`/_matrix/client/v3/rooms/${roomId}/state/${type}/${key}`, content);
  }

  /** All members, once for each room. @param {Room} room */
  async loadMembers(room) {
    if (room.knowsMembers || room.membership !== 'join') return;
    room.knowsMembers = true;
    try {
      const where = path`/_matrix/client/v3/rooms/${room.id}/members`;
      const { chunk } = await this.http.get(where, { query: { not_membership: 'leave' } });
      for (const event of chunk ?? []) {
        const known = room.stateEvent('m.room.member', event.state_key);
        if (!known || known.origin_server_ts <= event.origin_server_ts) room.putState(event);
      }
      this.store.touched(room);
    } catch (error) {
      room.knowsMembers = false;
      throw error;
    }
  }

  /**
   * Older messages, one page at a time for each room.
   * @param {Room} room
   * @returns {Promise<boolean>} whether there were any
   */
  loadOlder(room) {
    const running = this.paging.get(room.id);
    if (running) return running;
    if (!room.before) return Promise.resolve(false);
    const page = this.loadPage(room, room.before).finally(() => this.paging.delete(room.id));
    this.paging.set(room.id, page);
    return page;
  }

  /** @param {Room} room @param {string} from */
  async loadPage(room, from) {
    const where = path`/_matrix/client/v3/rooms/${room.id}/messages`;
    const filter = JSON.stringify({ lazy_load_members: true });
    const answer = await this.http.get(where, { query: { dir: 'b', from, limit: PAGE, filter } });
    // The timeline was begun anew while this was on its way.
    if (room.before !== from) return true;
    for (const event of answer.state ?? []) {
      if (!room.stateEvent(event.type, event.state_key)) room.putState(event);
    }
    const chunk = answer.chunk ?? [];
    room.prepend(chunk, answer.end ?? null);
    this.store.emit('room', room);
    return chunk.length > 0;
  }

  /**
   * A room that this user has left, read-only: its last state and messages. Nothing is done for a room of which sync tells
   * or is about to tell.
   * @param {string} roomId
   */
  async loadLeft(roomId) {
    const known = this.store.room(roomId);
    if (known && (known.membership !== 'leave' || known.events.length > 0)) return;
    const state = await this.http.get(path`/_matrix/client/v3/rooms/${roomId}/state`);
    const mine = state.find((/** @type {MatrixEvent} */ event) => event.type === 'm.room.member' && event.state_key === this.me);
    if (mine?.content?.membership === 'join') return;
    const where = path`/_matrix/client/v3/rooms/${roomId}/messages`;
    const answer = await this.http.get(where, { query: { dir: 'b', limit: PAGE } });
    const room = this.store.roomFor(roomId);
    if (room.membership === 'join' && room.events.length > 0) return;
    room.membership = 'leave';
    for (const event of state) room.putState(event);
    room.prepend(answer.chunk ?? [], answer.end ?? null);
    this.store.touched(room);
  }

  /** An event that a reply quotes. @param {Room} room @param {string} id */
  async loadQuoted(room, id) {
    if (room.quoted.has(id)) return;
    room.quoted.set(id, null);
    try {
      room.quoted.set(id, await this.http.get(path`/_matrix/client/v3/rooms/${room.id}/event/${id}`));
      this.store.emit('room', room);
    } catch {
      // Not to be seen: the reply says so.
    }
  }

  // --- messages ---

  /** @param {Room} room @param {any} content @param {Blob} [file] */
  send(room, content, file) {
    this.stopTyping();
    return this.outbox.send(room, 'm.room.message', content, file);
  }

  /** @param {Room} room @param {string} body @param {MatrixEvent} [replyTo] */
  sendText(room, body, replyTo) {
    /** @type {any} */
    const content = body.startsWith('/me ') ? { msgtype: 'm.emote', body: body.slice(4) } : { msgtype: 'm.text', body };
    if (replyTo) {
      content['m.relates_to'] = { 'm.in_reply_to': { event_id: replyTo.event_id } };
      content['m.mentions'] = replyTo.sender === this.me ? {} : { user_ids: [replyTo.sender] };
    } else {
      content['m.mentions'] = {};
    }
    return this.send(room, content);
  }

  /** @param {Room} room @param {MatrixEvent} event @param {string} body */
  edit(room, event, body) {
    const fresh = { msgtype: event.content.msgtype ?? 'm.text', body, 'm.mentions': {} };
    return this.send(room, {
      ...fresh,
      body: `* ${body}`,
      'm.new_content': fresh,
      'm.relates_to': { rel_type: 'm.replace', event_id: event.event_id },
    });
  }

  /** @param {Room} room @param {string} eventId @param {string} key */
  react(room, eventId, key) {
    const relation = { rel_type: 'm.annotation', event_id: eventId, key };
    return this.outbox.send(room, 'm.reaction', { 'm.relates_to': relation });
  }

  /** @param {Room} room @param {string} eventId */
  redact(room, eventId) {
    return this.outbox.send(room, 'm.room.redaction', { redacts: eventId });
  }

  /** Everything up to that event has been seen. @param {Room} room @param {string} eventId */
  async markRead(room, eventId) {
    if (this.marked.get(room.id) === eventId || room.membership !== 'join') return;
    this.marked.set(room.id, eventId);
    try {
      const where = path`/_matrix/client/v3/rooms/${room.id}/read_markers`;
      await this.http.post(where, { 'm.fully_read': eventId, 'm.read': eventId });
    } catch {
      // The next message brings the next occasion.
      this.marked.delete(room.id);
    }
  }

  /** @param {Room} room */
  typing(room) {
    const now = Date.now();
    if (this.typingRoom === room.id && now - this.typingAt < TYPING_AGAIN_MS) return;
    if (this.typingRoom !== room.id) this.stopTyping();
    this.typingRoom = room.id;
    this.typingAt = now;
    this.tellTyping(room.id, { typing: true, timeout: TYPING_MS });
  }

  stopTyping() {
    if (!this.typingRoom) return;
    this.tellTyping(this.typingRoom, { typing: false });
    this.typingRoom = '';
  }

  /** @param {string} roomId @param {any} body */
  tellTyping(roomId, body) {
    const where = path`/_matrix/client/v3/rooms/${roomId}/typing/${this.me}`;
    this.http.put(where, body).catch(() => {});
  }

  /** People whose name or id contains the text. @param {string} term */
  async searchUsers(term) {
    const { results } = await this.http.post(`${CLIENT}/user_directory/search`, { search_term: term, limit: 20 });
    return results ?? [];
  }
}
