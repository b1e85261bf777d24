// A picture as large as the window.

import { fill, h } from '../lib/dom.js';
import { icon } from '../lib/icons.js';
import { sizeOf } from '../lib/format.js';
import { attempt, explain } from './toast.js';

/**
 * @param {import('../matrix/client.js').Client} client
 * @param {{ address: string, name: string, sender: string, size?: any }} picture
 */
export function openLightbox(client, { address, name, sender, size }) {
  const save = h('button', { type: 'button', data: { act: 'download' } }, icon('download'), 'Download');
  save.addEventListener('click', () => attempt(save, () => client.media.save(address, name), `“${name}” could not be downloaded.`));
  const close = h('button', { class: 'plain', type: 'button', 'aria-label': 'Close', autofocus: true }, icon('close'));
  const stage = h('div', { class: 'stage' }, h('p', { role: 'status' }, 'Loading…'));
  const dialog = h('dialog', { class: 'lightbox', 'aria-label': name },
    h('header', {}, h('span', { class: 'who' }, h('strong', {}, name), h('small', {}, [sender, sizeOf(size)].filter(Boolean).join(' · '))), save, close), stage);
  const before = /** @type {HTMLElement | null} */ (document.activeElement);
  close.addEventListener('click', () => dialog.close());
  stage.addEventListener('click', (/** @type {MouseEvent} */ event) => event.target === stage && dialog.close());
  dialog.addEventListener('close', () => {
    dialog.remove();
    if (before?.isConnected) before.focus();
  });
  document.body.append(dialog);
  dialog.showModal();
  client.media.whole(address).then((source) => {
    const image = h('img', { src: source, alt: name });
    image.addEventListener('click', () => stage.classList.toggle('zoomed'));
    fill(stage, image);
  }, (error) => fill(stage, h('p', { role: 'alert' }, explain(error))));
}
