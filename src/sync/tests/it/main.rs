//! Tests of `sync` through its public functions, on histories that `rooms` writes.

#[cfg(test)]
mod costs;
#[cfg(test)]
mod counting;
#[cfg(test)]
mod device_lists;
#[cfg(test)]
mod garbage;
#[cfg(test)]
mod history;
#[cfg(test)]
mod house;
#[cfg(test)]
mod picture;
#[cfg(test)]
mod presence;
#[cfg(test)]
mod retention;
#[cfg(test)]
mod syncing;
#[cfg(test)]
mod waking;
