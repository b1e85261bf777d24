// Rows 3, 4, 8, 9, 10: groups to choose from, the lists apart, picking people, and the private group of an exact set.

import { state } from '../lib/api.mjs';
import { assert, texts } from '../lib/check.mjs';

/** The names of the groups in a list of the client. */
async function groupsIn(user, section) {
  return texts(user, `[data-section=${section}] li strong`);
}

export const needs = 'friends and groups';

export const tests = {
  'rows 3, 4, 8: open groups are offered, members see no button to join, and the lists are apart': async (scene) => {
    const [anna, ben] = await scene.people('anna', 'ben');
    const [open, closed, own] = ['Choir', 'Attic', 'Kitchen'].map((name) => `${name} ${anna.name}`);
    const room = await anna.makesGroup(open);
    // Row 4: the maker is in it from the start, and can write at once.
    await anna.says('The first song');
    await anna.hasSent('The first song');
    await anna.makesGroup(closed, { open: false });
    await ben.makesGroup(own);
    await anna.tab('groups');
    await anna.section('created').locator('li', { hasText: open }).waitFor();
    await anna.section('open').locator('li', { hasText: own }).waitFor();
    assert.deepEqual((await groupsIn(anna, 'created')).sort(), [closed, open].sort());
    assert.equal(await anna.section('created').locator('[data-act=join]').count(), 0);
    assert.ok(!(await groupsIn(anna, 'open')).includes(open));
    // Row 3: the other one sees the open group only, and chooses it.
    await ben.tab('groups');
    await ben.section('open').locator('li', { hasText: open }).waitFor();
    assert.ok(!(await groupsIn(ben, 'open')).includes(closed));
    assert.equal(await ben.section('joined').locator('li', { hasText: open }).count(), 0);
    await scene.picture(ben, 'groups');
    await ben.joins(open);
    await ben.reads('The first song');
    assert.equal(await ben.roomId(), room);
    await ben.section('joined').locator('li', { hasText: open }).waitFor();
    await ben.section('open').locator('li', { hasText: open }).waitFor({ state: 'detached' });
    assert.equal(await ben.section('joined').locator('[data-act=join]').count(), 0);
    assert.ok((await groupsIn(ben, 'created')).includes(own));
    // Out again: it is offered again.
    await ben.find('.room-head [data-act=room-menu]').click();
    await ben.find('.menu [data-act=leave]').click();
    await ben.confirms('Leave');
    await ben.section('open').locator('li', { hasText: open }).waitFor();
  },

  'row 9: making a group offers the friends of the circle, with a search': async (scene) => {
    const [anna, ben, cleo, dora] = await scene.people('anna', 'ben', 'cleo', 'dora');
    await anna.befriends(ben);
    await anna.befriends(cleo);
    for (const kind of ['new-group', 'new-private-group']) {
      await anna.newMenu(kind);
      const box = anna.find('dialog [role=combobox]');
      await box.click();
      await anna.find(`dialog [role=option][data-user="${ben.id}"]`).waitFor();
      await anna.find(`dialog [role=option][data-user="${cleo.id}"]`).waitFor();
      assert.equal(await anna.find(`dialog [role=option][data-user="${dora.id}"]`).count(), 0);
      assert.equal(await box.getAttribute('aria-expanded'), 'true');
      await scene.picture(anna, `picker-${kind}`);
      await box.fill(cleo.name.toUpperCase());
      await anna.find(`dialog [role=option][data-user="${ben.id}"]`).waitFor({ state: 'detached' });
      // By keyboard alone.
      await anna.find(`dialog [role=option][data-user="${cleo.id}"][aria-selected=true]`).waitFor();
      await box.press('Enter');
      await anna.find(`dialog .chip[data-user="${cleo.id}"]`).waitFor();
      await box.press('Backspace');
      await anna.find('dialog .chip').waitFor({ state: 'detached' });
      await anna.find('dialog [aria-label=Close]').click();
      await anna.seesNot('dialog');
    }
    const room = await anna.makesGroup(`Trio ${anna.name}`, { open: false, invite: [ben, cleo] });
    for (const user of [ben, cleo]) {
      await user.tab('groups');
      await user.section('invited').locator('[data-act=join]').click();
      await user.inRoom('Trio');
      assert.equal(await user.roomId(), room);
    }
  },

  'row 10: the private group of an exact set of users is one, with its messages': async (scene) => {
    const [anna, ben, cleo] = await scene.people('anna', 'ben', 'cleo');
    await anna.befriends(ben);
    await anna.befriends(cleo);
    await ben.befriends(cleo);
    const room = await anna.opensPrivateGroup([ben, cleo], 'The three');
    await anna.says('only for the three of us');
    await anna.hasSent('only for the three of us');
    assert.equal((await state(anna, room, 'm.room.create'))['chat.hearth.kind'], 'private_group');
    // The same set, chosen by somebody else in another order: the same group, with what was said.
    assert.equal(await ben.opensPrivateGroup([cleo, anna]), room);
    await ben.reads('only for the three of us');
    await ben.sees('.toast', { hasText: 'already have a group' });
    await ben.says('here I am');
    await anna.reads('here I am');
    // Another set: another group.
    assert.notEqual(await anna.opensPrivateGroup([ben]), room);
    // Again, from elsewhere in the client: the messages are loaded.
    await anna.page.reload();
    await anna.isIn();
    assert.equal(await anna.opensPrivateGroup([cleo, ben]), room);
    await anna.reads('only for the three of us');
    await scene.picture(anna, 'private-group');
  },
};
