// The round picture of a person or a group: a photo if there is one, otherwise letters on a colour.

import { h } from '../lib/dom.js';
import { icon } from '../lib/icons.js';
import { hueOf, initials } from '../lib/format.js';
import { partsOf } from '../matrix/media.js';

/** Photos are fetched at this many pixels, which is sharp enough for each place. */
const PIXELS = 96;

/**
 * @param {import('../matrix/media.js').Media} media
 * @param {{ id: string, name: string, address?: string, kind?: 'person' | 'group', size?: 'small' | 'large' | '' }} of
 */
export function avatar(media, { id, name, address, kind = 'person', size = '' }) {
  const element = h('span', {
    class: `avatar of-${kind} ${size}`, 'aria-hidden': 'true', data: { hue: hueOf(id) },
  }, initials(name));
  if (kind === 'group' && !/[\p{L}\p{N}]/u.test(name)) element.replaceChildren(icon('groups'));
  if (!address || !partsOf(address)) return element;
  media.thumbnail(address, { width: PIXELS, height: PIXELS, method: 'crop' }).then((url) => {
    const image = h('img', { alt: '', src: url });
    image.addEventListener('load', () => element.replaceChildren(image));
  }, () => {});
  return element;
}
