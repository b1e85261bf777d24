// Row 2: a new user coming into a group disconnects nobody.

import { groupOf, join } from '../lib/api.mjs';
import { assert } from '../lib/check.mjs';

export const tests = {
  'row 2: a newcomer disconnects nobody': async (scene) => {
    const [anna, ben, cleo] = await scene.people('anna', 'ben', 'cleo');
    const room = await groupOf(anna, 'The hearth', ben);
    for (const user of [anna, ben]) {
      await user.openChat('The hearth');
      await user.mark();
      // From now on every change of the connection is written down.
      await user.page.evaluate(() => {
        window.seenConnections = [];
        new MutationObserver(() => window.seenConnections.push(document.documentElement.dataset.connection))
          .observe(document.documentElement, { attributes: true, attributeFilter: ['data-connection'] });
      });
    }
    await anna.says('before');
    await ben.reads('before');
    await join(cleo, room);
    for (const user of [anna, ben]) await user.sees('.event-notice', { hasText: `${cleo.name} joined` });
    await cleo.openChat('The hearth');
    await cleo.reads('before');
    await cleo.says('hello everybody');
    for (const user of [anna, ben]) await user.reads('hello everybody');
    await anna.says('welcome');
    for (const user of [ben, cleo]) await user.reads('welcome');
    for (const user of [anna, ben]) {
      await user.wasNotReloaded();
      assert.deepEqual(await user.page.evaluate(() => window.seenConnections), []);
      await user.sees('.room-head small', { hasText: '3 members' });
    }
  },
};
