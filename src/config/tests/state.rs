//! What `state` means.

use super::*;

fn state(text: &str) -> State {
    let routes = r#""routes": { "/": { "GET": { "services": { "s": { "url": "http://h" } } } } }"#;
    good(&format!(r#"{{ "state": {text}, "http": {{ {routes} }} }}"#)).0.state
}

fn redis(text: &str) -> Redis {
    match state(text) {
        State::Redis(redis) => *redis,
        State::Memory => panic!("{text}"),
    }
}

fn plain(host: &str, port: u16) -> Node {
    Node::Tcp { host: host.to_owned(), port, wire: Wire::Plain }
}

#[test]
fn state_is_in_memory_unless_redis_is_meant() {
    for text in [r#""memory""#, r#"{ "type": "memory" }"#, "{}"] {
        assert_eq!(state(text), State::Memory, "{text}");
    }
    let expected = Redis {
        place: Place::One(plain("127.0.0.1", 6379)),
        username: None,
        password: None,
        db: 0,
        prefix: "fusebox".to_owned(),
        interval: Duration::from_millis(200),
        hints: Hints::Announced,
        on_loss: OnLoss::Local,
        quorum: 0.0,
    };
    assert_eq!(redis(r#""redis""#), expected);
    assert_eq!(redis(r#"{ "type": "redis" }"#), expected);
}

#[test]
fn the_redis_of_seed_a_is_where_it_says() {
    let text = r#"{ "type": "redis", "host": "myredishost", "port": 6380 }"#;
    assert_eq!(redis(text).place, Place::One(plain("myredishost", 6380)));
    let text = r#"{ "type": "redis", "host": "::1" }"#;
    assert_eq!(redis(text).place, Place::One(plain("::1", 6379)));
}

#[test]
fn a_redis_is_reached_in_one_of_four_ways() {
    let url = redis(r#"{ "type": "redis", "url": "rediss://cache/2" }"#);
    let node = Node::Tcp { host: "cache".to_owned(), port: 6379, wire: Wire::Tls };
    assert_eq!((url.place, url.db), (Place::One(node), 2));
    let unix = redis(r#"{ "type": "redis", "url": "unix:/run/redis.sock", "db": 1 }"#);
    assert_eq!((unix.place, unix.db), (Place::One(Node::Unix("/run/redis.sock".into())), 1));
    let cluster = redis(r#"{ "type": "redis", "cluster": ["redis://a", "redis://b:7000"] }"#);
    assert_eq!(cluster.place, Place::Cluster(vec![plain("a", 6379), plain("b", 7000)]));
    let text = r#"{ "type": "redis", "sentinel": { "nodes": ["redis://a"], "master": "m" } }"#;
    let sentinel = Place::Sentinel { nodes: vec![plain("a", 26379)], master: "m".to_owned() };
    assert_eq!(redis(text).place, sentinel);
}

#[test]
fn a_password_is_never_shown() {
    let text = r#"{ "type": "redis", "username": "u", "password": "hunter2", "quorum": "50%" }"#;
    let redis = redis(text);
    assert_eq!(redis.password, Some(Secret::Literal("hunter2".to_owned())));
    assert_eq!(redis.quorum, 0.5);
    assert!(!format!("{redis:?}").contains("hunter2"));
}

#[test]
fn whatever_is_wrong_with_a_secret_no_complaint_shows_it() {
    for admin in [
        r#""Token": "hunter2""#,
        r#""token": 7654321"#,
        r#""token": ["hunter2"]"#,
        r#""token": {"value": "hunter2"}"#,
        r#""token": /* prod */ "hunter2", "listen": 1"#,
        r#""token": hunter2"#,
        r#""token": "hunter2" "listen": 1"#,
        r#""token": "hunter2, "listen": 1"#,
        r#""listen": "http://admin:hunter2@h/""#,
        r#""token": "x", "token": "hunter2""#,
    ] {
        let text = format!(r#"{{ "admin": {{ {admin} }}, "http": {{ "routes": {{}} }} }}"#);
        let complaints = load(&text).unwrap_err();
        let shown = render("test", &text, &complaints, Colour::Plain);
        let data = serde_json::to_string(&complaints).unwrap();
        for secret in ["hunter2", "7654321"] {
            assert!(!shown.contains(secret) && !data.contains(secret), "{shown}{data}");
        }
    }
}
