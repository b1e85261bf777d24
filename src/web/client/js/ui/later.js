// What is not needed for the first view is fetched when somebody opens it. Each function is that of the module it names.

import { complain } from './toast.js';

/**
 * @template {any[]} Arguments
 * @param {() => Promise<(...given: Arguments) => void>} load
 * @returns {(...given: Arguments) => void}
 */
function later(load) {
  return (...given) => {
    load().then((open) => open(...given), (error) => {
      // The server has a new version of the client, or is away.
      if (error instanceof TypeError) complain(new Error('This part could not be loaded. Reload the page and try again.'));
      else complain(error);
    });
  };
}

export const newGroup = later(async () => (await import('./new-group.js')).newGroup);
export const newPrivateGroup = later(async () => (await import('./new-group.js')).newPrivateGroup);
export const openEmoji = later(async () => (await import('./emoji.js')).openEmoji);
export const openLightbox = later(async () => (await import('./lightbox.js')).openLightbox);
export const openSettings = later(async () => (await import('./settings.js')).openSettings);
export const roomDetails = later(async () => (await import('./room-details.js')).roomDetails);
