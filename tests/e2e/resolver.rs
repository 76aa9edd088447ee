//! A name server that says what a test tells it to, in a network of that test's own.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::net::{Ipv4Addr, UdpSocket};
use std::sync::{Arc, Mutex};
use std::thread;

use tempfile::TempDir;

use crate::kernel;

/// What is said of a name.
#[derive(Clone, Debug)]
pub(crate) enum Says {
    /// It has these addresses.
    Leads(Vec<Ipv4Addr>),
    /// There is no such name: also what is said of any other.
    Unknown,
    /// Nothing at all.
    Silence,
}

/// A running name server: whatever this test's thread starts asks it, and waits five seconds.
#[derive(Debug)]
pub(crate) struct Resolver {
    names: Arc<Mutex<BTreeMap<String, Says>>>,
    _etc: TempDir,
}

impl Resolver {
    /// Starts it, and shows everyone the way to it.
    #[track_caller]
    pub(crate) fn start() -> Self {
        let etc = TempDir::new().unwrap();
        let write = |name: &str, text: &str| std::fs::write(etc.path().join(name), text).unwrap();
        write("resolv.conf", "nameserver 127.0.0.1\noptions timeout:5 attempts:1\n");
        write("nsswitch.conf", "hosts: files dns\n");
        write("hosts", "127.0.0.1 localhost\n");
        let path = CString::new(etc.path().to_str().unwrap()).unwrap();
        kernel::show(&path, c"/etc");
        let socket = UdpSocket::bind("127.0.0.1:53").expect("the port of name servers");
        let names = Arc::<Mutex<BTreeMap<_, _>>>::default();
        let known = Arc::clone(&names);
        thread::spawn(move || {
            let mut query = [0; 512];
            while let Ok((length, asker)) = socket.recv_from(&mut query) {
                if let Some(answer) = answer(&query[..length], &known.lock().unwrap()) {
                    drop(socket.send_to(&answer, asker));
                }
            }
        });
        Self { names, _etc: etc }
    }

    /// What is said of `name` from now on.
    pub(crate) fn says(&self, name: &str, says: Says) {
        self.names.lock().unwrap().insert(name.to_owned(), says);
    }
}

/// The answer to a query (RFC 1035 §4); `None`: there is none.
fn answer(query: &[u8], names: &BTreeMap<String, Says>) -> Option<Vec<u8>> {
    const ADDRESS: [u8; 2] = [0, 1];
    let (mut at, mut labels) = (12, Vec::new());
    while let Some(length @ 1..) = query.get(at).copied().map(usize::from) {
        labels.push(String::from_utf8_lossy(query.get(at + 1..=at + length)?).into_owned());
        at += 1 + length;
    }
    let question = query.get(12..at + 5)?;
    let (found, code) = match names.get(&labels.join(".")).unwrap_or(&Says::Unknown) {
        Says::Leads(addresses) => (addresses.as_slice(), 0),
        Says::Unknown => (&[][..], 3),
        Says::Silence => return None,
    };
    let found = if question.ends_with(&[0, 1, 0, 1]) { found } else { &[] };
    let count = u8::try_from(found.len()).unwrap();
    let mut answer = query.get(..2)?.to_vec();
    answer.extend([0x81, 0x80 | code, 0, 1, 0, count, 0, 0, 0, 0]);
    answer.extend(question);
    for address in found {
        answer.extend([0xc0, 12]);
        answer.extend(ADDRESS);
        answer.extend([0, 1, 0, 0, 0, 1, 0, 4]);
        answer.extend(address.octets());
    }
    Some(answer)
}
