// Making elements. Text only ever becomes a text node: nothing here, or anywhere else in the client, parses it as markup.

const SVG = 'http://www.w3.org/2000/svg';

/**
 * @typedef {Node | string | number | null | undefined | false | Child[]} Child
 */

/**
 * An element. `class` and attributes go by their names, `on` holds listeners, `data` the data attributes; `true` is an
 * attribute without a value, and `false`, `null` and `undefined` are none.
 * @param {string} tag
 * @param {Record<string, any>} [props]
 * @param {...Child} children
 * @returns {any} the element; `any`, since its type follows the tag
 */
export function h(tag, props = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    set(element, name, value);
  }
  append(element, children);
  return element;
}

/** @param {HTMLElement} element @param {string} name @param {any} value */
function set(element, name, value) {
  if (value === false || value === null || value === undefined) return;
  if (name === 'on') {
    for (const [type, listener] of Object.entries(value)) element.addEventListener(type, listener);
  } else if (name === 'data') {
    for (const [key, entry] of Object.entries(value)) element.dataset[key] = String(entry);
  } else if (name === 'value' || name === 'checked' || name === 'disabled' || name === 'indeterminate') {
    /** @type {any} */ (element)[name] = value;
  } else {
    element.setAttribute(name, value === true ? '' : String(value));
  }
}

/** @param {Node} parent @param {Child[]} children */
export function append(parent, children) {
  for (const child of children) {
    if (child === null || child === undefined || child === false) continue;
    if (Array.isArray(child)) append(parent, child);
    else parent.appendChild(child instanceof Node ? child : document.createTextNode(String(child)));
  }
}

/** Puts these children in place of all others. @param {Element} parent @param {...Child} children */
export function fill(parent, ...children) {
  const fragment = document.createDocumentFragment();
  append(fragment, children);
  parent.replaceChildren(fragment);
}

/**
 * A drawing of paths on a grid of 24.
 * @param {string[]} paths
 * @param {string} [kind] a class
 */
export function svg(paths, kind = 'icon') {
  const root = document.createElementNS(SVG, 'svg');
  root.setAttribute('viewBox', '0 0 24 24');
  root.setAttribute('class', kind);
  root.setAttribute('aria-hidden', 'true');
  for (const d of paths) {
    const path = document.createElementNS(SVG, 'path');
    path.setAttribute('d', d);
    root.appendChild(path);
  }
  return root;
}

/**
 * Makes the children of `parent` those of `wanted`, keeping the elements whose key and stamp have not changed.
 * @template T
 * @param {HTMLElement} parent
 * @param {T[]} wanted
 * @param {(item: T) => string} keyOf what the item is, for as long as it is there
 * @param {(item: T) => string} stampOf what it looks like
 * @param {(item: T) => HTMLElement} draw
 */
export function reconcile(parent, wanted, keyOf, stampOf, draw) {
  /** @type {Map<string, HTMLElement>} */
  const old = new Map();
  for (const child of /** @type {HTMLElement[]} */ ([...parent.children])) {
    if (child.dataset.key !== undefined) old.set(child.dataset.key, child);
  }
  /** @type {ChildNode | null} */
  let at = parent.firstChild;
  for (const item of wanted) {
    const key = keyOf(item);
    const stamp = stampOf(item);
    let element = old.get(key);
    if (!element || element.dataset.stamp !== stamp) {
      const fresh = draw(item);
      fresh.dataset.key = key;
      fresh.dataset.stamp = stamp;
      if (element) {
        keepFocus(element, fresh);
        if (at === element) at = fresh;
        element.replaceWith(fresh);
      }
      element = fresh;
    }
    old.delete(key);
    if (at === element) at = element.nextSibling;
    else parent.insertBefore(element, at);
  }
  for (const gone of old.values()) gone.remove();
}

/** Drawing an element again does not take the keyboard away. @param {HTMLElement} before @param {HTMLElement} after */
function keepFocus(before, after) {
  const focused = /** @type {HTMLElement | null} */ (document.activeElement);
  if (!focused || !before.contains(focused)) return;
  const name = focused.dataset.focus;
  queueMicrotask(() => {
    const target = name ? after.querySelector(`[data-focus="${CSS.escape(name)}"]`) : after;
    /** @type {HTMLElement} */ (target ?? after).focus({ preventScroll: true });
  });
}
