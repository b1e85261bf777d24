//! The server-server API of a server on a memory store, asked by other servers with real signatures.

#[cfg(test)]
mod door;
#[cfg(test)]
mod house;
#[cfg(test)]
mod invites;
#[cfg(test)]
mod outside;
#[cfg(test)]
mod rooms;
