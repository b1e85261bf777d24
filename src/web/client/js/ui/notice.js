// What has happened to a room, in a sentence.

/**
 * @param {import('../matrix/room.js').Room} room
 * @param {import('../matrix/timeline.js').MatrixEvent} event
 */
export function noticeText(room, event) {
  const who = room.nameOf(event.sender);
  const content = event.content ?? {};
  switch (event.type) {
    case 'm.room.create': return room.kind === 'direct' ? `${who} began this chat` : `${who} made this group`;
    case 'm.room.name': return content.name ? `${who} named the group “${content.name}”` : `${who} removed the name of the group`;
    case 'm.room.topic': return content.topic ? `${who} set the topic: ${content.topic}` : `${who} removed the topic`;
    case 'm.room.avatar': return `${who} changed the picture of the group`;
    case 'm.room.encryption': return `${who} switched on end-to-end encryption`;
    case 'm.room.tombstone': return `${who} moved this group elsewhere`;
    case 'm.room.member': return memberText(room, event, who);
    default: return '';
  }
}

/** @param {import('../matrix/room.js').Room} room @param {import('../matrix/timeline.js').MatrixEvent} event @param {string} who */
function memberText(room, event, who) {
  const content = event.content ?? {};
  const before = event.unsigned?.prev_content ?? {};
  const userId = String(event.state_key);
  const name = content.displayname || before.displayname || room.nameOf(userId);
  const isOwn = event.sender === userId;
  switch (content.membership) {
    case 'join':
      if (before.membership !== 'join') return `${name} joined`;
      if (before.displayname !== content.displayname) return `${before.displayname || userId} is now called ${name}`;
      return `${name} has a new picture`;
    case 'invite': return `${who} invited ${name}`;
    case 'knock': return `${name} asks to join`;
    case 'ban': return `${who} banned ${name}`;
    case 'leave':
      if (before.membership === 'invite') return isOwn ? `${name} declined the invitation` : `${who} took back the invitation of ${name}`;
      if (before.membership === 'ban') return `${who} lifted the ban of ${name}`;
      return isOwn ? `${name} left` : `${who} removed ${name}`;
    default: return `${name} changed`;
  }
}
