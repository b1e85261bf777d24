//! Friends and groups: rows of pairs belong together and point to rooms.

use super::{Check, Invariant};
use crate::Result;
use crate::social::FriendState;
use crate::tables as t;

impl Check<'_> {
    pub(super) async fn social(&mut self) -> Result<()> {
        self.friends().await?;
        self.direct_chats().await?;
        self.direct_rooms().await?;
        self.private_groups().await
    }

    async fn friends(&mut self) -> Result<()> {
        let mut range = t::FRIENDS.prefix(&());
        while let Some(rows) = self.page(&t::FRIENDS, &mut range).await? {
            for ((user, peer), row) in rows {
                let at = || format!("{user} and {peer}");
                let has_chat = row.chat.is_some();
                self.hold(
                    has_chat == (row.state != FriendState::Ended),
                    Invariant::Social,
                    || format!("{}: {:?} with or without a chat", at(), row.state),
                );
                let Some((room, _)) = row.chat else { continue };
                let key = (user.clone(), peer.clone(), room);
                let chat = self.row(&t::DIRECT_CHATS, &key).await?;
                self.hold(chat.is_some(), Invariant::Social, || {
                    format!("{}: room {} is not among their chats", at(), room.0)
                });
            }
        }
        Ok(())
    }

    async fn direct_chats(&mut self) -> Result<()> {
        let mut range = t::DIRECT_CHATS.prefix(&());
        while let Some(rows) = self.page(&t::DIRECT_CHATS, &mut range).await? {
            for ((user, peer, room), row) in rows {
                let at = || format!("{user} and {peer}, room {}", room.0);
                let pair = self.row(&t::DIRECT_ROOMS, &room).await?;
                let is_theirs = pair.is_some_and(|pair| pair.peer_of(&user) == Some(&peer));
                self.hold(is_theirs, Invariant::Social, || {
                    format!("{}: not their direct chat", at())
                });
                let number = self.row(&t::ROOM_NUMBERS, &row.room_id.to_string()).await?;
                self.hold(number == Some(room), Invariant::Social, || {
                    format!("{}: another room id", at())
                });
            }
        }
        Ok(())
    }

    async fn direct_rooms(&mut self) -> Result<()> {
        let mut range = t::DIRECT_ROOMS.prefix(&());
        while let Some(rows) = self.page(&t::DIRECT_ROOMS, &mut range).await? {
            for (room, row) in rows {
                let [one, other] = &row.users;
                self.hold(one != other, Invariant::Social, || {
                    format!("room {}: a direct chat of one", room.0)
                });
            }
        }
        Ok(())
    }

    async fn private_groups(&mut self) -> Result<()> {
        let mut range = t::PRIVATE_GROUPS.prefix(&());
        while let Some(rows) = self.page(&t::PRIVATE_GROUPS, &mut range).await? {
            for (set, row) in rows {
                let number = self.row(&t::ROOM_NUMBERS, &row.room_id.to_string()).await?;
                self.hold(number.is_some(), Invariant::Social, || {
                    format!("private group {set}: no room {}", row.room_id)
                });
            }
        }
        Ok(())
    }
}
