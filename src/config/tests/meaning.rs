//! What a document means: breakers, paths, URLs, hosts, sizes.

use super::*;
use crate::config::pattern;
use crate::config::url::template;

/// A document with one route that has this breaker, and what else `http` holds.
fn with_breaker(breaker: &str, http: &str) -> Result<BreakerConfig, Vec<Code>> {
    let text = format!(
        r#"{{ "http": {{ {http} "routes": {{ "/": {{ "GET": {{
            "services": {{ "s": {{ "url": "http://h" }} }}, "circuitBreaker": {breaker}
        }} }} }} }} }}"#
    );
    match load(&text) {
        Ok((config, _)) => Ok(config.http.routes[0].breaker.clone().expect("a breaker")),
        Err(complaints) => Err(complaints.iter().map(|c| c.code).collect()),
    }
}

/// Seed B's machine with ten failures and a change.
fn resetting(window: Window, open_for: u64, change: impl FnOnce(&mut Recovery)) -> Policy {
    let ten = 10.try_into().unwrap();
    let mut policy = Policy::reset(ten, window, Duration::from_secs(open_for));
    if let Heal::Probe(recovery) = &mut policy.heal {
        change(recovery);
    }
    policy
}

#[test]
fn an_empty_breaker_has_seed_b_s_defaults() {
    let breaker = with_breaker("{}", "").unwrap();
    assert_eq!(breaker.timeout, Some(Duration::from_secs(30)));
    assert_eq!(
        breaker.policy,
        resetting(Window::Cumulative, 120, |recovery| {
            recovery.permit = Duration::from_secs(31);
            recovery.max_wait = Duration::from_secs(31);
        })
    );
    assert!(breaker.policy.failures.contains(500) && breaker.policy.failures.contains(599));
    assert!(!breaker.policy.failures.contains(429) && !breaker.policy.failures.contains(499));
    assert_eq!(breaker.retry_after, RetryAfter::Send);
    assert_eq!((breaker.refusal.status, breaker.timeout_answer.status), (503, 504));
}

#[test]
fn a_probe_may_stay_a_second_longer_than_its_limit() {
    let waits = |breaker: &str| {
        let policy = with_breaker(breaker, "").unwrap().policy;
        let recovery = policy.recovery().unwrap();
        (recovery.permit.as_millis(), recovery.max_wait.as_millis())
    };
    assert_eq!(waits(r#"{ "timeout": 250 }"#), (1250, 30_000));
    assert_eq!(waits(r#"{ "timeout": "none" }"#), (30_000, 30_000));
    assert_eq!(waits(r#"{ "timeout": "2m" }"#), (121_000, 121_000), "no shorter than a probe");
    let written = r#"{ "timeout": "2m", "halfOpen": { "maxWait": "5s" } }"#;
    assert_eq!(waits(written), (5000, 5000), "unless it is meant so");
}

#[test]
fn the_words_of_a_look_back_bring_their_own_refusal_and_no_limit() {
    let body = |text: &str| with_breaker(text, "").unwrap().refusal.body;
    let with = |more: &str| format!(r#"{{ "maxErrors": 2, "duration": "1s" {more} }}"#);
    let text = |text: &str| Body::Text(text.to_owned());
    assert_eq!(body(&with("")), text("Busy."));
    assert_eq!(body(&with(r#", "errorBody": "" "#)), text("Busy."));
    assert_eq!(body(&with(r#", "errorBody": null "#)), text("Busy."));
    assert_eq!(body(&with(r#", "errorBody": "sorry \u00e9" "#)), text("sorry é"));
    let exact = r#"{"z":1.50,"a":[12345678901234567890123,true,null],"é":{}}"#;
    let written =
        r#"{ "z": 1.50, /* why */ "a": [12345678901234567890123, true, null,], "é": {} }"#;
    assert_eq!(body(&with(&format!(r#", "errorBody": {written}"#))), Body::Json(exact.to_owned()));
    assert_eq!(body(&with(r#", "rejectMessage": "no""#)), Body::Message("no".to_owned()));
    let breaker = with_breaker(&with(r#", "timeout": "5s", "errorStatus": 429"#), "").unwrap();
    assert_eq!(breaker.timeout, Some(Duration::from_secs(5)));
    assert_eq!(breaker.refusal.status, 429);
    assert_eq!(with_breaker(&with(""), "").unwrap().timeout, None);
}

#[test]
fn own_keys_win_over_those_of_the_named_breaker() {
    let http = r#" "handlers": { "h": { "type": "log" } }, "circuitBreakers": {
        "b": { "maxFailures": 4, "timeWindow": "10s", "resetTimeout": "7s", "rejectMessage": "b",
               "onOpen": { "name": "h" }, "failureStatuses": 429, "retryAfter": false },
        "a": { "maxErrors": 4, "duration": "9s" }
    }, "#;
    let breaker = with_breaker(r#"{ "use": "b", "maxFailures": 2 }"#, http).unwrap();
    let Failures { count, window } = breaker.policy.trip.failures.unwrap();
    assert_eq!((count.get(), window), (2, Window::Fixed(Duration::from_secs(10))));
    assert_eq!(breaker.policy.recovery().unwrap().pace.first(), Duration::from_secs(7));
    assert_eq!(breaker.refusal.body, Body::Message("b".to_owned()));
    assert_eq!(breaker.on_open.len(), 1);
    assert_eq!(breaker.retry_after, RetryAfter::Omit);
    assert!(breaker.policy.failures.contains(429) && !breaker.policy.failures.contains(500));

    let breaker = with_breaker(r#"{ "use": "a", "duration": "3s" }"#, http).unwrap();
    let four = 4.try_into().unwrap();
    assert_eq!(breaker.policy, Policy::look_back(four, Duration::from_secs(3)));
    assert_eq!(breaker.timeout, None);

    let mixed = with_breaker(r#"{ "use": "a", "resetTimeout": "3s" }"#, http);
    assert_eq!(mixed.unwrap_err(), [Code::Conflict]);
    let unknown = with_breaker(r#"{ "use": "c" }"#, http);
    assert_eq!(unknown.unwrap_err(), [Code::UnknownName]);
}

#[test]
fn a_route_s_breaker_replaces_the_global_one_whole() {
    let global = r#" "circuitBreaker": { "maxErrors": 3, "duration": 150, "errorStatus": 500 }, "#;
    let own = with_breaker(r#"{ "maxErrors": 1, "duration": 10 }"#, global).unwrap();
    assert_eq!(own.refusal.status, 503);
    for out in ["\"none\"", "false"] {
        let text = format!(
            r#"{{ "http": {{ {global} "routes": {{ "/": {{ "GET": {{ "circuitBreaker": {out},
            "services": {{ "s": {{ "url": "http://h" }} }} }}, "PUT": {{
            "services": {{ "s": {{ "url": "http://h" }} }} }} }} }} }} }}"#
        );
        let routes = good(&text).0.http.routes;
        assert!(routes[0].breaker.is_none());
        assert_eq!(routes[1].breaker.as_ref().unwrap().refusal.status, 500);
    }
}

#[test]
fn paths_are_read_by_segments() {
    let path = |text: &str| pattern::path(text, TrailingSlash::Ignore, PathRules::Normal);
    let segments = |text: &str| path(text).unwrap().segments;
    let literal = |text: &str| Segment::Literal(text.to_owned());
    let param = |text: &str| Segment::Param(text.to_owned());
    let rest = |text: &str| Segment::Rest(text.to_owned());
    assert_eq!(segments("/"), []);
    assert_eq!(segments("/users/"), [literal("users")]);
    assert_eq!(
        segments("/users/:id/a/(.*)"),
        [literal("users"), param("id"), literal("a"), rest("0")]
    );
    assert_eq!(segments("/*path"), [rest("path")]);
    assert_eq!(segments("/a//b"), [literal("a"), literal(""), literal("b")]);
    assert_eq!(segments("/a%20b;v=1,2@c!$&'+=~"), [literal("a%20b;v=1,2@c!$&'+=~")]);
    let strict = pattern::path("/users/", TrailingSlash::Strict, PathRules::Strict).unwrap();
    assert_eq!(strict.segments, [literal("users"), literal("")]);
    let sixteen: String = (0..16).map(|n| format!("/:p{n}")).collect();
    assert!(path(&sixteen).is_ok());
}

#[test]
fn a_param_in_a_url_is_an_exact_token() {
    let url = |text: &str| template(text, &["id", "identity", "0"]).map_err(|(code, _)| code);
    let literal = |text: &str| Piece::Literal(text.to_owned());
    let one = url("http://Example.COM/users/:id/:identity?x=:0&y=:id").unwrap();
    assert_eq!(
        one.pieces,
        [
            literal("/users/"),
            Piece::Capture(0),
            literal("/"),
            Piece::Capture(1),
            literal("?x="),
            Piece::Capture(2),
            literal("&y="),
            Piece::Capture(0),
        ]
    );
    assert_eq!((one.host.as_str(), one.port), ("example.com", 80));
    assert_eq!(one.authority, "example.com");
    assert_eq!(one.query, TemplateQuery::Present);
    assert_eq!(url("http://h:8080").unwrap().pieces, [literal("/")]);
    assert_eq!(url("http://h:8080?a=1").unwrap().pieces, [literal("/?a=1")]);
    assert_eq!(
        url("HTTP://h:80/a:/:id.json").unwrap().pieces,
        [literal("/a:/"), Piece::Capture(0), literal(".json")]
    );
    let six = url("http://[2001:DB8::1]:8080/").unwrap();
    assert_eq!((six.host.as_str(), six.authority.as_str()), ("2001:db8::1", "[2001:db8::1]:8080"));
    assert_eq!(six.query, TemplateQuery::Absent);
    assert_eq!(url("http://h/:ident"), Err(Code::UnknownName));
    assert_eq!(url("https://h/"), Err(Code::NotBuilt));
    for bad in ["http://", "http:///x", "http://:id", "http://h:/", "http://h:+80/", "//h/", "h"] {
        assert_eq!(url(bad), Err(Code::BadUrl), "{bad}");
    }
}

#[test]
fn hosts_are_read_in_lower_case() {
    let exact = |text: &str| HostPattern::Exact(text.to_owned());
    assert_eq!(pattern::host("API.example.com"), Ok(exact("api.example.com")));
    assert_eq!(pattern::host("*.Example.com"), Ok(HostPattern::Below("example.com".to_owned())));
    assert_eq!(pattern::host("localhost"), Ok(exact("localhost")));
    assert_eq!(pattern::host("[::1]"), Ok(exact("[::1]")));
    assert_eq!(pattern::host("127.0.0.1"), Ok(exact("127.0.0.1")));
    for bad in ["*.*.com", "*.", "*", "a..b", "a b", "é.com", "a:80", "[::g]", "http://a"] {
        assert!(pattern::host(bad).is_err(), "{bad}");
    }
}

#[test]
fn the_full_sample_means_what_its_comments_say() {
    let config = good(FULL).0;
    assert_eq!(config.listen.len(), 2);
    assert!(
        matches!(config.admin.unwrap().token, Some(Secret::Env(name)) if name.contains("TOKEN"))
    );
    let http = config.http;
    let hosts: Vec<&HostPattern> = http.routes.iter().map(|route| &route.host).collect();
    assert_eq!(hosts[..5], [&HostPattern::Default; 5]);
    assert_eq!(hosts[6], &HostPattern::Below("example.com".to_owned()));
    let user = &http.routes[1];
    assert_eq!(
        user.timeouts,
        RouteTimeouts {
            body: Some(Duration::from_secs(60)),
            connect: Some(Duration::from_millis(500)),
            response: None,
            tunnel: Some(Duration::from_secs(600)),
        }
    );
    assert!(user.generic_errors && !http.routes[0].generic_errors);
    assert_eq!(user.body_bytes_max, Some(16 << 20));
    assert_eq!(http.routes[0].body_bytes_max, Some(1 << 30));
    assert_eq!(user.services[0].host_header, HostHeader::Client);
    assert_eq!(http.routes[0].services[1].merge, Merge::Ignore);
    let open = &user.breaker.as_ref().unwrap().on_open[0];
    assert_eq!(http.handlers[open.handler].kind, HandlerKind::Log(log::Level::Error));
    assert_eq!(open.options["severity"], "high");
    let limits = http.limits;
    assert_eq!((limits.header_bytes, limits.uri_bytes, limits.connections), (16384, 8192, None));
}

#[test]
fn an_admin_api_that_others_reach_needs_a_token() {
    let text = |admin: &str| {
        format!(
            r#"{{ "admin": {admin}, "http": {{ "routes": {{ "/": {{ "GET":
        {{ "services": {{ "s": {{ "url": "http://h" }} }} }} }} }} }} }}"#
        )
    };
    let code = |admin: &str| load(&text(admin)).err().map(|all| all[0].code);
    assert_eq!(code(r#"{ "listen": "0.0.0.0:9901" }"#), Some(Code::BadAddress));
    assert_eq!(code(r#"{ "listen": "[::]:9901" }"#), Some(Code::BadAddress));
    assert_eq!(code(r#"{ "listen": "[::1]:9901" }"#), None);
    assert_eq!(code(r#"{ "listen": "0.0.0.0:9901", "token": "secret" }"#), None);
    assert_eq!(code(r#"{ "listen": "0.0.0.0:8080", "token": "secret" }"#), Some(Code::BadAddress));
    assert_eq!(code("{}"), None);
    let shown = format!("{:?}", good(&text(r#"{ "token": "hunter2" }"#)).0);
    assert!(!shown.contains("hunter2"), "{shown}");
}

#[test]
fn addresses_of_which_the_system_binds_only_one_are_refused() {
    let refused = |listen: &str, admin: &str| {
        let text = format!(
            r#"{{ "listen": {listen}, {admin} "http": {{ "routes": {{ "/": {{ "GET":
        {{ "services": {{ "s": {{ "url": "http://h" }} }} }} }} }} }} }}"#
        );
        load(&text).err().map(|all| (all[0].code, all[0].pointer.clone()))
    };
    let at = |pointer: &str| Some((Code::BadAddress, pointer.to_owned()));
    for (listen, expected) in [
        (r#"["0.0.0.0:80", "127.0.0.1:80"]"#, at("/listen/1")),
        (r#"["127.0.0.1:80", "0.0.0.0:80"]"#, at("/listen/1")),
        (r#"["[::1]:80", "[::]:80"]"#, at("/listen/1")),
        (r#"["[::]:80", "127.0.0.1:80"]"#, at("/listen/1")),
        (r#"["0.0.0.0:80", "[::]:80"]"#, at("/listen/1")),
        (r#"["0.0.0.0:80", "[::1]:80"]"#, None),
        (r#"["0.0.0.0:80", "127.0.0.1:81"]"#, None),
        (r#"["127.0.0.1:80", "127.0.0.2:80"]"#, None),
        (r#"["0.0.0.0:0", "127.0.0.1:0", "0.0.0.0:0"]"#, None),
        (r#""0.0.0.0:9901""#, at("/listen")),
        (r#""127.0.0.1:9901""#, at("/listen")),
        (r#""[::1]:9901""#, None),
    ] {
        assert_eq!(refused(listen, ""), expected, "{listen}");
    }
    let admin = r#""admin": { "listen": "127.0.0.1:80" },"#;
    assert_eq!(refused(r#""0.0.0.0:80""#, admin), at("/admin/listen"));
    assert_eq!(refused(r#""[::]:80""#, admin), at("/admin/listen"));
    assert_eq!(refused(r#""127.0.0.2:80""#, admin), None);
    assert_eq!(refused(r#""0.0.0.0:9901""#, r#""admin": false,"#), None);
}

#[test]
fn complaints_serialise_for_the_admin_api() {
    let complaints = load("{ \"lisen\": 1, \"http\": { \"routes\": 1 } }").unwrap_err();
    let json = serde_json::to_value(&complaints[0]).unwrap();
    let expected = serde_json::json!({
        "code": "F001", "line": 1, "column": 3, "pointer": "/lisen",
        "message": "unknown key `lisen`", "remedy": "did you mean `listen`?"
    });
    assert_eq!(json, expected);
}

#[test]
fn bytes_that_are_no_text_are_refused_at_their_place() {
    let refused = |bytes: &[u8]| {
        let (text, loaded) = load_bytes(bytes.to_vec());
        let [complaint] = loaded.unwrap_err().try_into().expect("one complaint");
        assert!(
            render("x.json", &text, std::slice::from_ref(&complaint), Colour::Plain)
                .contains("x.json:")
        );
        (complaint.code, complaint.line, complaint.column, complaint.message)
    };
    let said = |line, column, byte: &str| {
        (Code::Syntax, line, column, format!("byte 0x{byte} is not UTF-8"))
    };
    assert_eq!(refused(b"{\n \"\xc3\xa9\": \"\xff\xfe\" }"), said(2, 8, "ff"));
    assert_eq!(refused(b"\xff\xfe{\0}\0"), said(1, 1, "ff"));
    assert_eq!(refused(b"{ \xe2\x82"), said(1, 3, "e2"));
    let large = "the document is larger than 16 MiB".to_owned();
    // A file is read up to the limit, which may be the middle of a character.
    let cut = ["é".repeat(TEXT_BYTES_MAX / 2).as_bytes(), b"\xc3"].concat();
    assert_eq!(refused(&cut), (Code::Syntax, 1, 1, large.clone()));
    let text = " ".repeat(TEXT_BYTES_MAX + 1);
    assert_eq!(load(&text).unwrap_err()[0].message, large);
    assert!(load_bytes(DEFAULT.into()).1.is_ok());
}

#[test]
fn what_the_process_cannot_follow_is_shown_in_the_text() {
    let text = "\u{feff}{\n  \"workers\": 2,\n  \"listen\": [\"a\", \"b\"]\n}";
    let found = |pointer: &str| (pointer.to_owned(), "no".to_owned(), "yes".to_owned());
    let all = [found("/listen/1"), found("/admin"), found("/workers")];
    let complaints = complaints_at(text, Code::FixedAtStart, &all);
    let places: Vec<_> = complaints.iter().map(|c| (c.line, c.column, &*c.pointer)).collect();
    assert_eq!(places, [(1, 1, "/admin"), (2, 14, "/workers"), (3, 19, "/listen/1")]);
}

#[test]
fn a_named_breaker_is_judged_as_its_users_fill_it() {
    let loaded = |named: &str, own: &str| {
        let text = format!(
            r#"{{ "http": {{ "circuitBreakers": {{ "n": {named} }}, "routes": {{ "/": {{ "GET": {{
            "circuitBreaker": {own}, "services": {{ "s": {{ "url": "http://h" }} }} }} }} }} }} }}"#
        );
        match load(&text) {
            Ok((_, advice)) => advice.iter().map(|c| (c.code, c.pointer.clone())).collect(),
            Err(all) => all.iter().map(|c| (c.code, c.pointer.clone())).collect::<Vec<_>>(),
        }
    };
    let named = |key: &str| format!("/http/circuitBreakers/n{key}");
    let own = |key: &str| format!("/http/routes/~1/GET/circuitBreaker{key}");
    let conflict = |pointer: String| vec![(Code::Conflict, pointer)];
    let uses = r#"{ "use": "n" }"#;
    // What it lacks its user may add.
    assert_eq!(loaded(r#"{ "duration": "3s" }"#, r#"{ "use": "n", "maxErrors": 3 }"#), []);
    let adds = r#"{ "use": "n", "timeWindow": "3s" }"#;
    assert_eq!(loaded(r#"{ "maxFailures": 3 }"#, adds), []);
    assert_eq!(loaded(r#"{ "window": "fixed" }"#, adds), []);
    let fixed = r#"{ "use": "n", "window": "fixed" }"#;
    assert_eq!(loaded(r#"{ "window": "cumulative", "timeWindow": "1s" }"#, fixed), []);
    // What it still lacks is its user's fault, but for advice.
    assert_eq!(loaded(r#"{ "duration": "3s" }"#, uses), conflict(own("/use")));
    assert_eq!(loaded(r#"{ "window": "fixed" }"#, uses), conflict(own("/use")));
    let advice = vec![(Code::NoWindow, named(""))];
    assert_eq!(loaded(r#"{ "maxFailures": 3 }"#, uses), advice);
    // What it says twice is its own.
    let twice = r#"{ "maxErrors": 3, "duration": "3s", "maxFailures": 3 }"#;
    assert_eq!(loaded(twice, uses), conflict(named("/maxFailures")));
    // Nobody uses it.
    assert_eq!(loaded(r#"{ "duration": "3s" }"#, r#""none""#), []);
}
