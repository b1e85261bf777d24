// Small helpers of the tests.

import assert from 'node:assert/strict';

export { assert };

/**
 * Waits for a condition that no element shows, by asking again.
 * @template T
 * @param {() => Promise<T>} ask @param {(answer: T) => boolean} isGood @param {string} what
 */
export async function eventually(ask, isGood, what, msMax = 90_000) {
  const deadline = Date.now() + msMax;
  let answer = await ask();
  while (!isGood(answer)) {
    if (Date.now() > deadline) throw new Error(`${what}: still ${JSON.stringify(answer)}`);
    await new Promise((resolve) => setImmediate(resolve));
    answer = await ask();
  }
  return answer;
}

/** The texts of elements, in order. @param {import('./user.mjs').User} user @param {string} selector */
export function texts(user, selector) {
  return user.find(selector).allTextContents();
}
