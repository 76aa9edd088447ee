//! Which route a request finds, rule by rule.

use super::*;

#[test]
fn a_literal_goes_before_a_param_before_the_rest_whatever_the_order() {
    let mut routes = ["GET /u/(.*)", "GET /u/:id", "GET /u/me", "GET /u/:id/x", "GET /u/me/:y"];
    for _ in 0..2 {
        let table = routed(&routes, TrailingSlash::Ignore);
        let rows = [
            ("GET /u/me", "GET /u/me"),
            ("GET /u/7", "GET /u/:id [7]"),
            ("GET /u/7/x", "GET /u/:id/x [7]"),
            ("GET /u/me/x", "GET /u/me/:y [x]"),
            ("GET /u/me/x/y", "GET /u/(.*) [me/x/y]"),
            ("GET /u/7/y", "GET /u/(.*) [7/y]"),
            ("GET /u", "GET /u/(.*) []"),
            ("GET /v", "404"),
            ("GET /", "404"),
            ("GET *", "404"),
            ("GET ", "404"),
        ];
        finds(&table, &rows);
        routes.reverse();
    }
}

#[test]
fn going_back_gives_up_what_a_dead_branch_captured() {
    let table = routed(
        &["GET /:a/b/c/d", "GET /x/:b/c/e", "GET /x/b/:c/f", "GET /:a/:b/*tail"],
        TrailingSlash::Ignore,
    );
    let rows = [
        ("GET /x/b/c/d", "GET /:a/b/c/d [x]"),
        ("GET /x/b/c/e", "GET /x/:b/c/e [b]"),
        ("GET /x/b/c/f", "GET /x/b/:c/f [c]"),
        ("GET /x/b/c/g", "GET /:a/:b/*tail [x] [b] [c/g]"),
        ("GET /x/b", "GET /:a/:b/*tail [x] [b] []"),
        ("GET /x", "404"),
    ];
    finds(&table, &rows);
}

#[test]
fn the_wildcard_takes_slashes_and_bytes_as_they_came() {
    let table = routed(&["GET /users/:id/a/(.*)"], TrailingSlash::Ignore);
    let rows = [
        ("GET /users/100/a/boom/shanker", "GET /users/:id/a/(.*) [100] [boom/shanker]"),
        ("GET /users/a%20b/a//x/", "GET /users/:id/a/(.*) [a%20b] [/x/]"),
        ("GET /users/100/a/", "GET /users/:id/a/(.*) [100] []"),
        ("GET /users//a/x", "404"),
    ];
    finds(&table, &rows);
}

#[test]
fn a_trailing_slash_is_ignored_or_counts() {
    let paths = ["GET /users", "GET /a/(.*)", "GET /"];
    let rows = [("GET /users", "GET /users"), ("GET /a", "GET /a/(.*) []"), ("GET /", "GET /")];
    for trailing_slash in [TrailingSlash::Ignore, TrailingSlash::Strict] {
        let table = routed(&paths, trailing_slash);
        finds(&table, &rows);
        finds(&table, &[("GET /a/", "GET /a/(.*) []"), ("GET /a/b/", "GET /a/(.*) [b/]")]);
        finds(&table, &[("GET //", "404"), ("GET /users//", "404")]);
    }
    finds(&routed(&paths, TrailingSlash::Ignore), &[("GET /users/", "GET /users")]);
    finds(&routed(&paths, TrailingSlash::Strict), &[("GET /users/", "404")]);

    let both = ["GET /users/", "POST /users"];
    let table = routed(&both, TrailingSlash::Ignore);
    finds(&table, &[("GET /users", "GET /users/"), ("POST /users/", "POST /users")]);
    let table = routed(&both, TrailingSlash::Strict);
    finds(&table, &[("GET /users", "405 allow: POST"), ("GET /users/", "GET /users/")]);
}

#[test]
fn a_method_of_its_own_goes_before_all_and_head_follows_get() {
    let table = routed(
        &["ALL /a", "GET /a", "GET /b", "PURGE /b", "HEAD /c", "GET /c", "POST /d", "ALL /e"],
        TrailingSlash::Ignore,
    );
    let rows = [
        ("GET /a", "GET /a"),
        ("HEAD /a", "GET /a"),
        ("BREW /a", "ALL /a"),
        ("HEAD /b", "GET /b"),
        ("PURGE /b", "PURGE /b"),
        ("purge /b", "405 allow: GET, HEAD, PURGE"),
        ("OPTIONS /b", "405 allow: GET, HEAD, PURGE"),
        ("HEAD /c", "HEAD /c"),
        ("HEAD /d", "405 allow: POST"),
        ("HEAD /e", "ALL /e"),
        ("ALL /b", "405 allow: GET, HEAD, PURGE"),
    ];
    finds(&table, &rows);
}

#[test]
fn the_most_specific_path_decides_though_another_has_the_method() {
    let table = routed(&["GET /users/me", "ALL /users/:id"], TrailingSlash::Ignore);
    let rows = [
        ("PUT /users/me", "405 allow: GET, HEAD"),
        ("PUT /users/7", "ALL /users/:id [7]"),
        ("TRACE /users/7", "405 allow: DELETE, GET, HEAD, OPTIONS, PATCH, POST, PUT"),
    ];
    finds(&table, &rows);
}

#[test]
fn a_host_with_routes_never_falls_to_the_default() {
    let table = routed(
        &[
            "GET /",
            "api.example.com GET /api",
            "*.example.com GET /below",
            "*.eu.example.com GET /eu",
        ],
        TrailingSlash::Ignore,
    );
    let rows = [
        ("GET /", "GET /"),
        ("api.example.com GET /api", "api.example.com GET /api"),
        ("api.example.com. GET /api", "api.example.com GET /api"),
        ("api.example.com GET /", "404"),
        ("api.example.com GET /below", "404"),
        ("x.example.com GET /below", "*.example.com GET /below"),
        ("x.y.example.com GET /below", "*.example.com GET /below"),
        ("x.eu.example.com GET /eu", "*.eu.example.com GET /eu"),
        ("x.eu.example.com GET /below", "404"),
        ("eu.example.com GET /below", "*.example.com GET /below"),
        ("example.com GET /", "GET /"),
        ("notexample.com GET /", "GET /"),
    ];
    finds(&table, &rows);
    let long = format!("{}x.example.com GET /", "a.".repeat(5000));
    assert_eq!(found(&table, &long), "GET /", "no host name is that long");
}

#[test]
fn a_path_that_16_bits_cannot_span_is_not_found() {
    let table = routed(&["GET /(.*)"], TrailingSlash::Ignore);
    assert_eq!(found(&table, &format!("GET /{}", "a".repeat(65_535))), "404");
    assert!(found(&table, &format!("GET /{}", "/".repeat(65_534))).starts_with("GET /(.*) [/"));
}

/// Going back costs nothing more than the tree's own size: a tree that offers two ways at each of
/// 16 levels, and a path that fits at no end.
#[test]
fn the_worst_tree_is_walked_once() {
    let mut routes = Vec::new();
    for ways in 0..1 << 12 {
        let way =
            |level| if ways >> level & 1 == 0 { "/a".to_owned() } else { format!("/:p{level}") };
        routes.push(format!("GET {}/end", (0..12).map(way).collect::<String>()));
    }
    let routes: Vec<&str> = routes.iter().map(String::as_str).collect();
    let table = routed(&routes, TrailingSlash::Ignore);
    finds(&table, &[(&format!("GET {}/x", "/a".repeat(12)), "404")]);
    let last = format!("GET {}/end", "/b".repeat(12));
    assert!(found(&table, &last).starts_with("GET /:p0/:p1"));
}
