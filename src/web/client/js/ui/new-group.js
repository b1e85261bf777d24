// Making a group, and opening a private one for an exact set of people.

import { h } from '../lib/dom.js';
import { field, openDialog } from './dialog.js';
import { PeoplePicker } from './picker.js';
import { tell } from './toast.js';

/**
 * @param {import('../matrix/client.js').Client} client
 * @param {(roomId: string) => void} show
 */
export function newGroup(client, show) {
  const name = h('input', { type: 'text', name: 'name', required: true, maxlength: '255', autocomplete: 'off', autofocus: true });
  const topic = h('input', { type: 'text', name: 'topic', maxlength: '1000', autocomplete: 'off' });
  const open = h('input', { type: 'radio', name: 'open', value: 'open', checked: true, id: 'group-open' });
  const closed = h('input', { type: 'radio', name: 'open', value: 'closed', id: 'group-closed' });
  const people = new PeoplePicker(client, { label: 'Invite friends' });
  openDialog({
    title: 'New group',
    content: [
      field('Name', name),
      field('What is it about? (optional)', topic),
      h('fieldset', { class: 'choices' }, h('legend', {}, 'Who can join?'),
        h('label', { for: 'group-open' }, open, h('span', {}, h('strong', {}, 'Everybody'), h('small', {}, 'It appears in the list of open groups.'))),
        h('label', { for: 'group-closed' }, closed, h('span', {}, h('strong', {}, 'Whoever is invited'), h('small', {}, 'Nobody else sees that it exists.')))),
      people.element,
    ],
    actions: [h('button', { class: 'primary', type: 'submit' }, 'Make the group')],
    submit: async () => {
      const wanted = { name: name.value.trim(), topic: topic.value.trim(), open: open.checked, invite: people.userIds };
      if (!wanted.topic) delete (/** @type {any} */ (wanted)).topic;
      const group = await client.social.createGroup(wanted);
      show(group.room_id);
    },
  });
}

/**
 * @param {import('../matrix/client.js').Client} client
 * @param {(roomId: string) => void} show
 */
export function newPrivateGroup(client, show) {
  const name = h('input', { type: 'text', name: 'name', maxlength: '255', autocomplete: 'off' });
  const go = h('button', { class: 'primary', type: 'submit', disabled: true }, 'Open the group');
  const people = new PeoplePicker(client, { label: 'Who is in it, besides you?', changed: () => (go.disabled = people.chosen.size === 0) });
  openDialog({
    title: 'New private group',
    content: [
      h('p', { class: 'lead' }, 'A private group belongs to exactly these people. If you already have one with them, it opens.'),
      people.element,
      field('Name (optional)', name, 'Used only if the group is new.'),
    ],
    actions: [go],
    submit: async () => {
      if (people.chosen.size === 0) return false;
      const { created, group } = await client.social.openPrivateGroup(people.userIds, name.value.trim());
      if (!created) tell('You already have a group with exactly these people: here it is.');
      show(group.room_id);
      return true;
    },
  });
  people.input.focus();
}
