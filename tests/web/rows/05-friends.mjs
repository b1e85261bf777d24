// Rows 5 to 7: friend requests and what becomes of them, the direct chat, the button that opens it.

import { accountData, state } from '../lib/api.mjs';
import { assert, eventually } from '../lib/check.mjs';

/** The room of the friendship, as the button opens it. */
async function opensChatWith(user, friend) {
  await user.tab('friends');
  await user.person('friends', friend).locator('[data-act=message]').click();
  await user.inRoom(friend.name);
  return user.roomId();
}

export const needs = 'friends and groups';

export const tests = {
  'rows 5, 6, 7: a request with a badge is accepted, the chat is there at once, and a button opens it': async (scene) => {
    const [anna, ben] = await scene.people('anna', 'ben');
    await anna.asksForFriendship(ben, 'It is me, from the choir');
    await anna.tab('friends');
    await anna.person('sent', ben).waitFor();
    // The badge comes without reload.
    await ben.sees('[role=tab][data-tab=friends] .badge', { hasText: '1' });
    await ben.until(() => document.title.startsWith('(1)'));
    await ben.tab('friends');
    await ben.person('requests', anna).and(ben.find('li', { hasText: 'from the choir' })).waitFor();
    await scene.picture(ben, 'friend-request');
    await ben.person('requests', anna).locator('[data-act=accept]').click();
    // Accepting opens the chat: nothing more to do.
    await ben.inRoom(anna.name);
    await ben.seesNot('[role=tab][data-tab=friends] .badge');
    await anna.person('friends', ben).waitFor();
    const room = await opensChatWith(anna, ben);
    assert.equal(room, await ben.roomId());
    await anna.says('Hello!');
    await ben.reads('Hello!');
    await ben.says('Good to see you');
    await anna.reads('Good to see you');
    // Row 6: the room says that it is no group, and clients of both know it as a direct chat.
    assert.equal((await state(anna, room, 'm.room.create'))['chat.hearth.kind'], 'direct');
    for (const [user, other] of [[anna, ben], [ben, anna]]) {
      await eventually(() => accountData(user, 'm.direct'), (direct) => direct[other.id]?.includes(room), 'm.direct');
      await user.tab('groups');
      await user.section('created').waitFor();
      assert.equal(await user.find(`.sections [data-room="${room}"]`).count(), 0);
    }
  },

  'row 5: a request is declined': async (scene) => {
    const [anna, ben] = await scene.people('anna', 'ben');
    await anna.asksForFriendship(ben);
    await ben.tab('friends');
    await ben.person('requests', anna).locator('[data-act=decline]').click();
    await ben.seesNot('[data-section=requests]');
    await anna.tab('friends');
    await anna.person('past', ben).and(anna.find('li', { hasText: 'declined' })).waitFor();
    assert.equal(await anna.person('friends', ben).count(), 0);
  },

  'row 5: a request is withdrawn': async (scene) => {
    const [anna, ben] = await scene.people('anna', 'ben');
    await anna.asksForFriendship(ben);
    await ben.tab('friends');
    await ben.person('requests', anna).waitFor();
    await anna.tab('friends');
    await anna.person('sent', ben).locator('[data-act=withdraw]').click();
    await anna.seesNot('[data-section=sent]');
    await ben.seesNot('[data-section=requests]');
    await ben.seesNot('[role=tab][data-tab=friends] .badge');
  },

  'row 5: unfriending keeps the old records, befriending again makes new ones': async (scene) => {
    const [anna, ben] = await scene.people('anna', 'ben');
    await anna.befriends(ben);
    const first = await opensChatWith(anna, ben);
    await anna.says('words of the first time');
    await opensChatWith(ben, anna);
    await ben.reads('words of the first time');
    await anna.find('.room-head [data-act=room-menu]').click();
    await anna.find('.menu [data-act=unfriend]').click();
    await anna.confirms('Unfriend');
    // Both can read, neither can write.
    for (const user of [anna, ben]) {
      await user.sees('.ended', { hasText: 'has ended' });
      await user.reads('words of the first time');
      assert.equal(await user.find('.composer').count(), 0);
    }
    await scene.picture(anna, 'ended-chat');
    // Even after starting anew.
    await ben.page.reload();
    await ben.isIn();
    await ben.reads('words of the first time');
    await ben.page.evaluate(() => (location.hash = '#/'));
    await ben.sees('.welcome');
    await ben.tab('friends');
    await ben.person('past', anna).locator('[data-act=read]').click();
    await ben.reads('words of the first time');
    // Again: a new chat, without the old words; the old one remains.
    await ben.find('.ended [data-act=again]').click();
    await anna.accepts(ben);
    const second = await opensChatWith(anna, ben);
    assert.notEqual(second, first);
    await anna.says('words of the second time');
    assert.equal(await anna.find('.message', { hasText: 'first time' }).count(), 0);
    await opensChatWith(ben, anna);
    await ben.reads('words of the second time');
    await ben.actsOnFriend(anna, 'past');
    await ben.reads('words of the first time');
  },

  'row 5: whoever is blocked sends no more requests, until unblocked': async (scene) => {
    const [anna, ben] = await scene.people('anna', 'ben');
    await anna.befriends(ben);
    await anna.actsOnFriend(ben, 'block');
    await anna.confirms('Block');
    await anna.person('blocked', ben).waitFor();
    assert.equal(await anna.person('friends', ben).count(), 0);
    await ben.tab('friends');
    await ben.person('past', anna).waitFor();
    await ben.person('past', anna).locator('[data-act=again]').click();
    await ben.sees('.toast.alert');
    assert.equal(await anna.section('requests').count(), 0);
    await anna.person('blocked', ben).locator('[data-act=unblock]').click();
    await anna.person('past', ben).waitFor();
    await ben.person('past', anna).locator('[data-act=again]').click();
    await anna.person('requests', ben).waitFor();
  },

  'row 5: both ask each other: they are friends': async (scene) => {
    const [anna, ben] = await scene.people('anna', 'ben');
    await Promise.all([anna.asksForFriendship(ben), ben.asksForFriendship(anna)]);
    await anna.tab('friends');
    await anna.person('friends', ben).waitFor();
    await ben.tab('friends');
    await ben.person('friends', anna).waitFor();
    assert.equal(await opensChatWith(anna, ben), await opensChatWith(ben, anna));
  },

  'row 5: a request to nobody says so': async (scene) => {
    const anna = await scene.person('anna');
    await anna.newMenu('add-friend');
    await anna.page.getByLabel('Name').fill('nobody-of-that-name');
    await anna.page.getByRole('button', { name: 'Send request' }).click();
    await anna.sees('dialog .problem', { hasText: 'nobody of that name' });
  },
};
