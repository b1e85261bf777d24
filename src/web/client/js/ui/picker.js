// Choosing people: a field with a drop-down of one's circle below, and those chosen as chips in it.

import { fill, h } from '../lib/dom.js';
import { icon } from '../lib/icons.js';
import { nameOf } from '../matrix/social.js';
import { avatar } from './avatar.js';
import { explain } from './toast.js';

const PAUSE_MS = 120;
let serial = 0;

/** @typedef {import('../matrix/social.js').Friend} Friend */

export class PeoplePicker {
  /**
   * @param {import('../matrix/client.js').Client} client
   * @param {{ label: string, changed?: () => void, isLeftOut?: (userId: string) => boolean }} options
   */
  constructor(client, { label, changed = () => {}, isLeftOut = () => false }) {
    this.client = client;
    this.changed = changed;
    this.isLeftOut = isLeftOut;
    /** @type {Map<string, Friend>} */
    this.chosen = new Map();
    /** @type {Friend[]} */
    this.offered = [];
    this.at = -1;
    this.round = 0;
    const id = `picker-${(serial += 1)}`;
    this.chips = h('span', { class: 'chips' });
    this.input = h('input', {
      id, type: 'text', role: 'combobox', autocomplete: 'off', 'aria-autocomplete': 'list', 'aria-expanded': 'false',
      'aria-controls': `${id}-list`, placeholder: 'Search your friends', 'aria-describedby': `${id}-status`,
    });
    // Above everything, so that opening and closing it moves nothing that somebody is about to click.
    this.list = h('ul', { id: `${id}-list`, role: 'listbox', class: 'drop-down', 'aria-label': label, popover: 'manual' });
    this.status = h('p', { id: `${id}-status`, class: 'hint', role: 'status' });
    this.field = h('div', { class: 'picker-field' }, this.chips, this.input);
    this.element = h('div', { class: 'field picker' }, h('label', { for: id }, label), this.field, this.list, this.status);
    this.listen();
  }

  listen() {
    let timer = 0;
    this.input.addEventListener('input', () => {
      clearTimeout(timer);
      timer = setTimeout(() => this.search(), PAUSE_MS);
    });
    this.input.addEventListener('focus', () => this.search());
    this.input.addEventListener('click', () => !this.isOpen && this.search());
    this.input.addEventListener('blur', () => this.close());
    this.input.addEventListener('keydown', (/** @type {KeyboardEvent} */ event) => this.key(event));
    // The field keeps the keyboard while somebody clicks into the list.
    this.list.addEventListener('mousedown', (/** @type {MouseEvent} */ event) => event.preventDefault());
    this.field.addEventListener('click', () => this.input.focus());
  }

  get isOpen() {
    return this.list.matches(':popover-open');
  }

  get userIds() {
    return [...this.chosen.keys()];
  }

  async search() {
    const round = (this.round += 1);
    try {
      const { users, limited } = await this.client.social.circle(this.input.value.trim());
      if (round !== this.round || document.activeElement !== this.input) return;
      this.offered = users.filter((user) => !this.chosen.has(user.user_id) && !this.isLeftOut(user.user_id));
      this.at = this.offered.length > 0 ? 0 : -1;
      this.status.textContent = this.statusText(limited);
      this.draw();
    } catch (error) {
      if (round === this.round) this.status.textContent = explain(error);
    }
  }

  /** @param {boolean} isLimited */
  statusText(isLimited) {
    if (this.offered.length > 0) return isLimited ? 'There are more: type a name' : '';
    if (this.input.value.trim()) return 'None of your friends is called that';
    return this.chosen.size > 0 ? 'All your friends are chosen' : 'Nobody here yet: befriend people first';
  }

  drawChips() {
    fill(this.chips, [...this.chosen.values()].map((user) => this.chip(user)));
  }

  draw() {
    this.drawChips();
    fill(this.list, this.offered.map((user, at) => this.option(user, at)));
    if (this.offered.length === 0 || document.activeElement !== this.input) return this.close();
    if (!this.isOpen) this.list.showPopover();
    this.place();
    this.input.setAttribute('aria-expanded', 'true');
    const active = this.list.children[this.at];
    if (active) this.input.setAttribute('aria-activedescendant', active.id);
    active?.scrollIntoView({ block: 'nearest' });
    return undefined;
  }

  /** Below the field, or above it where there is more room. */
  place() {
    const { left, top, bottom, width } = this.field.getBoundingClientRect();
    const below = innerHeight - bottom - 16;
    const isBelow = below > 160 || below > top;
    const style = this.list.style;
    style.setProperty('left', `${left}px`);
    style.setProperty('width', `${width}px`);
    style.setProperty('max-height', `${Math.min(240, isBelow ? below : top - 16)}px`);
    style.setProperty('top', isBelow ? `${bottom + 4}px` : `${top - 4 - this.list.offsetHeight}px`);
  }

  /** @param {Friend} user */
  chip(user) {
    const remove = h('button', { class: 'plain', type: 'button', 'aria-label': `Remove ${nameOf(user)}` }, icon('close'));
    remove.addEventListener('click', () => {
      this.chosen.delete(user.user_id);
      this.changed();
      this.drawChips();
      this.input.focus();
    });
    return h('span', { class: 'chip', data: { user: user.user_id } }, nameOf(user), remove);
  }

  /** @param {Friend} user @param {number} at */
  option(user, at) {
    const option = h('li', {
      role: 'option', id: `${this.list.id}-${at}`, 'aria-selected': String(at === this.at), data: { user: user.user_id },
    },
      avatar(this.client.media, { id: user.user_id, name: nameOf(user), address: user.avatar_url, size: 'small' }),
      h('span', { class: 'who' }, h('strong', {}, nameOf(user)), h('small', {}, user.user_id)));
    option.addEventListener('click', () => this.choose(user));
    return option;
  }

  /** @param {Friend} user */
  choose(user) {
    this.chosen.set(user.user_id, user);
    this.input.value = '';
    this.changed();
    this.drawChips();
    this.close();
  }

  close() {
    this.round += 1;
    if (this.isOpen) this.list.hidePopover();
    this.input.setAttribute('aria-expanded', 'false');
    this.input.removeAttribute('aria-activedescendant');
  }

  /** @param {KeyboardEvent} event */
  key(event) {
    const count = this.offered.length;
    if (event.key === 'ArrowDown' || event.key === 'ArrowUp') {
      event.preventDefault();
      if (!this.isOpen) return void this.search();
      this.at = (this.at + (event.key === 'ArrowDown' ? 1 : count - 1)) % count;
      this.draw();
    } else if (event.key === 'Enter' && this.isOpen && this.offered[this.at]) {
      event.preventDefault();
      this.choose(this.offered[this.at]);
    } else if (event.key === 'Escape' && this.isOpen) {
      event.preventDefault();
      event.stopPropagation();
      this.close();
    } else if (event.key === 'Backspace' && this.input.value === '' && this.chosen.size > 0) {
      this.chosen.delete(/** @type {string} */ (this.userIds.at(-1)));
      this.changed();
      this.drawChips();
    }
    return undefined;
  }
}
