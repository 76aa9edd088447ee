//! What a compile makes of a configuration, and what it keeps of the table before.

use super::*;

#[test]
fn breakers_and_counters_live_on_under_their_routes_names() {
    let registry = Registry::new(2);
    let mut tallies = Tallies::default();
    let mut users = route("api.example.com ALL /users");
    users.breaker = Some(look_back(3, Duration::from_secs(10)));
    let mut orders = route("POST /orders");
    orders.breaker = Some(reset(10, Window::Cumulative));
    let mut again = |generation, routes: Vec<cfg::Route>| {
        let mut draft = Draft::default();
        let kept = Kept { breakers: &registry, draft: &mut draft, tallies: &mut tallies };
        let table = compile(&config(routes), generation, kept, |_, _| Vec::new());
        registry.commit(draft);
        table
    };
    let first = again(1, [users.clone(), route("GET /free"), orders.clone()].into());
    let second = again(2, [orders, users].into());
    assert_eq!((first.generation, second.generation), (1, 2));
    let names: Vec<_> = first.breakers.iter().map(|breaker| &*breaker.name).collect();
    assert_eq!(names, ["api.example.com ALL /users", "POST /orders"]);
    for breaker in &first.breakers {
        let route = first.routes.iter().find(|route| route.name == breaker.name).unwrap();
        assert_eq!(first.breakers[route.breaker.unwrap().at()].name, route.name);
        let later = second.routes.iter().find(|later| later.name == route.name).unwrap();
        assert!(Arc::ptr_eq(&route.tally, &later.tally), "{}", route.name);
    }
    assert!(first.routes[1].breaker.is_none());

    // The memory is shared: what one generation's breaker learns, the other's knows.
    let core = crate::breaker::Core::claim(1);
    let now = crate::clock::Now::from_millis(5000);
    let (verdict, _) = first.breakers[1].breaker.admit(&core, now);
    let crate::breaker::Verdict::Admit(ticket) = verdict else { panic!("refused") };
    assert!(ticket.settle(crate::breaker::outcome::Ending::Answered(500), now).is_none());
    assert_eq!(second.breakers[0].breaker.totals().failure, 1);
    assert!(text(&first.breakers[0].refusal).ends_with("\r\n\r\nBusy."));
    assert!(text(&second.breakers[0].refusal).ends_with("\r\n\r\nService unavailable"));
    assert!(text(&first.breakers[0].timeout_answer).starts_with("HTTP/1.1 504 "));
}

#[test]
fn services_are_neighbours_and_targets_are_shared() {
    let mut one = route("GET /one");
    one.services = vec![service("a", "localhost", 9000), service("b", "::1", 9000)];
    one.services[1].urls[0].pieces =
        vec![cfg::Piece::Literal("/b/".to_owned()), cfg::Piece::Capture(0)];
    let mut two = route("GET /two");
    two.services = vec![service("c", "localhost", 9001), service("d", "localhost", 9000)];
    let asked = Cell::new(0);
    let kept = Kept {
        breakers: &Registry::new(1),
        draft: &mut Draft::default(),
        tallies: &mut Tallies::default(),
    };
    let table = compile(&config([one, two].into()), 1, kept, |host, port| {
        asked.set(asked.get() + 1);
        if port == 9001 { Vec::new() } else { vec![address(host, port)] }
    });
    assert_eq!(asked.get(), 3);
    let names: Vec<_> = table.targets.iter().map(|target| &*target.name).collect();
    assert_eq!(names, ["localhost:9000", "[::1]:9000", "localhost:9001"]);
    assert_eq!(*table.targets[1].addresses, [address("::1", 9000)]);
    assert!(table.targets[2].addresses.is_empty());
    let span = table.routes[1].services;
    assert_eq!((span.first.at(), span.len), (2, 2));
    let targets: Vec<_> = table.endpoints.iter().map(|endpoint| endpoint.target.at()).collect();
    assert_eq!(targets, [0, 1, 2, 0]);
    assert_eq!(table.endpoints[1].literal_bytes, 3);
    assert_eq!(*table.endpoints[1].pieces, [Piece::Literal((*b"/b/").into()), Piece::Capture(0)]);
}

fn address(host: &str, port: u16) -> SocketAddr {
    let ip = if host == "localhost" { "127.0.0.1" } else { host };
    (ip.parse::<std::net::IpAddr>().unwrap(), port).into()
}

#[test]
fn every_answer_of_our_own_has_its_status_and_a_short_text() {
    let table = sample::table(7, [route("GET /"), route("PUT /x")].into());
    let answers = &table.answers;
    assert!(text(&answers.internal).ends_with("\r\n\r\nInternal Server Error."));
    assert!(text(&answers.bad_gateway).ends_with("\r\n\r\nBad gateway"));
    assert!(text(&answers.not_found).ends_with("\r\n\r\nNot found"));
    let statuses = [&answers.bad_request, &answers.gateway_timeout, &answers.no_room];
    assert_eq!(statuses.map(Rendered::status), [400, 504, 503]);
    assert_eq!(answers.method_not_allowed.len(), 2);
    assert_eq!((table.generation, table.paths), (7, PathRules::Normal));
}
