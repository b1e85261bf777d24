// The user's own name and picture, colours, and password.

import { fill, h } from '../lib/dom.js';
import { avatar } from './avatar.js';
import { field, openDialog } from './dialog.js';
import { setTheme, theme } from './theme.js';
import { attempt, complain, tell } from './toast.js';

/** @typedef {import('../matrix/client.js').Client} Client */

/** @param {Client} client */
export function openSettings(client) {
  openDialog({ title: 'Profile and settings', kind: 'settings', content: [profile(client), colours(), password(client)] });
}

/** @param {Client} client */
function profile(client) {
  const name = h('input', { type: 'text', value: client.displayName, maxlength: '255', autocomplete: 'nickname' });
  const save = h('button', { type: 'button', data: { act: 'save-name' } }, 'Save');
  save.addEventListener('click', () => attempt(save, async () => {
    await client.setProfile('displayname', name.value.trim());
    tell('Your name is changed.');
  }));
  const face = h('span');
  const draw = () => fill(face, avatar(client.media, { id: client.me, name: client.displayName, address: client.profile.avatar_url, size: 'large' }));
  draw();
  const input = h('input', { type: 'file', accept: 'image/png,image/jpeg,image/gif,image/webp', class: 'for-readers', 'aria-label': 'Picture' });
  const change = h('button', { type: 'button', on: { click: () => input.click() } }, 'Change picture');
  input.addEventListener('change', () => {
    const file = input.files?.[0];
    if (!file) return;
    attempt(change, async () => {
      const address = await client.media.upload(file, file.name, new AbortController().signal, () => {});
      await client.setProfile('avatar_url', address);
      draw();
    });
  });
  return h('section', {}, h('div', { class: 'face' }, face, h('div', {}, h('small', {}, client.me), change, input)),
    h('div', { class: 'with-button' }, field('Name', name), save));
}

function colours() {
  const choices = /** @type {const} */ ([['system', 'As the system'], ['light', 'Light'], ['dark', 'Dark']]).map(([value, label]) => {
    const input = h('input', { type: 'radio', name: 'theme', value, checked: theme() === value, on: { change: () => setTheme(value) } });
    return h('label', {}, input, label);
  });
  return h('fieldset', { class: 'colours' }, h('legend', {}, 'Colours'), choices);
}

/** @param {Client} client */
function password(client) {
  const old = h('input', { type: 'password', autocomplete: 'current-password' });
  const fresh = h('input', { type: 'password', autocomplete: 'new-password', minlength: '8' });
  const save = h('button', { type: 'button', data: { act: 'save-password' } }, 'Change password');
  save.addEventListener('click', () => {
    if (!old.value || fresh.value.length < 8) return complain(new Error('The new password needs at least 8 characters.'));
    return attempt(save, async () => {
      await client.changePassword(old.value, fresh.value);
      old.value = fresh.value = '';
      tell('Your password is changed.');
    });
  });
  return h('details', {}, h('summary', {}, 'Change password'), field('Old password', old), field('New password', fresh), save);
}
