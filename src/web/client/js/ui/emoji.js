// Choosing a reaction.

import { h } from '../lib/dom.js';
import { place } from './menu.js';

const QUICK = ['👍', '❤️', '😂', '😮', '😢', '🎉', '🔥', '👀'];
const MORE = [
  '😀', '😁', '😅', '😊', '🙂', '😉', '😍', '🥰', '😘', '😎', '🤩', '🥳', '🤔', '🤨', '😐', '🙄', '😬', '😴', '🤯', '😱', '😭', '😡', '🤗', '🤭', '🤝', '👋', '👏', '🙌',
  '🙏', '💪', '👎', '👌', '✌️', '🤞', '🤘', '🫶', '💯', '✅', '❌', '❓', '❗', '⭐', '✨', '⚡', '☀️', '🌧️', '🌈', '🌱', '🌸', '🍀', '🐱', '🐶', '🦊', '🐢',
  '🍎', '🍕', '🍰', '☕', '🍺', '🍷', '⚽', '🎮', '🎵', '🎨', '🚀', '🏕️', '🏠', '💡', '📌', '🎁', '💔', '💙', '💚', '💛', '🧡', '💜',
];
const ROW = 8;

/** @param {HTMLElement} button @param {(emoji: string) => void} choose */
export function openEmoji(button, choose) {
  const buttons = [...QUICK, ...MORE].map((emoji) => {
    const one = h('button', { type: 'button', role: 'menuitem', tabindex: '-1', 'aria-label': emoji }, emoji);
    one.addEventListener('click', () => {
      close();
      choose(emoji);
    });
    return one;
  });
  const grid = h('div', { class: 'menu emoji', role: 'menu', 'aria-label': 'Reactions', popover: 'auto' }, buttons);
  let isOpen = true;
  const close = () => {
    if (!isOpen) return;
    isOpen = false;
    const hadFocus = grid.contains(document.activeElement);
    grid.remove();
    if (hadFocus) button.focus();
  };
  grid.addEventListener('toggle', (/** @type {any} */ event) => event.newState === 'closed' && close());
  grid.addEventListener('keydown', (/** @type {KeyboardEvent} */ event) => {
    const at = buttons.indexOf(document.activeElement);
    const to = { ArrowRight: at + 1, ArrowLeft: at - 1, ArrowDown: at + ROW, ArrowUp: at - ROW }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    buttons[Math.min(Math.max(to, 0), buttons.length - 1)].focus();
  });
  document.body.append(grid);
  grid.showPopover();
  place(grid, button);
  buttons[0].focus();
}
