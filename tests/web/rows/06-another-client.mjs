// Rows 5 to 7 with another client on the other side: a request is an invite to a direct chat, joining accepts, leaving ends.

import { state } from '../lib/api.mjs';
import { assert, eventually } from '../lib/check.mjs';

/** The room of the friendship, as the button opens it. */
async function opensChatWith(user, friend) {
  await user.tab('friends');
  await user.person('friends', friend).locator('[data-act=message]').click();
  await user.inRoom(friend.name);
  return user.roomId();
}

/** They are friends: the other side has joined the room of the invite. */
async function befriend(user, other) {
  await user.asksForFriendship(other);
  const { room } = await other.invited(user);
  await other.join(room);
  await user.tab('friends');
  await user.person('friends', other).waitFor();
  return room;
}

async function bothTalk(user, other, room, words) {
  await user.says(`${words} from the browser`);
  await other.reads(room, `${words} from the browser`);
  await other.says(room, `${words} from matrix-nio`);
  await user.reads(`${words} from matrix-nio`);
}

export const needs = 'friends and groups';

export const tests = {
  'rows 5, 6, 7: to matrix-nio a request is an invite to a direct chat, joining accepts it, the button opens it': async (scene) => {
    const [anna, nina] = await Promise.all([scene.person('anna'), scene.another('nina')]);
    await anna.asksForFriendship(nina, 'It is me, from the choir');
    const { room, content } = await nina.invited(anna);
    assert.equal(content.is_direct, true);
    assert.equal(content.reason, 'It is me, from the choir');
    await anna.tab('friends');
    await anna.person('sent', nina).waitFor();
    await nina.join(room);
    await anna.person('friends', nina).waitFor();
    assert.equal(await opensChatWith(anna, nina), room);
    await bothTalk(anna, nina, room, 'hello');
    // Row 6: it says that it is no group, and every client finds it as a direct chat.
    assert.equal((await state(anna, room, 'm.room.create'))['chat.hearth.kind'], 'direct');
    await eventually(() => nina.direct(), (direct) => direct[anna.id]?.includes(room), 'm.direct of matrix-nio');
    await anna.tab('groups');
    await anna.section('created').waitFor();
    assert.equal(await anna.find(`.sections [data-room="${room}"]`).count(), 0);
  },

  'row 5: matrix-nio declines by leaving, and is asked again in a new room': async (scene) => {
    const [anna, nina] = await Promise.all([scene.person('anna'), scene.another('nina')]);
    await anna.asksForFriendship(nina);
    const first = await nina.invited(anna);
    await nina.leave(first.room);
    await anna.tab('friends');
    await anna.person('past', nina).and(anna.find('li', { hasText: 'declined' })).waitFor();
    assert.equal(await anna.section('sent').count(), 0);
    await nina.isOut(first.room);
    await anna.person('past', nina).locator('[data-act=again]').click();
    await anna.person('sent', nina).waitFor();
    const second = await nina.invited(anna);
    assert.notEqual(second.room, first.room);
  },

  'row 5: what is withdrawn is no longer an invite to matrix-nio': async (scene) => {
    const [anna, nina] = await Promise.all([scene.person('anna'), scene.another('nina')]);
    await anna.asksForFriendship(nina);
    const { room } = await nina.invited(anna);
    await anna.tab('friends');
    await anna.person('sent', nina).locator('[data-act=withdraw]').click();
    await nina.isOut(room);
    await assert.rejects(nina.join(room), /M_FORBIDDEN|403/);
    await anna.seesNot('[data-section=sent]');
  },

  'row 5: matrix-nio unfriends by leaving; befriending again makes new records': async (scene) => {
    const [anna, nina] = await Promise.all([scene.person('anna'), scene.another('nina')]);
    const first = await befriend(anna, nina);
    assert.equal(await opensChatWith(anna, nina), first);
    await bothTalk(anna, nina, first, 'the first time');
    await nina.leave(first);
    await anna.sees('.ended', { hasText: 'has ended' });
    await anna.reads('the first time from matrix-nio');
    assert.equal(await anna.find('.composer').count(), 0);
    await anna.tab('friends');
    await anna.person('past', nina).waitFor();
    const second = await nina.asks(anna);
    assert.notEqual(second, first);
    await anna.accepts(nina);
    assert.equal(await opensChatWith(anna, nina), second);
    await nina.seesMember(second, anna, 'join');
    await bothTalk(anna, nina, second, 'the second time');
    assert.equal(await anna.find('.message', { hasText: 'first time' }).count(), 0);
    await anna.actsOnFriend(nina, 'past');
    await anna.reads('the first time from matrix-nio');
  },

  'row 5: unfriending in the browser ends the room for matrix-nio': async (scene) => {
    const [anna, nina] = await Promise.all([scene.person('anna'), scene.another('nina')]);
    const room = await befriend(anna, nina);
    await anna.actsOnFriend(nina, 'unfriend');
    await anna.confirms('Unfriend');
    await anna.person('past', nina).waitFor();
    await nina.isOut(room);
  },

  'rows 5, 6, 7: a direct chat that matrix-nio begins is a request with a badge, and is accepted': async (scene) => {
    const [anna, nina] = await Promise.all([scene.person('anna'), scene.another('nina')]);
    const room = await nina.asks(anna);
    await anna.sees('[role=tab][data-tab=friends] .badge', { hasText: '1' });
    await anna.tab('friends');
    await anna.person('requests', nina).locator('[data-act=accept]').click();
    await anna.inRoom(nina.name);
    assert.equal(await anna.roomId(), room);
    await nina.seesMember(room, anna, 'join');
    assert.equal(await opensChatWith(anna, nina), room);
    await bothTalk(anna, nina, room, 'welcome');
  },

  'row 5: matrix-nio takes a request back by leaving, and sees one declined': async (scene) => {
    const [anna, nina] = await Promise.all([scene.person('anna'), scene.another('nina')]);
    const first = await nina.asks(anna);
    await anna.tab('friends');
    await anna.person('requests', nina).waitFor();
    await nina.leave(first);
    await anna.seesNot('[data-section=requests]');
    await anna.seesNot('[role=tab][data-tab=friends] .badge');
    const second = await nina.asks(anna);
    await anna.person('requests', nina).locator('[data-act=decline]').click();
    await anna.seesNot('[data-section=requests]');
    await nina.isOut(second);
  },
};
