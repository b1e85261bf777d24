// From events to what is shown: edits and reactions in their place, deleted messages emptied, days apart. Pure: values
// in, values out, so that the tests need no browser.

import { dayKey } from '../lib/format.js';

/** Messages of one sender that follow each other within this time are shown as one block. */
const BLOCK_MS = 5 * 60_000;
/** Different reactions shown below one message, and letters of one. */
const REACTIONS_MAX = 24;
const REACTION_LETTERS_MAX = 40;

/**
 * An event as the server sends it.
 * @typedef {object} MatrixEvent
 * @property {string} event_id
 * @property {string} type
 * @property {string} sender
 * @property {number} origin_server_ts
 * @property {any} content
 * @property {string} [state_key]
 * @property {string} [redacts]
 * @property {any} [unsigned]
 * @property {import('./outbox.js').Pending} [pending] of an event that the server has not confirmed yet
 */

/**
 * @typedef {{ key: string, senders: string[], mine: string | null }} Reaction
 *   `mine` is the event to redact to take it back
 */

/**
 * @typedef {object} Item
 * @property {'day' | 'unread' | 'message' | 'notice'} kind
 * @property {string} key
 * @property {number} ts
 * @property {MatrixEvent} [event]
 * @property {any} [content] what it says now
 * @property {boolean} [isEdited]
 * @property {boolean} [isDeleted]
 * @property {boolean} [isContinued] the sender is shown above already
 * @property {Reaction[]} [reactions]
 * @property {string} [replyTo]
 * @property {string[]} [readers]
 */

/** @param {any} value @returns {value is string} */
function isText(value) {
  return typeof value === 'string' && value.length > 0;
}

/** What an event says about its relation to another one. @param {MatrixEvent} event */
function relation(event) {
  const relates = event.content?.['m.relates_to'];
  return relates && typeof relates === 'object' ? relates : {};
}

/** @param {MatrixEvent} event */
export function redactedId(event) {
  if (event.type !== 'm.room.redaction') return null;
  const id = event.redacts ?? event.content?.redacts;
  return isText(id) ? id : null;
}

/** @param {MatrixEvent} event */
function isRedacted(event) {
  return Boolean(event.unsigned?.redacted_because);
}

/** Types that are shown as messages. @param {MatrixEvent} event */
export function isMessage(event) {
  if (event.state_key !== undefined) return false;
  return ['m.room.message', 'm.room.encrypted', 'm.sticker'].includes(event.type);
}

/** @param {MatrixEvent} event */
export function isEdit(event) {
  return relation(event).rel_type === 'm.replace' && isText(relation(event).event_id);
}

const NOTICES = new Set([
  'm.room.create', 'm.room.member', 'm.room.name', 'm.room.topic', 'm.room.avatar', 'm.room.encryption', 'm.room.tombstone',
]);

/** @param {MatrixEvent} event */
function isNotice(event) {
  if (event.state_key === undefined || !NOTICES.has(event.type)) return false;
  const before = event.unsigned?.prev_content;
  if (event.type !== 'm.room.member' || !before) return true;
  const keys = ['membership', 'displayname', 'avatar_url'];
  return keys.some((key) => before[key] !== event.content?.[key]);
}

/** What relates to other events, gathered by the event it relates to. */
class Relations {
  /** @param {MatrixEvent[]} events @param {string} me */
  constructor(events, me) {
    this.me = me;
    /** @type {Set<string>} */
    this.redacted = new Set();
    for (const event of events) {
      const id = redactedId(event);
      if (id) this.redacted.add(id);
      if (isRedacted(event)) this.redacted.add(event.event_id);
    }
    /** @type {Map<string, MatrixEvent[]>} */
    this.edits = new Map();
    /** @type {Map<string, Map<string, Map<string, string>>>} */
    this.reactions = new Map();
    for (const event of events) {
      if (this.redacted.has(event.event_id)) continue;
      if (event.type === 'm.reaction') this.addReaction(event);
      else if (isEdit(event)) this.addEdit(event);
    }
  }

  /** @param {MatrixEvent} event */
  addReaction(event) {
    const { rel_type: type, event_id: target, key } = relation(event);
    if (type !== 'm.annotation' || !isText(target) || !isText(key)) return;
    const byKey = this.reactions.get(target) ?? new Map();
    const short = [...key].slice(0, REACTION_LETTERS_MAX).join('');
    const senders = byKey.get(short) ?? new Map();
    if (!senders.has(event.sender)) senders.set(event.sender, event.event_id);
    this.reactions.set(target, byKey.set(short, senders));
  }

  /** @param {MatrixEvent} event */
  addEdit(event) {
    const target = relation(event).event_id;
    const edits = this.edits.get(target) ?? [];
    edits.push(event);
    this.edits.set(target, edits);
  }

  /** The newest edit that counts: by the same sender, with new content. @param {MatrixEvent} event */
  editOf(event) {
    const bundled = event.unsigned?.['m.relations']?.['m.replace'];
    const all = [...(this.edits.get(event.event_id) ?? [])];
    if (bundled?.content && !this.redacted.has(bundled.event_id)) all.unshift(bundled);
    const valid = all.filter((edit) => edit.sender === event.sender && edit.type === event.type
      && edit.content?.['m.new_content'] && typeof edit.content['m.new_content'] === 'object');
    // Not yet sent is newest; of equal times the later in the list wins.
    return valid.reduce((/** @type {MatrixEvent | null} */ best, edit) => (
      !best || edit.pending || edit.origin_server_ts >= best.origin_server_ts ? edit : best), null);
  }

  /** @param {string} id @returns {Reaction[]} */
  reactionsOf(id) {
    const byKey = [...(this.reactions.get(id) ?? [])].slice(0, REACTIONS_MAX);
    return byKey.map(([key, senders]) => ({
      key, senders: [...senders.keys()], mine: senders.get(this.me) ?? null,
    }));
  }
}

/**
 * @typedef {object} Context
 * @property {string} me
 * @property {MatrixEvent[]} [echoes] what is on its way
 * @property {string | null} [readUpTo] the event after which the unread ones begin
 * @property {Map<string, string>} [receipts] reader → event
 * @property {(event: MatrixEvent) => boolean} [isShown] further conditions
 */

/**
 * What to show of these events.
 * @param {MatrixEvent[]} events oldest first
 * @param {Context} context
 * @returns {Item[]}
 */
export function itemsOf(events, { me, echoes = [], readUpTo = null, receipts = new Map() }) {
  const all = [...events, ...echoes];
  const relations = new Relations(all, me);
  /** @type {Item[]} */
  const items = [];
  /** @type {Map<string, number>} the item at or before each event */
  const placeOf = new Map();
  let day = '';
  let isUnread = false;
  for (const event of all) {
    const item = itemOf(event, relations);
    if (item) {
      const newDay = dayKey(item.ts);
      if (newDay !== day) {
        day = newDay;
        items.push({ kind: 'day', key: `day-${newDay}-${event.event_id}`, ts: item.ts });
      }
      if (isUnread && event.sender !== me) {
        items.push({ kind: 'unread', key: 'unread', ts: item.ts });
        isUnread = false;
      }
      item.isContinued = continues(items[items.length - 1], item);
      items.push(item);
    }
    placeOf.set(event.event_id, items.length - 1);
    if (event.event_id === readUpTo) isUnread = true;
  }
  addReaders(items, placeOf, receipts, me);
  return items;
}

/** @param {MatrixEvent} event @param {Relations} relations @returns {Item | null} */
function itemOf(event, relations) {
  const ts = event.origin_server_ts;
  // The same from the moment it is written until the page is left: the element stays.
  const txnId = event.pending?.txnId ?? event.unsigned?.transaction_id;
  const key = isText(txnId) ? `~${txnId}` : event.event_id;
  if (isNotice(event)) return { kind: 'notice', key, ts, event };
  if (!isMessage(event) || isEdit(event)) return null;
  if (relations.redacted.has(event.event_id)) {
    return { kind: 'message', key, ts, event, content: {}, isDeleted: true, reactions: [] };
  }
  const edit = relations.editOf(event);
  return {
    kind: 'message',
    key,
    ts,
    event,
    content: edit ? edit.content['m.new_content'] : event.content ?? {},
    isEdited: Boolean(edit),
    isDeleted: false,
    reactions: relations.reactionsOf(event.event_id),
    replyTo: replyTarget(event),
  };
}

/** @param {MatrixEvent} event @returns {string | undefined} */
function replyTarget(event) {
  const id = relation(event)['m.in_reply_to']?.event_id;
  if (!isText(id) || relation(event).is_falling_back === true) return undefined;
  return id;
}

/** @param {Item | undefined} before @param {Item} item */
function continues(before, item) {
  if (before?.kind !== 'message' || item.kind !== 'message') return false;
  return before.event?.sender === item.event?.sender && item.ts - before.ts < BLOCK_MS;
}

/**
 * @param {Item[]} items @param {Map<string, number>} placeOf @param {Map<string, string>} receipts @param {string} me
 */
function addReaders(items, placeOf, receipts, me) {
  for (const [reader, id] of receipts) {
    const place = placeOf.get(id);
    if (reader === me || place === undefined) continue;
    let at = place;
    while (at >= 0 && items[at].kind !== 'message') at -= 1;
    if (at < 0 || items[at].event?.sender === reader) continue;
    (items[at].readers ??= []).push(reader);
  }
}

/** A reply's text without the quotation that older clients put before it. @param {any} body */
export function withoutFallback(body) {
  if (!isText(body)) return '';
  if (!body.startsWith('> <@')) return body;
  const lines = body.split('\n');
  const end = lines.findIndex((line) => !line.startsWith('> '));
  if (end < 0) return body;
  return lines.slice(lines[end] === '' ? end + 1 : end).join('\n');
}

/** One line for lists and quotations. @param {any} content @param {string} [type] */
export function summaryOf(content, type = 'm.room.message') {
  if (type === 'm.room.encrypted') return '🔒 Encrypted message';
  if (type === 'm.sticker') return 'Sticker';
  const name = isText(content?.filename) ? content.filename : isText(content?.body) ? content.body : '';
  switch (content?.msgtype) {
    case 'm.image': return `📷 ${name || 'Image'}`;
    case 'm.video': return `🎬 ${name || 'Video'}`;
    case 'm.audio': return `🎵 ${name || 'Audio'}`;
    case 'm.file': return `📎 ${name || 'File'}`;
    default: return withoutFallback(content?.body).replace(/\s+/g, ' ').trim().slice(0, 200);
  }
}
