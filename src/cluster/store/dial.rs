//! Connections to Redis, ready to be used.
//!
//! Enters: where to go. Leaves: a [`Connection`]: user known, database chosen, hints subscribed to.
//! Owns what every connection has in common, and asks Sentinel where its master is.
//!
//! A password is asked for anew at each connection: a file that was replaced counts at once.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use redis::{
    AsyncConnectionConfig, Cmd, ProtocolVersion, PushInfo, PushKind, RedisConnectionInfo, Value,
    cmd,
};
use rustls::ClientConfig;
use tokio::sync::{Notify, mpsc};
use tokio::task::AbortHandle;
use tokio::time::timeout;

use super::Known;
use super::failure::{Failure, Kind};
use super::stream::{Allowance, Stream};
use crate::cluster::Call;
use crate::config::Node;

/// How long a connection may take to come about: name, TCP, TLS and user are up to six turns.
const DIAL_MAX: Duration = Duration::from_secs(1);

/// Bytes that a connection may cost before it is used.
const GREETING_BYTES_MAX: usize = 64 * 1024;

/// Longer hints are not ours.
const HINT_BYTES_MAX: usize = 4096;

/// Tells the password, if there is one, or why it cannot be told. Ends within a second or so: a
/// connection waits for it.
pub type Password = Box<dyn Fn() -> Telling + Send + Sync>;

/// A password on its way.
pub type Telling = Pin<Box<dyn Future<Output = Result<Option<String>, String>> + Send>>;

/// What every connection has in common.
pub(super) struct Dialler {
    pub(super) username: Option<String>,
    pub(super) password: Password,
    pub(super) db: u32,
    /// The authorities, or why there are none; `None`: no node is reached inside TLS.
    pub(super) authorities: Option<Result<Arc<ClientConfig>, Failure>>,
    /// Where changes are announced, and who wants to know of them.
    pub(super) hints: Option<(Vec<u8>, mpsc::Sender<Vec<u8>>)>,
    /// How long an answer may take.
    pub(super) patience: Duration,
    /// The sentinel that is asked first: the one that led to a master last.
    pub(super) guide: AtomicUsize,
    /// Told when something has come about that the owner should look at.
    pub(super) changed: Arc<Notify>,
}

/// Where a link leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// To this server.
    Node(Node),
    /// To the one that these watch by this name.
    Watched(Vec<Node>, String),
}

/// An open connection; dropping it closes it.
pub(super) struct Connection {
    /// Whom it leads to.
    pub(super) node: Node,
    /// Why hints do not arrive, if they should.
    pub(super) deaf: Option<Failure>,
    commands: MultiplexedConnection,
    pub(super) allowance: Allowance,
    patience: Duration,
    driver: AbortHandle,
}

/// Who is spoken to.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    /// Who keeps our keys.
    Store,
    /// Who knows where they are.
    Guide,
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Dialler {
    /// Opens a connection for keys and hints.
    pub(super) async fn dial(&self, target: &Target) -> Result<Connection, Failure> {
        match target {
            Target::Node(node) => self.open(node, Role::Store).await,
            Target::Watched(sentinels, name) => {
                let (nth, node) = self.ask_sentinels(sentinels, name).await?;
                // One that leads astray is asked last the next time: cut off from the others, it
                // will never know better.
                self.guide.store(nth + 1, Ordering::Relaxed);
                let connection = self.open(&node, Role::Store).await?;
                // Sentinel may be the last to know of a failover.
                let mut role = cmd("ROLE");
                match connection.ask(&mut role).await.map_err(|failure| failure.at(&node))? {
                    Value::Array(told) if is_text(told.first(), b"master") => {
                        self.guide.store(nth, Ordering::Relaxed);
                        Ok(connection)
                    }
                    Value::Array(_) => {
                        Err(Failure::new(Kind::NotReady, "it is no master (any more)").at(&node))
                    }
                    _ => Err(Failure::new(Kind::Malformed, "no role").at(&node)),
                }
            }
        }
    }

    /// Opens a connection for a question about the Cluster.
    pub(super) async fn dial_guide(&self, node: &Node) -> Result<Connection, Failure> {
        self.open(node, Role::Guide).await
    }

    async fn open(&self, node: &Node, role: Role) -> Result<Connection, Failure> {
        let told = (self.password)().await;
        let password = told.map_err(|why| Failure::new(Kind::Denied, why).at(node))?;
        self.open_as(node, role, password).await
    }

    async fn open_as(
        &self,
        node: &Node,
        role: Role,
        password: Option<String>,
    ) -> Result<Connection, Failure> {
        let opened = timeout(DIAL_MAX, self.greet(node, role, password)).await;
        opened.unwrap_or_else(|_| Err(Failure::late("connecting"))).map_err(|it| it.at(node))
    }

    async fn greet(
        &self,
        node: &Node,
        role: Role,
        password: Option<String>,
    ) -> Result<Connection, Failure> {
        let authorities = self.authorities.as_ref().map(Result::as_ref).transpose();
        let authorities = authorities.map_err(Clone::clone)?;
        let allowance = Allowance::of(GREETING_BYTES_MAX);
        let stream = Stream::connect(node, authorities, allowance.clone()).await?;
        let mut settings = RedisConnectionInfo::default()
            .set_protocol(ProtocolVersion::RESP3)
            .set_lib_name("fusebox", env!("CARGO_PKG_VERSION"));
        if role == Role::Store {
            settings = settings.set_db(i64::from(self.db));
        }
        if let Some(password) = password {
            settings = settings.set_password(password);
            if let Some(username) = &self.username {
                settings = settings.set_username(username);
            }
        }
        let mut config = AsyncConnectionConfig::new().set_response_timeout(None);
        let hints = self.hints.as_ref().filter(|_| role == Role::Store);
        if let Some((_, listener)) = hints {
            let (listener, changed) = (listener.clone(), Arc::clone(&self.changed));
            config = config.set_push_sender(move |push| hand_over(push, &listener, &changed));
        }
        let opened = MultiplexedConnection::new_with_config(&settings, stream, config).await;
        let (commands, driver) = opened?;
        let mut connection = Connection {
            node: node.clone(),
            deaf: None,
            commands,
            allowance,
            patience: match role {
                Role::Store => self.patience,
                // Beside all exchanges, and the map of a large Cluster is long.
                Role::Guide => DIAL_MAX,
            },
            driver: tokio::spawn(driver).abort_handle(),
        };
        if let Some((channel, _)) = hints {
            let heard = connection.ask(cmd("SUBSCRIBE").arg(channel)).await;
            match heard {
                Ok(_) => {}
                Err(failure) if failure.kind.ends_connection() => return Err(failure),
                Err(failure) => connection.deaf = Some(failure.at(node)),
            }
        }
        Ok(connection)
    }

    /// Where the master of this name is, and by which sentinel: the first that knows, beginning
    /// with the one that knew before. One that hangs would cost every connection its time.
    async fn ask_sentinels(
        &self,
        sentinels: &[Node],
        name: &str,
    ) -> Result<(usize, Node), Failure> {
        let mut last = Failure::new(Kind::Misconfigured, "there is no sentinel to ask");
        let first = self.guide.load(Ordering::Relaxed);
        let turn = sentinels.iter().enumerate().cycle().skip(first % sentinels.len().max(1));
        for (nth, sentinel) in turn.take(sentinels.len()) {
            match self.ask_sentinel(sentinel, name).await {
                Ok(node) => return Ok((nth, node)),
                Err(failure) => last = failure,
            }
        }
        Err(last)
    }

    async fn ask_sentinel(&self, sentinel: &Node, name: &str) -> Result<Node, Failure> {
        // Most sentinels ask for no password; those that do have the master's here.
        let guide = match self.open_as(sentinel, Role::Guide, None).await {
            Err(failure) if failure.kind == Kind::Denied => {
                self.open(sentinel, Role::Guide).await?
            }
            opened => opened?,
        };
        let mut question = cmd("SENTINEL");
        question.arg("get-master-addr-by-name").arg(name);
        match guide.ask(&mut question).await.map_err(|failure| failure.at(sentinel))? {
            Value::Nil => {
                let text = format!("it watches no master called `{name}`");
                Err(Failure::new(Kind::Misconfigured, text).at(sentinel))
            }
            Value::Array(parts) => node_of(parts.first(), parts.get(1), sentinel)
                .ok_or_else(|| Failure::new(Kind::Malformed, "no address").at(sentinel)),
            _ => Err(Failure::new(Kind::Malformed, "no address").at(sentinel)),
        }
    }
}

/// Passes a hint on; more than are taken are dropped, as hints may be.
fn hand_over(
    push: PushInfo,
    listener: &mpsc::Sender<Vec<u8>>,
    changed: &Notify,
) -> Result<(), mpsc::error::TrySendError<Vec<u8>>> {
    match push.kind {
        PushKind::Message => {
            let payload = push.data.into_iter().nth(1);
            let Some(Value::BulkString(payload)) = payload else { return Ok(()) };
            if payload.len() > HINT_BYTES_MAX {
                return Ok(());
            }
            listener.try_send(payload)
        }
        PushKind::Disconnection => {
            changed.notify_one();
            Ok(())
        }
        _ => Ok(()),
    }
}

/// The address that a server tells, reached as `teller` is.
pub(super) fn node_of(host: Option<&Value>, port: Option<&Value>, teller: &Node) -> Option<Node> {
    let Node::Tcp { host: own, wire, .. } = teller else { return None };
    let host = match host? {
        // A node that does not know its address is where it was asked.
        Value::Nil => own.clone(),
        Value::BulkString(bytes) if bytes.is_empty() => own.clone(),
        Value::BulkString(bytes) => std::str::from_utf8(bytes).ok()?.to_owned(),
        Value::SimpleString(text) => text.clone(),
        _ => return None,
    };
    let port = match port? {
        Value::Int(port) => u16::try_from(*port).ok()?,
        Value::BulkString(digits) => std::str::from_utf8(digits).ok()?.parse().ok()?,
        _ => return None,
    };
    Some(Node::Tcp { host, port, wire: *wire })
}

fn is_text(value: Option<&Value>, text: &[u8]) -> bool {
    match value {
        Some(Value::BulkString(bytes)) => bytes == text,
        Some(Value::SimpleString(word)) => word.as_bytes() == text,
        _ => false,
    }
}

impl Connection {
    /// Sends `command` and waits for the answer.
    pub(super) async fn ask(&self, command: &mut Cmd) -> Result<Value, Failure> {
        let mut commands = self.commands.clone();
        match timeout(self.patience, commands.send_packed_command(command)).await {
            Err(_) => Err(Failure::late("an answer")),
            Ok(Err(error)) => Err(error.into()),
            Ok(Ok(Value::ServerError(error))) => Err((&error).into()),
            Ok(Ok(value)) => Ok(value),
        }
    }

    /// Runs `script`; where the server does not know it yet, it is told.
    pub(super) async fn run(&self, script: &Known, call: &Call) -> Result<Vec<u8>, Refusal> {
        let mut commands = self.commands.clone();
        let whole = async {
            let known = command("EVALSHA", script.digest.as_bytes(), call);
            let first = commands.send_packed_command(&known).await?;
            match first {
                Value::ServerError(error) if error.code() == "NOSCRIPT" => {
                    let told = command("EVAL", script.text.as_bytes(), call);
                    commands.send_packed_command(&told).await
                }
                first => Ok(first),
            }
        };
        let failed = |failure: Failure| Refusal { failure: failure.at(&self.node), moved: None };
        match timeout(self.patience, whole).await {
            Err(_) => Err(failed(Failure::late("an answer"))),
            Ok(Err(error)) => Err(failed(error.into())),
            Ok(Ok(Value::BulkString(bytes))) => Ok(bytes),
            Ok(Ok(Value::ServerError(error))) => {
                let moved =
                    (error.code() == "MOVED").then(|| moved_to(error.details(), &self.node));
                Err(Refusal { moved: moved.flatten(), ..failed((&error).into()) })
            }
            Ok(Ok(_)) => {
                Err(failed(Failure::new(Kind::Malformed, "the script's answer is no string")))
            }
        }
    }
}

/// Why there is no answer, and where it may be had instead.
pub(super) struct Refusal {
    pub(super) failure: Failure,
    pub(super) moved: Option<Node>,
}

/// The address in `MOVED 1234 host:port`.
fn moved_to(details: Option<&str>, teller: &Node) -> Option<Node> {
    let address = details?.split_ascii_whitespace().nth(1)?;
    let (host, port) = address.rsplit_once(':')?;
    let text = |text: &str| Value::BulkString(text.as_bytes().to_vec());
    node_of(Some(&text(host)), Some(&text(port)), teller)
}

fn command(name: &str, script: &[u8], call: &Call) -> Cmd {
    let mut command = cmd(name);
    command.arg(script).arg(call.keys.len());
    for argument in call.keys.iter().chain(&call.args) {
        command.arg(argument.as_slice());
    }
    command
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Wire;

    #[test]
    fn an_address_that_a_server_tells_is_reached_as_the_server_is() {
        let teller = Node::Tcp { host: "a".to_owned(), port: 1, wire: Wire::Tls };
        let at = |host: &str, port| Node::Tcp { host: host.to_owned(), port, wire: Wire::Tls };
        assert_eq!(moved_to(Some("1234 10.0.0.1:7001"), &teller), Some(at("10.0.0.1", 7001)));
        assert_eq!(moved_to(Some("1234 :7001"), &teller), Some(at("a", 7001)));
        assert_eq!(moved_to(Some("1234 ::1:7001"), &teller), Some(at("::1", 7001)));
        for odd in [None, Some(""), Some("1234"), Some("1 a:b"), Some("1 a:70000")] {
            assert_eq!(moved_to(odd, &teller), None, "{odd:?}");
        }
        let told = node_of(Some(&Value::Nil), Some(&Value::Int(7002)), &teller);
        assert_eq!(told, Some(at("a", 7002)));
        assert_eq!(node_of(Some(&Value::Nil), Some(&Value::Int(-1)), &teller), None);
    }
}
