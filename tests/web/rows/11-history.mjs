// Row 11: the newest page is quick whatever the size, older ones come while scrolling up.

import { groupOf, send } from '../lib/api.mjs';
import { assert } from '../lib/check.mjs';

const MESSAGES = 400;
/** Messages that the first view of a long conversation may ask for. */
const FIRST_VIEW_MAX = 120;

export const tests = {
  'row 11: a long conversation opens at its end and is loaded backwards, each message once and in order': async (scene) => {
    const [anna, ben] = await scene.people('anna', 'ben');
    const room = await groupOf(anna, 'Long evenings', ben);
    for (let n = 0; n < MESSAGES; n += 1) await send(anna, room, `message ${n}`);
    await ben.page.reload();
    await ben.openChat('Long evenings');
    await ben.reads(`message ${MESSAGES - 1}`);
    const shown = await ben.find('.message').count();
    assert.ok(shown <= FIRST_VIEW_MAX, `${shown} messages for the first view`);
    const scroller = ben.find('.timeline');
    await ben.until(() => {
      const timeline = document.querySelector('.timeline');
      timeline.scrollTop = 0;
      return document.querySelector('.timeline-top')?.textContent.includes('This is where it begins');
    });
    const numbers = await ben.page.evaluate(() => [...document.querySelectorAll('.message .text')].map((text) => Number(text.textContent.split(' ')[1])));
    assert.deepEqual(numbers, Array.from({ length: MESSAGES }, (_, n) => n));
    // News does not move whoever reads above; the button leads to it.
    await ben.page.evaluate(() => (document.querySelector('.timeline').scrollTop = 500));
    await ben.sees('.jump');
    const before = await scroller.evaluate((element) => element.scrollTop);
    await send(anna, room, 'the newest');
    await ben.find('.jump .badge', { hasText: '1' }).waitFor();
    assert.equal(await scroller.evaluate((element) => element.scrollTop), before);
    await ben.find('.jump').click();
    await ben.until(() => {
      const timeline = document.querySelector('.timeline');
      return timeline.scrollHeight - timeline.scrollTop - timeline.clientHeight < 5;
    });
    await ben.reads('the newest');
    await ben.seesNot('.jump');
  },

  'row 11: loading older messages keeps in place what is being read': async (scene) => {
    const [anna, ben] = await scene.people('anna', 'ben');
    const room = await groupOf(anna, 'Long evenings', ben);
    for (let n = 0; n < 120; n += 1) await send(anna, room, `message ${n}`);
    await ben.page.reload();
    await ben.openChat('Long evenings');
    await ben.reads('message 119');
    const moved = await ben.page.evaluate(async () => {
      const timeline = document.querySelector('.timeline');
      timeline.scrollTop = 60;
      await new Promise(requestAnimationFrame);
      const first = [...document.querySelectorAll('.message')].find((one) => one.getBoundingClientRect().bottom > timeline.getBoundingClientRect().top);
      // It may be drawn anew: its name goes when the message before it is by the same sender.
      const same = `[data-event="${CSS.escape(first.dataset.event)}"]`;
      const top = first.getBoundingClientRect().top;
      const count = document.querySelectorAll('.message').length;
      await new Promise((resolve) => {
        const look = () => (document.querySelectorAll('.message').length > count ? resolve() : requestAnimationFrame(look));
        look();
      });
      return Math.abs(timeline.querySelector(same).getBoundingClientRect().top - top);
    });
    assert.ok(moved < 3, `moved by ${moved} pixels`);
  },

  'messages of different days are set apart': async (scene) => {
    const anna = await scene.person('anna');
    const room = await groupOf(anna, 'The hearth');
    await send(anna, room, 'today');
    await anna.openChat('The hearth');
    await anna.find('.day', { hasText: 'Today' }).first().waitFor();
  },
};
