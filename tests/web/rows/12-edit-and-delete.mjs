// Row 12: sent messages can be edited and deleted. Row 14: reacted to, and reactions taken back. And replies.

import { event, groupOf } from '../lib/api.mjs';
import { assert, eventually } from '../lib/check.mjs';

async function inAGroup(scene, ...names) {
  const users = await scene.people(...names);
  const room = await groupOf(users[0], 'The hearth', ...users.slice(1));
  for (const user of users) await user.openChat('The hearth');
  return { users, room };
}

export const tests = {
  'row 12: a message is edited, by the button and by the arrow key': async (scene) => {
    const { users: [anna, ben] } = await inAGroup(scene, 'anna', 'ben');
    await anna.says('Tea at five');
    await ben.reads('Tea at five');
    await anna.hasSent('Tea at five');
    await anna.acts('Tea at five', 'edit');
    await anna.sees('.context', { hasText: 'Edit message' });
    await anna.says('Tea at six');
    for (const user of [anna, ben]) await user.message('Tea at six').locator('.edited').waitFor();
    await anna.hasSent('Tea at six');
    const box = anna.find('.composer textarea');
    await box.press('ArrowUp');
    assert.equal(await box.inputValue(), 'Tea at six');
    await anna.says('Tea at seven');
    await ben.reads('Tea at seven');
    assert.equal(await ben.find('.message', { hasText: 'Tea at' }).count(), 1);
    // Others cannot: no button for it.
    assert.equal(await ben.message('Tea at seven').locator('[data-act=edit]').count(), 0);
    assert.equal(await ben.message('Tea at seven').locator('[data-act=delete]').count(), 0);
    // Whoever comes later sees the edited text.
    await ben.page.reload();
    await ben.reads('Tea at seven');
  },

  'row 12: an edit can be given up with Escape': async (scene) => {
    const { users: [anna] } = await inAGroup(scene, 'anna', 'ben');
    await anna.says('As it was');
    await anna.hasSent('As it was');
    await anna.acts('As it was', 'edit');
    await anna.find('.composer textarea').fill('Otherwise');
    await anna.page.keyboard.press('Escape');
    await anna.seesNot('.context');
    assert.equal(await anna.find('.composer textarea').inputValue(), '');
    assert.equal(await anna.message('As it was').locator('.edited').count(), 0);
  },

  'row 12: a message is deleted for everybody': async (scene) => {
    const { users: [anna, ben], room } = await inAGroup(scene, 'anna', 'ben');
    await anna.says('Regrettable');
    await ben.reads('Regrettable');
    await anna.hasSent('Regrettable');
    const id = await anna.message('Regrettable').getAttribute('data-event');
    await anna.deletes('Regrettable');
    for (const user of [anna, ben]) {
      await user.reads('Message deleted');
      await user.seesNot('.message', { hasText: 'Regrettable' });
    }
    // The server has nothing of it either.
    await eventually(() => event(ben, room, id), ({ content }) => Object.keys(content).length === 0, 'the content of the deleted message');
    await ben.page.reload();
    await ben.reads('Message deleted');
  },

  'a reply shows what it answers, and leads there': async (scene) => {
    const { users: [anna, ben] } = await inAGroup(scene, 'anna', 'ben');
    await anna.says('Who brings the cake?');
    await ben.reads('Who brings the cake?');
    await ben.acts('Who brings the cake?', 'reply');
    await ben.says('I do');
    await anna.message('I do').locator('.quote', { hasText: 'Who brings the cake?' }).click();
    await anna.find('.message.found', { hasText: 'Who brings the cake?' }).first().waitFor();
  },

  'row 14: a message is reacted to, and the reaction is taken back': async (scene) => {
    const { users: [anna, ben, cleo] } = await inAGroup(scene, 'anna', 'ben', 'cleo');
    await anna.says('There is cake');
    for (const user of [ben, cleo]) await user.reads('There is cake');
    await ben.reacts('There is cake', '🎉');
    for (const user of [anna, ben, cleo]) await user.reaction('There is cake', '🎉').waitFor();
    await cleo.reaction('There is cake', '🎉').click();
    for (const user of [anna, ben, cleo]) await user.reaction('There is cake', '🎉').and(user.find('.reaction', { hasText: '2' })).waitFor();
    assert.equal(await ben.reaction('There is cake', '🎉').getAttribute('aria-pressed'), 'true');
    assert.equal(await anna.reaction('There is cake', '🎉').getAttribute('aria-pressed'), 'false');
    await ben.reaction('There is cake', '🎉').click();
    await anna.reaction('There is cake', '🎉').and(anna.find('.reaction', { hasText: '1' })).waitFor();
    await cleo.reaction('There is cake', '🎉').click();
    for (const user of [anna, ben, cleo]) await user.seesNot('.reaction');
    // It can be given again.
    await ben.reacts('There is cake', '❤️');
    await anna.reaction('There is cake', '❤️').waitFor();
    await anna.page.reload();
    await anna.reaction('There is cake', '❤️').waitFor();
  },
};
