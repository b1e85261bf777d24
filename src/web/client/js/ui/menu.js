// A menu below a button, with the keys that menus have.

import { h } from '../lib/dom.js';
import { icon } from '../lib/icons.js';

/** @typedef {{ label: string, icon: import('../lib/icons.js').IconName, act: () => void, isDangerous?: boolean, id?: string } | null | false} Choice */

const MARGIN = 8;

/**
 * @param {HTMLElement} button @param {Choice[]} choices
 */
export function openMenu(button, choices) {
  const items = choices.filter(Boolean).map((choice) => {
    const { label, icon: name, act, isDangerous, id } = /** @type {any} */ (choice);
    const item = h('button', { class: isDangerous ? 'danger' : '', role: 'menuitem', type: 'button', tabindex: '-1', data: { act: id ?? '' } }, icon(name), label);
    item.addEventListener('click', () => {
      close();
      act();
    });
    return item;
  });
  const menu = h('div', { class: 'menu', role: 'menu', popover: 'auto' }, items);
  menu.addEventListener('keydown', (/** @type {KeyboardEvent} */ event) => moveBy(event, items));
  menu.addEventListener('toggle', (/** @type {any} */ event) => event.newState === 'closed' && close());
  let isOpen = true;
  const close = () => {
    if (!isOpen) return;
    isOpen = false;
    const hadFocus = menu.contains(document.activeElement);
    menu.remove();
    button.setAttribute('aria-expanded', 'false');
    if (hadFocus) button.focus();
  };
  document.body.append(menu);
  menu.showPopover();
  place(menu, button);
  button.setAttribute('aria-expanded', 'true');
  items[0]?.focus();
  return close;
}

/** @param {KeyboardEvent} event @param {HTMLElement[]} items */
function moveBy(event, items) {
  const at = items.indexOf(/** @type {HTMLElement} */ (document.activeElement));
  const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: items.length - 1 }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  items.at(to % items.length)?.focus();
}

/** Below the button, or above it where there is no room. @param {HTMLElement} floating @param {HTMLElement} anchor */
export function place(floating, anchor) {
  const from = anchor.getBoundingClientRect();
  const { offsetWidth: width, offsetHeight: height } = floating;
  const left = Math.min(Math.max(MARGIN, from.right - width), innerWidth - width - MARGIN);
  const isBelow = from.bottom + height + MARGIN < innerHeight;
  const top = isBelow ? from.bottom + 4 : Math.max(MARGIN, from.top - height - 4);
  floating.style.setProperty('left', `${left}px`);
  floating.style.setProperty('top', `${top}px`);
}
