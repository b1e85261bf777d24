// Windows above the page. The browser's own <dialog> keeps the keyboard inside and closes on Escape.

import { h } from '../lib/dom.js';
import { icon } from '../lib/icons.js';
import { attempt } from './toast.js';

let serial = 0;

/**
 * @param {{ title: string, content: any, actions?: any[], kind?: string, submit?: (button: HTMLButtonElement) => Promise<boolean | void> }} options
 *   `submit` runs when the form is sent; it keeps the window open by answering `false` or failing
 * @returns {HTMLDialogElement & { dismiss: () => void }}
 */
export function openDialog({ title, content, actions = [], kind = '', submit }) {
  const id = `dialog-${(serial += 1)}`;
  const close = h('button', { class: 'plain', type: 'button', 'aria-label': 'Close' }, icon('close'));
  const form = h('form', { method: 'dialog', novalidate: false },
    h('header', {}, h('h2', { id }, title), close),
    h('div', { class: 'content' }, content),
    actions.length > 0 && h('footer', {}, actions));
  const dialog = h('dialog', { class: `window ${kind}`, 'aria-labelledby': id }, form);
  const before = /** @type {HTMLElement | null} */ (document.activeElement);
  dialog.dismiss = () => dialog.close();
  close.addEventListener('click', dialog.dismiss);
  dialog.addEventListener('close', () => {
    dialog.remove();
    if (before?.isConnected) before.focus();
  });
  // A click beside the window. The press has to begin there too, or selecting text would close it.
  dialog.addEventListener('mousedown', (/** @type {MouseEvent} */ event) => event.target === dialog && dialog.close());
  form.addEventListener('submit', async (/** @type {SubmitEvent} */ event) => {
    event.preventDefault();
    if (!submit) return dialog.close();
    const button = /** @type {HTMLButtonElement} */ (event.submitter ?? form.querySelector('.primary'));
    const isDone = await attempt(button, async () => (await submit(button)) !== false);
    if (isDone) dialog.close();
  });
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

/**
 * Asks before something that cannot be undone.
 * @param {{ title: string, text: string, act: string, isDangerous?: boolean }} question
 * @returns {Promise<boolean>}
 */
export function confirm({ title, text, act, isDangerous = true }) {
  return new Promise((resolve) => {
    let answer = false;
    const cancel = h('button', { type: 'button' }, 'Cancel');
    const go = h('button', { class: isDangerous ? 'primary danger' : 'primary', type: 'submit', autofocus: true }, act);
    const dialog = openDialog({
      title, content: h('p', {}, text), actions: [cancel, go], kind: 'small', submit: async () => void (answer = true),
    });
    cancel.addEventListener('click', dialog.dismiss);
    dialog.addEventListener('close', () => resolve(answer));
  });
}

/** A labelled field. @param {string} label @param {any} input @param {string} [hint] */
export function field(label, input, hint) {
  input.id ||= `field-${(serial += 1)}`;
  const hintId = `${input.id}-hint`;
  if (hint) input.setAttribute('aria-describedby', hintId);
  return h('div', { class: 'field' }, h('label', { for: input.id }, label), input, hint && h('p', { class: 'hint', id: hintId }, hint));
}
