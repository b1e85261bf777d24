// Where one writes: text, replies, edits, and files to go with them.

import { fill, h } from '../lib/dom.js';
import { icon } from '../lib/icons.js';
import { sizeOf } from '../lib/format.js';
import { isEdit, summaryOf, withoutFallback } from '../matrix/timeline.js';
import { describeFile } from './attachment.js';
import { openEmoji } from './later.js';
import { complain } from './toast.js';

/** What was written and not sent, by room; kept while the page is open. @type {Map<string, string>} */
const drafts = new Map();
/** Letters of one message; the limit of an event is 64 KiB. */
const LETTERS_MAX = 20_000;
/** Files attached at once. */
const FILES_MAX = 20;

/** @typedef {import('../matrix/timeline.js').MatrixEvent} MatrixEvent */

export class Composer {
  /**
   * @param {import('../matrix/client.js').Client} client
   * @param {import('../matrix/room.js').Room} room
   * @param {() => void} sent
   */
  constructor(client, room, sent) {
    this.client = client;
    this.room = room;
    this.sent = sent;
    /** @type {{ kind: 'reply' | 'edit', event: MatrixEvent } | null} */
    this.about = null;
    /** @type {{ file: File, element: HTMLElement }[]} */
    this.files = [];
    this.input = h('textarea', { rows: '1', 'aria-label': 'Message', placeholder: 'Write a message', maxlength: LETTERS_MAX, dir: 'auto', autocomplete: 'off' });
    this.input.value = drafts.get(room.id) ?? '';
    this.context = h('div', { class: 'context', hidden: true });
    this.tray = h('ul', { class: 'tray', hidden: true, 'aria-label': 'Attached files' });
    this.picker = h('input', { type: 'file', multiple: true, class: 'for-readers', tabindex: '-1', 'aria-hidden': 'true' });
    const attach = h('button', { class: 'plain', type: 'button', 'aria-label': 'Attach files', title: 'Attach files', data: { act: 'attach' }, on: { click: () => this.picker.click() } }, icon('paperclip'));
    const smile = h('button', { class: 'plain', type: 'button', 'aria-label': 'Insert an emoji', title: 'Insert an emoji' }, icon('smile'));
    smile.addEventListener('click', () => openEmoji(smile, (emoji) => this.insert(emoji)));
    this.button = h('button', { class: 'send', type: 'submit', 'aria-label': 'Send', title: 'Send' }, icon('send'));
    this.element = h('form', { class: 'composer', 'aria-label': 'Write a message', on: { submit: (/** @type {Event} */ event) => this.submit(event) } },
      this.context, this.tray, h('div', { class: 'composer-line' }, attach, this.input, smile, this.button), this.picker);
    this.listen();
    requestAnimationFrame(() => this.grow());
  }

  listen() {
    this.input.addEventListener('input', () => {
      this.grow();
      if (this.about?.kind !== 'edit') drafts.set(this.room.id, this.input.value);
      if (this.input.value.trim()) this.client.typing(this.room);
      else this.client.stopTyping();
    });
    this.input.addEventListener('keydown', (/** @type {KeyboardEvent} */ event) => this.key(event));
    this.input.addEventListener('paste', (/** @type {ClipboardEvent} */ event) => {
      const files = [...(event.clipboardData?.files ?? [])];
      if (files.length === 0) return;
      event.preventDefault();
      this.attach(files);
    });
    this.picker.addEventListener('change', () => {
      this.attach([...(this.picker.files ?? [])]);
      this.picker.value = '';
    });
  }

  focus() {
    this.input.focus();
  }

  grow() {
    this.input.style.setProperty('height', 'auto');
    this.input.style.setProperty('height', `${this.input.scrollHeight}px`);
  }

  /** @param {string} text */
  insert(text) {
    this.input.setRangeText(text, this.input.selectionStart, this.input.selectionEnd, 'end');
    this.input.dispatchEvent(new Event('input'));
    this.focus();
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    if (event.isComposing) return;
    if (event.key === 'Enter' && !event.shiftKey) {
      this.submit(event);
    } else if (event.key === 'Escape' && this.about) {
      event.preventDefault();
      this.cancel();
    } else if (event.key === 'ArrowUp' && this.input.value === '' && !this.about) {
      const last = this.room.items().filter((item) => item.kind === 'message' && !item.isDeleted && !item.event?.pending
        && item.event?.sender === this.room.me && item.content?.msgtype === 'm.text').pop();
      if (!last?.event) return;
      event.preventDefault();
      this.edit(last.event, withoutFallback(last.content.body));
    }
  }

  // --- replies and edits ---

  /** @param {MatrixEvent} event */
  replyTo(event) {
    if (this.about?.kind === 'edit') this.cancel();
    this.about = { kind: 'reply', event };
    this.showContext(`Reply to ${this.room.nameOf(event.sender)}`, summaryOf(event.content, event.type));
    this.focus();
  }

  /** @param {MatrixEvent} event @param {string} body */
  edit(event, body) {
    if (isEdit(event)) return;
    this.about = { kind: 'edit', event };
    this.input.value = body;
    this.showContext('Edit message', '');
    this.grow();
    this.focus();
    this.input.setSelectionRange(body.length, body.length);
  }

  /** @param {string} title @param {string} text */
  showContext(title, text) {
    const cancel = h('button', { class: 'plain', type: 'button', 'aria-label': 'Cancel', on: { click: () => this.cancel() } }, icon('close'));
    fill(this.context, icon(this.about?.kind === 'edit' ? 'edit' : 'reply'), h('span', {}, h('strong', {}, title), h('small', {}, text)), cancel);
    this.context.hidden = false;
  }

  cancel() {
    if (this.about?.kind === 'edit') this.input.value = drafts.get(this.room.id) ?? '';
    this.about = null;
    this.context.hidden = true;
    this.grow();
    this.focus();
  }

  // --- files ---

  /** @param {File[]} files */
  async attach(files) {
    const limit = await this.client.media.limit();
    for (const file of files) {
      if (file.size > limit) complain(new Error(`“${file.name}” has ${sizeOf(file.size)}; this server takes up to ${sizeOf(limit)}.`));
      else if (this.files.length >= FILES_MAX) complain(new Error(`At most ${FILES_MAX} files at once.`));
      else this.addFile(file);
    }
    this.tray.hidden = this.files.length === 0;
    this.focus();
  }

  /** @param {File} file */
  addFile(file) {
    const remove = h('button', { class: 'plain', type: 'button', 'aria-label': `Remove ${file.name}` }, icon('close'));
    const element = h('li', {}, icon('file'), h('span', {}, h('strong', {}, file.name), h('small', {}, sizeOf(file.size))), remove);
    remove.addEventListener('click', () => {
      this.files = this.files.filter((other) => other.element !== element);
      element.remove();
      this.tray.hidden = this.files.length === 0;
    });
    this.files.push({ file, element });
    this.tray.append(element);
  }

  // --- sending ---

  /** @param {Event} event */
  async submit(event) {
    event.preventDefault();
    const body = this.input.value.trim();
    if (!body && this.files.length === 0) return;
    const { about, files } = this;
    this.input.value = '';
    drafts.delete(this.room.id);
    this.files = [];
    fill(this.tray);
    this.tray.hidden = true;
    this.about = null;
    this.context.hidden = true;
    this.grow();
    for (const { file } of files) await this.sendFile(file);
    if (body && about?.kind === 'edit') this.client.edit(this.room, about.event, body);
    else if (body) this.client.sendText(this.room, body, about?.event);
    this.sent();
    this.focus();
  }

  /** @param {File} file */
  async sendFile(file) {
    try {
      this.client.send(this.room, await describeFile(file), file);
    } catch (error) {
      complain(error, `“${file.name}” cannot be sent.`);
    }
  }
}
