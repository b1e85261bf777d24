// What a group is and who is in it; whoever may, changes it and invites more.

import { h } from '../lib/dom.js';
import { icon } from '../lib/icons.js';
import { plural } from '../lib/format.js';
import { avatar } from './avatar.js';
import { field, openDialog } from './dialog.js';
import { PeoplePicker } from './picker.js';
import { attempt, tell } from './toast.js';

/** Members listed; more are counted. */
const MEMBERS_MAX = 200;

/** @typedef {import('../matrix/client.js').Client} Client */
/** @typedef {import('../matrix/room.js').Room} Room */

/** @param {Client} client @param {Room} room @param {(roomId: string) => void} show */
export function roomDetails(client, room, show) {
  const isDirect = client.store.isDirect(room) || room.kind === 'direct';
  const isOpen = room.membership === 'join';
  const dialog = openDialog({
    title: client.store.titleOf(room),
    kind: 'details',
    content: [
      h('p', { class: 'lead' }, describe(room, isDirect)),
      isOpen && !isDirect && names(client, room),
      isOpen && !isDirect && room.kind !== 'private_group' && room.may('invite', 0) && invite(client, room),
      h('h3', {}, 'Members'),
      h('ul', { class: 'rows members' }, members(client, room, (userId) => {
        const friend = client.social.friends.get(userId);
        if (friend?.state !== 'friend' || !friend.room_id || friend.room_id === room.id) return;
        dialog.dismiss();
        show(friend.room_id);
      })),
    ],
  });
}

/** @param {Room} room @param {boolean} isDirect */
function describe(room, isDirect) {
  const what = isDirect ? 'A direct chat.' : room.kind === 'private_group' ? 'A private group: it belongs to exactly these people.'
    : room.joinRule === 'public' ? 'An open group: everybody can join.' : 'A group for those who are invited.';
  return room.isEncrypted ? `${what} It is end-to-end encrypted.` : what;
}

/** @param {Client} client @param {Room} room */
function names(client, room) {
  const fields = [];
  for (const [type, key, label, value] of /** @type {const} */ ([['m.room.name', 'name', 'Name', room.stateContent('m.room.name').name], ['m.room.topic', 'topic', 'Topic', room.topic]])) {
    if (!room.maySend(type)) continue;
    const input = h('input', { type: 'text', value: typeof value === 'string' ? value : '', maxlength: key === 'name' ? '255' : '1000' });
    const save = h('button', { type: 'button', data: { act: `save-${key}` } }, 'Save');
    save.addEventListener('click', () => attempt(save, async () => {
      await client.setState(room.id, type, { [key]: input.value.trim() });
      tell('Saved.');
    }));
    fields.push(h('div', { class: 'with-button' }, field(label, input), save));
  }
  return fields;
}

/** @param {Client} client @param {Room} room */
function invite(client, room) {
  const button = h('button', { type: 'button', disabled: true, data: { act: 'invite' } }, icon('add'), 'Invite');
  const present = new Set(room.members('join', 'invite'));
  const people = new PeoplePicker(client, {
    label: 'Invite friends', isLeftOut: (userId) => present.has(userId), changed: () => (button.disabled = people.chosen.size === 0),
  });
  button.addEventListener('click', () => attempt(button, async () => {
    for (const userId of people.userIds) {
      await client.invite(room.id, userId);
      people.chosen.delete(userId);
    }
    people.drawChips();
    button.disabled = true;
    tell('Invited.');
  }));
  return h('div', { class: 'with-button' }, people.element, button);
}

/** @param {Client} client @param {Room} room @param {(userId: string) => void} open */
function members(client, room, open) {
  const joined = room.members('join');
  const invited = room.members('invite');
  const rows = [...joined, ...invited].slice(0, MEMBERS_MAX).map((userId) => {
    const name = room.nameOf(userId);
    const notes = [userId === room.me && 'you', userId === room.creator && 'made it', invited.includes(userId) && 'invited'].filter(Boolean).join(', ');
    const friend = client.social.friends.get(userId)?.state === 'friend';
    const button = friend && h('button', { class: 'small', type: 'button', 'aria-label': `Message ${name}`, on: { click: () => open(userId) } }, icon('message'));
    return h('li', { class: 'person', data: { user: userId } },
      avatar(client.media, { id: userId, name, address: room.member(userId).avatar_url }),
      h('span', { class: 'who' }, h('strong', {}, name), h('small', {}, notes ? `${userId} · ${notes}` : userId)), h('span', { class: 'buttons' }, button));
  });
  const more = joined.length + invited.length - rows.length;
  return [rows, more > 0 && h('li', { class: 'empty' }, `And ${plural(more, 'more', 'more')}.`)];
}
