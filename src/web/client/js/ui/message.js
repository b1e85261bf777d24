// One message: who, what, when; what others think of it; and what can be done with it.

import { fill, h } from '../lib/dom.js';
import { icon } from '../lib/icons.js';
import { exactTime, listOf, timeOf } from '../lib/format.js';
import { summaryOf, withoutFallback } from '../matrix/timeline.js';
import { attachment } from './attachment.js';
import { avatar } from './avatar.js';
import { confirm } from './dialog.js';
import { openEmoji } from './later.js';
import { linked, sanitized } from './text.js';

/** Readers shown below a message. */
const READERS_MAX = 4;

/** @typedef {import('../matrix/timeline.js').Item} Item */
/** @typedef {import('../matrix/timeline.js').MatrixEvent} MatrixEvent */
/** @typedef {import('../matrix/room.js').Room} Room */

/** All that a message shows: when it is the same, the element stays. @param {Room} room @param {Item} item */
export function messageStamp(room, item) {
  const event = /** @type {MatrixEvent} */ (item.event);
  const { status, progress, problem } = event.pending ?? {};
  const quoted = item.replyTo ? room.event(item.replyTo) : null;
  return JSON.stringify([
    event.event_id, item.content, item.isEdited, item.isDeleted, item.isContinued, item.reactions?.map((one) => [one.key, one.senders, one.mine]),
    item.readers, status, status === 'uploading' ? Math.round((progress ?? 0) * 50) : 0, problem, room.nameOf(event.sender),
    room.member(event.sender).avatar_url, quoted?.event_id, room.membership === 'join' && room.maySend('m.reaction'),
  ]);
}

export class MessageDrawer {
  /**
   * @param {import('../matrix/client.js').Client} client
   * @param {Room} room
   * @param {import('./timeline-view.js').Actions & { goTo: (id: string) => void }} actions
   */
  constructor(client, room, actions) {
    this.client = client;
    this.room = room;
    this.actions = actions;
  }

  /** @param {Item} item @returns {HTMLElement} */
  draw(item) {
    const event = /** @type {MatrixEvent} */ (item.event);
    const isMine = event.sender === this.room.me;
    const name = this.room.uniqueNameOf(event.sender);
    const kinds = ['message', isMine && 'mine', item.isContinued && 'continued', event.pending && `pending ${event.pending.status}`, item.isDeleted && 'deleted'];
    return h('li', {
      class: kinds.filter(Boolean).join(' '), tabindex: '-1', data: { event: event.event_id },
      'aria-label': `${name}, ${timeOf(item.ts)}`,
    },
      !isMine && !item.isContinued && avatar(this.client.media, { id: event.sender, name: this.room.nameOf(event.sender), address: this.room.member(event.sender).avatar_url }),
      h('div', { class: 'column' },
        !isMine && !item.isContinued && h('span', { class: 'sender', title: event.sender }, name),
        h('div', { class: 'bubble-line' }, h('div', { class: this.bubbleClass(item) }, this.quote(item), this.body(item, event), this.foot(item)), this.toolbar(item, event, isMine)),
        this.reactions(item, event), this.problem(event), this.readers(item)));
  }

  /** @param {Item} item */
  bubbleClass(item) {
    const text = item.content?.body;
    const isEmoji = item.content?.msgtype === 'm.text' && typeof text === 'string' && text.length <= 24 && /^(?:\p{Extended_Pictographic}|\p{Emoji_Component}|\s)+$/u.test(text) && /\p{Extended_Pictographic}/u.test(text);
    const isPicture = ['m.image', 'm.video'].includes(item.content?.msgtype) && !item.isDeleted;
    return `bubble${isEmoji ? ' emoji-only' : ''}${isPicture ? ' picture' : ''}`;
  }

  /** @param {Item} item */
  foot(item) {
    const event = /** @type {MatrixEvent} */ (item.event);
    const states = { waiting: 'Waiting…', uploading: 'Uploading…', sending: 'Sending…', sent: '', failed: 'Not sent' };
    const state = event.pending ? states[event.pending.status] : '';
    return h('span', { class: 'time' }, item.isEdited && h('span', { class: 'edited' }, 'edited'), state && h('span', { class: 'state' }, state),
      h('time', { datetime: isoOf(item.ts), title: exactTime(item.ts) }, timeOf(item.ts)));
  }

  /** @param {Item} item @param {MatrixEvent} event */
  body(item, event) {
    if (item.isDeleted) return h('p', { class: 'text gone' }, icon('trash', 'tiny'), 'Message deleted');
    if (event.type === 'm.room.encrypted') return h('p', { class: 'text gone' }, icon('lock', 'tiny'), 'Encrypted message');
    const content = item.content ?? {};
    if (['m.image', 'm.video', 'm.audio', 'm.file'].includes(content.msgtype) || event.type === 'm.sticker') {
      return attachment(this.client, this.room, event, content);
    }
    const name = content.msgtype === 'm.emote' && h('strong', {}, `${this.room.nameOf(event.sender)} `);
    const isRich = content.format === 'org.matrix.custom.html' && typeof content.formatted_body === 'string';
    const rich = isRich ? sanitized(content.formatted_body) : null;
    if (rich) return h('div', { class: `text rich ${content.msgtype === 'm.emote' ? 'emote' : ''}`, dir: 'auto' }, name, rich);
    const text = withoutFallback(content.body);
    return h('p', { class: `text ${content.msgtype === 'm.emote' ? 'emote' : ''}`, dir: 'auto' }, name, text ? linked(text) : h('em', {}, 'A message that this client cannot show'));
  }

  /** @param {Item} item */
  quote(item) {
    if (!item.replyTo || item.isDeleted) return null;
    const id = item.replyTo;
    const quoted = this.room.event(id);
    if (!quoted) this.client.loadQuoted(this.room, id);
    const shown = quoted && this.room.items().find((other) => other.event?.event_id === id);
    const text = !quoted ? 'A message that is not here' : shown?.isDeleted ? 'Message deleted' : summaryOf(shown?.content ?? quoted.content, quoted.type) || 'Message deleted';
    const button = h('button', { class: 'quote', type: 'button', 'aria-label': `In reply to: ${text}`, data: { focus: 'quote' } },
      quoted && h('strong', {}, this.room.nameOf(quoted.sender)), h('span', {}, text));
    button.addEventListener('click', () => this.actions.goTo(id));
    return button;
  }

  /** @param {Item} item @param {MatrixEvent} event @param {boolean} isMine */
  toolbar(item, event, isMine) {
    if (item.isDeleted || event.pending || this.room.membership !== 'join') return null;
    const isText = ['m.text', 'm.emote', 'm.notice'].includes(item.content?.msgtype);
    const mayDelete = isMine ? this.room.maySend('m.room.redaction') : this.room.may('redact', 50);
    const mayWrite = this.room.maySend('m.room.message') && !this.room.isEncrypted;
    return h('div', { class: 'toolbar', role: 'toolbar', 'aria-label': 'Act on this message' },
      this.room.maySend('m.reaction') && this.tool('react', 'React', 'smile', (button) => openEmoji(button, (key) => this.toggle(item, event, key))),
      mayWrite && this.tool('reply', 'Reply', 'reply', () => this.actions.reply(event)),
      mayWrite && isMine && isText && this.tool('edit', 'Edit', 'edit', () => this.actions.edit(event, withoutFallback(item.content.body))),
      mayDelete && this.tool('delete', 'Delete', 'trash', () => this.remove(event)));
  }

  /** @param {string} act @param {string} label @param {import('../lib/icons.js').IconName} drawing @param {(button: HTMLElement) => void} work */
  tool(act, label, drawing, work) {
    const button = h('button', { class: 'plain', type: 'button', 'aria-label': label, title: label, data: { act, focus: act } }, icon(drawing));
    button.addEventListener('click', () => work(button));
    return button;
  }

  /** @param {MatrixEvent} event */
  async remove(event) {
    const text = 'It disappears for everybody. This cannot be undone.';
    if (await confirm({ title: 'Delete this message?', text, act: 'Delete' })) this.client.redact(this.room, event.event_id);
  }

  /** Reacts, or takes the reaction back. @param {Item} item @param {MatrixEvent} event @param {string} key */
  toggle(item, event, key) {
    const known = item.reactions?.find((reaction) => reaction.key === key);
    if (!known?.mine) this.client.react(this.room, event.event_id, key);
    else if (!known.mine.startsWith('~')) this.client.redact(this.room, known.mine);
  }

  /** @param {Item} item @param {MatrixEvent} event */
  reactions(item, event) {
    if (!item.reactions?.length || item.isDeleted) return null;
    return h('div', { class: 'reactions', role: 'group', 'aria-label': 'Reactions' }, item.reactions.map((reaction) => {
      const who = listOf(reaction.senders.map((userId) => (userId === this.room.me ? 'you' : this.room.nameOf(userId))));
      const button = h('button', {
        class: 'reaction', type: 'button', 'aria-pressed': String(reaction.mine !== null), title: `${who}: ${reaction.key}`,
        'aria-label': `${reaction.key}, ${who}`, disabled: this.room.membership !== 'join', data: { focus: `reaction-${reaction.key}`, reaction: reaction.key },
      }, h('span', {}, reaction.key), h('span', { class: 'number' }, reaction.senders.length));
      button.addEventListener('click', () => this.toggle(item, event, reaction.key));
      return button;
    }));
  }

  /** @param {MatrixEvent} event */
  problem(event) {
    const { pending } = event;
    if (!pending) return null;
    if (pending.status === 'uploading') {
      const cancel = h('button', { class: 'link', type: 'button' }, 'Cancel');
      cancel.addEventListener('click', () => this.client.outbox.discard(this.room, event));
      const percent = Math.round((pending.progress ?? 0) * 100);
      return h('p', { class: 'upload' }, h('progress', { max: '100', value: percent, 'aria-label': 'Upload' }), `${percent} %`, cancel);
    }
    if (!pending.problem) return null;
    const retry = h('button', { class: 'link', type: 'button', data: { act: 'retry' } }, 'Try again');
    retry.addEventListener('click', () => this.client.outbox.retry(this.room, event));
    const discard = h('button', { class: 'link', type: 'button', data: { act: 'discard' } }, 'Discard');
    discard.addEventListener('click', () => this.client.outbox.discard(this.room, event));
    return h('p', { class: pending.isLasting ? 'problem' : 'waiting', role: pending.isLasting ? 'alert' : null }, icon('warning', 'tiny'), ` ${pending.problem} `, pending.isLasting && [retry, discard]);
  }

  /** @param {Item} item */
  readers(item) {
    if (!item.readers?.length) return null;
    const names = listOf(item.readers.map((userId) => this.room.nameOf(userId)));
    const line = h('div', { class: 'readers', title: `Read by ${names}` });
    fill(line, h('span', { class: 'for-readers' }, `Read by ${names}`), item.readers.slice(0, READERS_MAX).map((userId) => (
      avatar(this.client.media, { id: userId, name: this.room.nameOf(userId), address: this.room.member(userId).avatar_url, size: 'small' }))),
    item.readers.length > READERS_MAX && `+${item.readers.length - READERS_MAX}`);
    return line;
  }
}

/** @param {number} ts */
function isoOf(ts) {
  const date = new Date(ts);
  return Number.isNaN(date.getTime()) ? '' : date.toISOString();
}
