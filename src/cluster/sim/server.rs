//! The script on a real server, beside its copy in Rust.
//!
//! Random calls go to both: the answers have to be the same to the byte. The server's own time,
//! which each answer tells, is what the copy is given. So what the plays prove of the copy holds of
//! the script. It runs with the rights that the README names, and no others. Needs `redis-server`
//! (or `valkey-server`, or what `FUSEBOX_REDIS` names), and fails without.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::super::register::{self, Head, Put};
use super::super::{Call, SCRIPT};
use super::dice::Dice;
use super::fake::{Fake, Key};

struct Server {
    _process: Running,
    home: PathBuf,
    admin: Talk,
    user: Talk,
}

struct Talk(BufReader<UnixStream>);

/// The name, the password and the rights of a user, as operators are told to set it up.
fn user() -> Vec<&'static str> {
    let line = include_str!("../../../README.md").lines().find(|line| line.contains("ACL SETUSER"));
    line.unwrap().split_whitespace().collect()
}

impl Server {
    fn start() -> Self {
        let home = std::env::temp_dir().join(format!(
            "fusebox-script-{}-{:?}",
            std::process::id(),
            std::thread::current().id()
        ));
        std::fs::create_dir_all(&home).unwrap();
        let socket = home.join("redis.sock");
        let known =
            ["/usr/bin/redis-server", "/usr/bin/valkey-server", "/usr/local/bin/redis-server"];
        let found = known.into_iter().map(PathBuf::from).find(|path| path.exists());
        let asked = std::env::var_os("FUSEBOX_REDIS").map(PathBuf::from);
        let program = asked.or(found);
        let program = program.expect("redis-server is missing: apt-get install redis-server");
        let process = Running(
            Command::new(&program)
                .args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"])
                .arg(&socket)
                .current_dir(&home)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .spawn()
                .unwrap(),
        );
        for _ in 0..500 {
            if let Ok(stream) = UnixStream::connect(&socket) {
                stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                let other = UnixStream::connect(&socket).unwrap();
                other.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
                let [mut admin, mut user] = [stream, other].map(|it| Talk(BufReader::new(it)));
                let set: Vec<_> = self::user().into_iter().map(str::as_bytes).collect();
                assert_eq!(admin.command(&set), b"OK");
                assert_eq!(user.command(&[b"AUTH", b"fusebox", b"PASSWORD"]), b"OK");
                return Self { _process: process, home, admin, user };
            }
            pause(20);
        }
        panic!("{} does not come up", program.display());
    }

    /// Sends a command of one who may everything.
    fn command(&mut self, parts: &[&[u8]]) -> Vec<u8> {
        self.admin.command(parts)
    }

    fn call(&mut self, call: &Call) -> Vec<u8> {
        let count = call.keys.len().to_string();
        let mut parts: Vec<&[u8]> = vec![b"EVAL", SCRIPT.text.as_bytes(), count.as_bytes()];
        parts.extend(call.keys.iter().chain(&call.args).map(Vec::as_slice));
        self.user.command(&parts)
    }

    /// Takes a key of each shard away.
    fn evict(&mut self, key: Key) {
        let name = ["data", "versions", "ends", "living"][key as usize];
        for shard in 0..2 {
            let key = format!("{{fusebox:{shard:02}}}:{name}");
            let deleted = b"redis.call('DEL', KEYS[1]) return ''";
            self.command(&[b"EVAL", deleted, b"1", key.as_bytes()]);
        }
    }
}

impl Talk {
    /// Sends a command and reads a word or a bulk string.
    fn command(&mut self, parts: &[&[u8]]) -> Vec<u8> {
        let mut request = format!("*{}\r\n", parts.len()).into_bytes();
        for part in parts {
            request.extend(format!("${}\r\n", part.len()).bytes());
            request.extend(*part);
            request.extend(b"\r\n");
        }
        self.0.get_mut().write_all(&request).unwrap();
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        if let Some(word) = line.strip_prefix('+') {
            return word.trim_end().as_bytes().to_vec();
        }
        let length = line.strip_prefix('$').unwrap_or_else(|| panic!("the server says {line}"));
        let length: usize = length.trim_end().parse().unwrap();
        let mut bytes = vec![0; length + 2];
        self.0.read_exact(&mut bytes).unwrap();
        bytes.truncate(length);
        bytes
    }
}

/// A process that ends with whoever holds it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.home);
    }
}

#[expect(clippy::disallowed_methods, reason = "a real server's time passes by itself")]
fn pause(millis: u64) {
    std::thread::sleep(Duration::from_millis(millis));
}

fn random(dice: &mut Dice, newest: u64) -> Call {
    let shard = u8::try_from(dice.roll(2)).unwrap();
    let puts: Vec<Put> = (0..dice.roll(6)).map(|_| put(dice)).collect();
    let head = Head {
        prefix: "fusebox",
        shard,
        instance: dice.roll(3),
        alive: [0, 30, 200, 5000][usize::try_from(dice.roll(4)).unwrap()],
        seen: dice.roll(newest + 3),
        channel: if dice.chance(500) { "fusebox:hint" } else { "" },
    };
    let mut call = register::call(head, &puts);
    if dice.chance(300) {
        call.args[3] = (1 + dice.roll(4)).to_string().into_bytes();
    }
    call
}

fn put(dice: &mut Dice) -> Put {
    let large = if dice.chance(200) { 1 << 52 } else { 0 };
    Put {
        field: format!("r:{:x}", dice.roll(8)),
        rank: large + dice.roll(6),
        ttl: [1, 15, 60, 3000, 600_000][usize::try_from(dice.roll(5)).unwrap()],
        loud: dice.chance(500),
        value: format!("value {}", dice.roll(1000)),
    }
}

#[test]
fn the_script_answers_on_a_real_server_what_its_copy_answers() {
    let mut server = Server::start();
    let mut dice = Dice::new(crate::breaker::sim::env("FUSEBOX_SIM_SEED").unwrap_or(1));
    let mut fake = Fake::default();
    let mut newest = [0; 2];
    for nth in 0..2000 {
        let call = random(&mut dice, *newest.iter().max().unwrap());
        let real = server.call(&call);
        let answer = register::answer(&real).unwrap();
        let (copy, _) = fake.call(&call, answer.now);
        let told = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        assert_eq!(told(&real), told(&copy), "call {nth}: {call:?}");
        let shard = usize::from(call.keys[0].starts_with(b"{fusebox:01}"));
        newest[shard] = answer.version;
        if dice.chance(100) {
            pause(dice.roll(25));
        }
        if dice.chance(30) {
            let key = Key::ALL[usize::try_from(dice.roll(4)).unwrap()];
            server.evict(key);
            fake.evict(key);
        }
        if nth % 700 == 699 {
            let keys = server.command(&[b"EVAL", KEYS_WITHOUT_END, b"0"]);
            assert_eq!(told(&keys), "", "keys that never end");
            fake.flush();
            newest = [0; 2];
            let flushed = server.command(&[b"EVAL", b"redis.call('FLUSHALL') return ''", b"0"]);
            assert_eq!(flushed, b"");
        }
    }
}

/// Names the keys that have no end.
const KEYS_WITHOUT_END: &[u8] = b"local found = {}
for _, key in ipairs(redis.call('KEYS', '*')) do
  if redis.call('PTTL', key) < 0 then found[#found + 1] = key end
end
return table.concat(found, ' ')";

#[test]
fn keys_end_with_the_last_of_what_they_hold() {
    let mut server = Server::start();
    let head = Head { prefix: "fusebox", shard: 0, instance: 1, alive: 20, seen: 0, channel: "" };
    let put = Put { field: "r:1".into(), rank: 1, ttl: 30, loud: false, value: "v".into() };
    server.call(&register::call(head, &[put]));
    let count = b"return tostring(#redis.call('KEYS', '*'))";
    assert_eq!(server.command(&[b"EVAL", count, b"0"]), b"4");
    for _ in 0..200 {
        if server.command(&[b"EVAL", count, b"0"]) == b"0" {
            return;
        }
        pause(20);
    }
    panic!("keys are left");
}
