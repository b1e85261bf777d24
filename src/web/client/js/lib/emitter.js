// Who tells others that something has changed.

/** Listeners by the name of what happens. */
export class Emitter {
  constructor() {
    /** @type {Map<string, Set<(value?: any) => void>>} */
    this.listeners = new Map();
  }

  /**
   * @param {string} name
   * @param {(value?: any) => void} listener
   * @returns {() => void} what ends it
   */
  on(name, listener) {
    const set = this.listeners.get(name) ?? new Set();
    this.listeners.set(name, set.add(listener));
    return () => set.delete(listener);
  }

  /** @param {string} name @param {any} [value] */
  emit(name, value) {
    for (const listener of [...(this.listeners.get(name) ?? [])]) listener(value);
  }
}

/**
 * Calls `work` once, soon, however often the answer is called until then.
 * @param {() => void} work
 */
export function soon(work) {
  let isPlanned = false;
  return () => {
    if (isPlanned) return;
    isPlanned = true;
    queueMicrotask(() => {
      isPlanned = false;
      work();
    });
  };
}
