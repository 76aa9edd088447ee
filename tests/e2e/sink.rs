//! Where the access log goes: files that are rotated, full disks, stuck pipes, the last lines.

use std::ffi::CString;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::access::{Place, lines, read};
use crate::client::Client;
use crate::document::{all_to, with};
use crate::kernel::Signal;
use crate::origin::Origin;
use crate::proxy::{self, Proxy};
use crate::wait;

fn dropped(proxy: &Proxy) -> u64 {
    proxy.metric("fusebox_access_dropped_total")
}

/// Sends `count` requests on one connection, `/0` and on.
fn send_many(proxy: &Proxy, count: usize, from: usize) {
    let mut client = Client::connect(proxy.address());
    for nth in from..from + count {
        assert_eq!(client.get(&format!("/{nth}")).status, 200);
    }
}

fn paths(lines: &[String]) -> Vec<usize> {
    let path = |line: &String| -> usize {
        let line: Value = serde_json::from_str(line).expect(line);
        line["path"].as_str().unwrap()[1..].parse().unwrap()
    };
    lines.iter().map(path).collect()
}

#[test]
fn no_line_is_lost_when_the_file_is_rotated_with_or_without_a_signal() {
    let origin = Origin::saying("ok");
    let place = Place::new();
    let proxy = Proxy::start(&place.log(all_to(&origin), "all", "json"));
    let (path, old, older) =
        (place.path(), place.directory.path().join("1"), place.directory.path().join("2"));
    std::thread::scope(|scope| {
        scope.spawn(|| send_many(&proxy, 3_000, 0));
        wait::until("lines", || read(&path).lines().count() > 100);
        std::fs::rename(&path, &old).unwrap();
        proxy.signal(Signal::Hangup);
        wait::until("a new file", || path.exists());
    });
    std::fs::rename(&path, &older).unwrap();
    wait::until("a new file without a signal", || path.exists());
    send_many(&proxy, 10, 3_000);
    place.lines(10);
    let all = [read(&old), read(&older), read(&path)].concat();
    let all: Vec<String> = all.lines().map(str::to_owned).collect();
    assert_eq!(paths(&all), (0..3_010).collect::<Vec<_>>());
    assert_eq!(dropped(&proxy), 0);
}

#[test]
fn a_reload_changes_what_is_logged_and_how_and_a_file_that_cannot_be_is_refused() {
    let origin = Origin::saying("ok");
    let place = Place::new();
    let proxy = Proxy::start(&place.log(all_to(&origin), "off", "json"));
    proxy.get("/unseen");
    proxy.write(&place.log(all_to(&origin), "all", "common"));
    assert_eq!(proxy.post("/reload").status, 200);
    proxy.get("/seen");
    assert!(place.lines(1)[0].ends_with("\"GET /seen HTTP/1.1\" 200 2"));
    let nowhere = json!({ "access": "all", "file": "/nowhere/at/all" });
    proxy.write(&with(place.log(all_to(&origin), "all", "common"), "/log", nowhere));
    let refused = proxy.post("/reload");
    assert_eq!(refused.status, 422);
    assert_eq!(refused.json()["complaints"][0]["pointer"], "/log/file", "{refused:?}");
    proxy.get("/still");
    assert!(place.lines(2)[1].contains("/still"));
}

#[test]
fn a_file_that_cannot_be_written_ends_the_start_with_its_name_and_a_remedy() {
    let origin = Origin::saying("ok");
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("fusebox.json");
    let document = with(all_to(&origin), "/log", json!({ "file": "/nowhere/at/all" }));
    std::fs::write(&path, proxy::complete(document).to_string()).unwrap();
    let ended = proxy::run(&["run", path.to_str().unwrap()]);
    assert_eq!(ended.status.code(), Some(1), "{}", ended.output);
    assert!(ended.output.contains("/nowhere/at/all") && ended.output.contains("`log.file`"));
}

#[test]
fn a_full_disk_costs_lines_which_are_counted_and_nothing_else() {
    let origin = Origin::saying("ok");
    let log = json!({ "access": "all", "file": "/dev/full" });
    let proxy = Proxy::start(&with(all_to(&origin), "/log", log));
    send_many(&proxy, 500, 0);
    wait::until("all are counted", || dropped(&proxy) == 500);
    proxy.lines().await_line("access log cannot be written");
    assert_eq!(proxy.lines().count("access log cannot be written"), 1);
}

/// The middle of how long `count` requests take.
fn median(proxy: &Proxy, count: usize, path: &str) -> Duration {
    let mut client = Client::connect(proxy.address());
    let mut took: Vec<Duration> = (0..count)
        .map(|_| {
            let began = Instant::now();
            assert_eq!(client.get(path).status, 200);
            began.elapsed()
        })
        .collect();
    took.sort_unstable();
    took[count / 2]
}

#[test]
fn a_pipe_that_nobody_reads_costs_lines_and_holds_up_nobody() {
    let origin = Origin::saying("ok");
    let place = Place::new();
    let name = CString::new(place.path().to_str().unwrap()).unwrap();
    crate::kernel::make_pipe(&name);
    let proxy = Proxy::start(&place.log(all_to(&origin), "all", "json"));
    let path = format!("/{}", "x".repeat(700));
    let free = median(&proxy, 200, &path);
    while dropped(&proxy) == 0 {
        median(&proxy, 500, &path);
    }
    let before = dropped(&proxy);
    let stuck = median(&proxy, 200, &path);
    assert_eq!(dropped(&proxy), before + 200, "each of them is counted");
    let same_order = free * 10 + Duration::from_millis(5);
    assert!(stuck < same_order, "{free:?} before, {stuck:?} while the pipe is full");
    // A reader comes: it finds whole lines, and the newest arrive again.
    let mut pipe = std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(place.path())
        .unwrap();
    let mut text = Vec::new();
    let mut block = vec![0; 1 << 16];
    let mut newest = Instant::now();
    wait::until("a line of a new request", || {
        if newest.elapsed() > Duration::from_millis(20) {
            newest = Instant::now();
            proxy.get("/newest");
        }
        while let Ok(count @ 1..) = pipe.read(&mut block) {
            text.extend_from_slice(&block[..count]);
        }
        holds(&text, b"\"/newest\"")
    });
    let whole = text.iter().rposition(|byte| *byte == b'\n').unwrap();
    for line in String::from_utf8_lossy(&text[..whole]).lines() {
        assert!(serde_json::from_str::<Value>(line).is_ok(), "{line}");
    }
}

fn holds(text: &[u8], needle: &[u8]) -> bool {
    text.windows(needle.len()).any(|window| window == needle)
}

#[test]
fn an_end_writes_every_line_that_was_owed() {
    let origin = Origin::saying("ok");
    let place = Place::new();
    let proxy = Proxy::start(&place.log(all_to(&origin), "all", "json"));
    send_many(&proxy, 1_000, 0);
    proxy.signal(Signal::Terminate);
    assert_eq!(proxy.end().code(), Some(0));
    assert_eq!(paths(&lines(&place.path(), 1_000)), (0..1_000).collect::<Vec<_>>());
}
