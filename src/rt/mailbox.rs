//! Words from the control plane to one core.
//!
//! Enters: messages, from any thread. Leaves: the same, on the core, in order. A socket pair wakes
//! the core: it works on every driver, where waking a task of this runtime from another thread does
//! not. Cold: nothing of a request passes here.

#![allow(clippy::disallowed_types, reason = "cold: control messages only")]

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{self, Receiver, Sender};

use monoio::io::AsyncReadRent;

/// The control plane's end.
#[derive(Debug)]
pub struct Post<M> {
    queue: Sender<M>,
    bell: UnixStream,
}

/// The core's end.
#[derive(Debug)]
pub struct Mailbox<M> {
    queue: Receiver<M>,
    bell: UnixStream,
}

/// A mailbox and the way into it.
pub fn mailbox<M>() -> io::Result<(Post<M>, Mailbox<M>)> {
    let (theirs, ours) = UnixStream::pair()?;
    theirs.set_nonblocking(true)?;
    let (sender, receiver) = mpsc::channel();
    Ok((Post { queue: sender, bell: theirs }, Mailbox { queue: receiver, bell: ours }))
}

impl<M> Post<M> {
    /// Sends a message; nothing happens if the core is gone.
    pub fn send(&self, message: M) {
        if self.queue.send(message).is_ok() {
            // A full socket has bytes the core has not read: it will wake anyway.
            let _ = (&self.bell).write(&[1]);
        }
    }
}

impl<M> Mailbox<M> {
    /// Hands every message to `take` until the control plane is gone.
    pub async fn serve(self, mut take: impl FnMut(M)) -> io::Result<()> {
        self.bell.set_nonblocking(true)?;
        let mut bell = monoio::net::UnixStream::from_std(self.bell)?;
        let mut bytes = Vec::with_capacity(64);
        loop {
            bytes.clear();
            let (read, back) = bell.read(bytes).await;
            bytes = back;
            if read? == 0 {
                return Ok(());
            }
            while let Ok(message) = self.queue.try_recv() {
                take(message);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::driver::{Choice, Loop, Tier};
    use super::*;

    #[test]
    fn messages_arrive_in_order_on_every_driver() {
        for choice in [Choice::Any, Choice::Epoll] {
            let (post, mailbox) = mailbox().unwrap();
            let core = std::thread::spawn(move || {
                let core = Loop::build(choice, Tier::Defer).unwrap();
                let mut taken = Vec::new();
                core.run(mailbox.serve(|message: u32| taken.push(message))).unwrap();
                taken
            });
            for message in 0..1000 {
                post.send(message);
            }
            drop(post);
            assert_eq!(core.join().unwrap(), (0..1000).collect::<Vec<_>>());
        }
    }
}
