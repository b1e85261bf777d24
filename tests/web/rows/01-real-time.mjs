// Row 1: messages appear without reload, and the client reconnects by itself.

import { groupOf } from '../lib/api.mjs';
import { assert } from '../lib/check.mjs';

async function twoInAGroup(scene, server = scene.server) {
  const anna = await scene.person('anna', { server });
  const ben = await scene.person('ben', { server });
  await groupOf(anna, 'The hearth', ben);
  await anna.openChat('The hearth');
  await ben.openChat('The hearth');
  for (const user of [anna, ben]) await user.mark();
  return [anna, ben];
}

export const tests = {
  'row 1: messages appear without reload, with who is typing and who has read': async (scene) => {
    const [anna, ben] = await twoInAGroup(scene);
    await ben.find('.composer textarea').pressSequentially('Is anybody');
    await anna.sees('.typing-line', { hasText: 'is typing' });
    await ben.find('.composer textarea').press('Enter');
    await anna.reads('Is anybody');
    await anna.seesNot('.typing-line:not(:empty)');
    await anna.says('Yes!');
    await ben.reads('Yes!');
    await anna.message('Yes!').locator('.readers').waitFor();
    for (const user of [anna, ben]) await user.wasNotReloaded();
  },

  'row 1: unread counts rise in the list and fall when the messages are seen': async (scene) => {
    const [anna, ben] = await twoInAGroup(scene);
    await ben.page.evaluate(() => (location.hash = '#/'));
    await ben.sees('.welcome');
    await anna.says('one');
    await anna.says('two');
    await ben.sees('.sidebar .row .badge', { hasText: '2' });
    await ben.until(() => document.title.startsWith('(2)'));
    await ben.openChat('The hearth');
    await ben.sees('.unread-line');
    await ben.seesNot('.sidebar .row .badge');
    await ben.until(() => !document.title.startsWith('('));
  },

  'row 1: after a crash of the server everybody reconnects, and nothing is lost or doubled': async (scene) => {
    const server = await scene.ownServer();
    const [anna, ben] = await twoInAGroup(scene, server);
    await anna.says('before the crash');
    await ben.reads('before the crash');
    await server.kill();
    await anna.sees('.banner.shown', { hasText: 'Reconnecting' });
    await ben.sees('.banner.shown');
    await scene.picture(anna, 'reconnecting');
    await anna.says('written while it was away');
    await anna.message('written while it was away').and(anna.find('.pending')).waitFor();
    await server.start();
    await ben.reads('written while it was away');
    await ben.says('back again');
    await anna.reads('back again');
    await anna.hasSent('written while it was away');
    for (const user of [anna, ben]) {
      await user.online();
      await user.seesNot('.banner.shown');
      await user.wasNotReloaded();
      assert.equal(await user.find('.message', { hasText: 'written while it was away' }).count(), 1);
    }
  },

  'row 1: after the network was away, what was said meanwhile is there': async (scene) => {
    const [anna, ben] = await twoInAGroup(scene);
    await ben.context.setOffline(true);
    await ben.sees('.banner.shown', { hasText: 'offline' });
    await anna.says('while ben was away');
    await anna.hasSent('while ben was away');
    await ben.says('from the tunnel');
    await ben.context.setOffline(false);
    await ben.reads('while ben was away');
    await anna.reads('from the tunnel');
    await ben.seesNot('.banner.shown');
    await ben.wasNotReloaded();
  },

  'row 1: what was not sent survives a reload of the page and is sent once': async (scene) => {
    const [anna, ben] = await twoInAGroup(scene);
    await anna.page.route('**/send/**', (route) => route.abort());
    await anna.says('held back');
    await anna.message('held back').and(anna.find('.pending')).waitFor();
    await anna.page.unroute('**/send/**');
    await anna.page.reload();
    await ben.reads('held back');
    await anna.hasSent('held back');
    assert.equal(await ben.find('.message', { hasText: 'held back' }).count(), 1);
  },
};
