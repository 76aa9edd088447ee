//! A store in a test's own thread: calls of a script that counts, and what becomes of them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use fusebox::cluster::store::{Failure, Kind, Store, Telling};
use fusebox::cluster::{Call, Script};
use fusebox::config::{self, State};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Notify, mpsc};

/// How long a store may take to reach a server that is there, pauses included.
const PATIENCE: Duration = Duration::from_secs(20);

/// Adds to keys that expire, announces the sum of the last one, and answers with it.
const COUNT: &str = "local sum
for _, key in ipairs(KEYS) do
  sum = redis.call('INCRBY', key, ARGV[1])
  redis.call('PEXPIRE', key, 60000)
end
redis.pcall('PUBLISH', 'hints', sum)
return tostring(sum)";

/// A store and a runtime for it.
pub(crate) struct Bench {
    store: Store,
    pub(crate) hints: mpsc::Receiver<Vec<u8>>,
    runtime: Runtime,
}

impl Bench {
    /// A store of `state`, as a configuration has it.
    #[track_caller]
    pub(crate) fn of(state: Value) -> Self {
        Self::running(state, COUNT)
    }

    #[track_caller]
    pub(crate) fn running(state: Value, script: &'static str) -> Self {
        let password = match state.get("password") {
            Some(Value::Object(reference)) => reference["file"].as_str().map(str::to_owned),
            _ => None,
        };
        let literal = state.get("password").and_then(Value::as_str).map(str::to_owned);
        let tell = move || -> Telling {
            let told = match (&password, &literal) {
                (Some(file), _) => {
                    std::fs::read_to_string(file).map(Some).map_err(|error| error.to_string())
                }
                (None, literal) => Ok(literal.clone()),
            };
            Box::pin(std::future::ready(told))
        };
        let routes = json!({ "/": { "GET": { "services": { "s": { "url": "http://h" } } } } });
        let document = json!({ "state": state, "http": { "routes": routes } });
        let (config, _) = config::load(&document.to_string()).unwrap();
        let State::Redis(redis) = config.state else { panic!("{document}") };
        let (sender, hints) = mpsc::channel(64);
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        let channel = Some((b"hints".to_vec(), sender));
        let (script, changed) = (Script { text: script }, Arc::new(Notify::new()));
        let store = Store::new(&redis, script, Box::new(tell), channel, changed);
        Self { store, hints, runtime }
    }

    /// One exchange of calls that add `by` to each of `keys`.
    pub(crate) fn add(&mut self, keys: &[&str], by: u32) -> Vec<Result<String, Failure>> {
        let calls: Vec<Call> = keys.iter().map(|key| call(&[key], by)).collect();
        self.exchange(&calls)
    }

    /// One call that adds `by` to all of `keys`, and answers the sum of the last one.
    pub(crate) fn add_together(&mut self, keys: &[&str], by: u32) -> Result<String, Failure> {
        self.exchange(&[call(keys, by)]).remove(0)
    }

    fn exchange(&mut self, calls: &[Call]) -> Vec<Result<String, Failure>> {
        let calls: Vec<&Call> = calls.iter().collect();
        let answers = self.runtime.block_on(self.store.exchange(&calls));
        let text = |bytes| String::from_utf8(bytes).unwrap();
        answers.into_iter().map(|answer| answer.map(text)).collect()
    }

    /// Repeats a call that adds nothing until it is answered.
    #[track_caller]
    pub(crate) fn answered(&mut self, key: &str) -> String {
        self.until(key, |answer| answer.ok())
    }

    /// Repeats a call until it is refused for this reason.
    #[track_caller]
    pub(crate) fn refused(&mut self, key: &str, kind: Kind) -> Failure {
        self.until(key, |answer| answer.err().filter(|failure| failure.kind == kind))
    }

    #[track_caller]
    fn until<T>(&mut self, key: &str, pick: impl Fn(Result<String, Failure>) -> Option<T>) -> T {
        let began = Instant::now();
        loop {
            let answer = self.add(&[key], 0).remove(0);
            let shown = format!("{answer:?}");
            if let Some(found) = pick(answer) {
                return found;
            }
            assert!(began.elapsed() < PATIENCE, "at last: {shown}");
            self.pass(Duration::from_millis(5));
        }
    }

    /// Lets connections work for a while.
    pub(crate) fn pass(&mut self, span: Duration) {
        self.runtime.block_on(async { tokio::time::sleep(span).await });
    }

    /// The next hint.
    #[track_caller]
    pub(crate) fn hint(&mut self) -> String {
        let next = self
            .runtime
            .block_on(async { tokio::time::timeout(PATIENCE, self.hints.recv()).await });
        String::from_utf8(next.expect("a hint").expect("a channel")).unwrap()
    }

    pub(crate) fn store(&self) -> &Store {
        &self.store
    }
}

fn call(keys: &[&str], by: u32) -> Call {
    let keys = keys.iter().map(|key| key.as_bytes().to_vec()).collect();
    Call { keys, args: vec![by.to_string().into_bytes()] }
}
