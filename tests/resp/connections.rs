//! What concerns a connection: who it is, what it speaks, how it ends.

use crate::{
    House,
    support::{
        processes::Server,
        resp::{Sidecar, Wrote},
    },
};

#[test]
fn hello_chooses_the_protocol_and_says_who_answers() {
    let house = House::new();
    let mut client = house.sidecar.connect();
    assert_eq!(client.say("hset h a 1"), Wrote::Line(":1".into()));
    assert!(matches!(client.say("hgetall h"), Wrote::Many('*', _)));
    let Wrote::Many('%', hello) = client.say("HELLO 3 AUTH default any SETNAME me") else { panic!("no map") };
    assert_eq!((hello[0].text(), hello[1].text()), ("server".to_owned(), "datadb".to_owned()));
    assert!(matches!(client.say("hgetall h"), Wrote::Many('%', _)));
    assert!(matches!(client.say("smembers h2"), Wrote::Many('~', _)));
    assert_eq!(client.say("get none"), Wrote::Line("_".into()));
    assert!(matches!(client.say("info"), Wrote::Bytes('=', _)));
    assert_eq!(client.say("client getname").text(), "me");
    assert!(matches!(client.say("hello 2"), Wrote::Many('*', _)));
    assert_eq!(client.say("get none"), Wrote::Bytes('$', None));
    for (line, answer) in [
        ("hello 4", "NOPROTO unsupported protocol version"),
        ("hello x", "ERR Protocol version is not an integer or out of range"),
        ("hello 3 nonsense", "ERR Syntax error in HELLO option 'nonsense'"),
        ("hello 3 auth other x", "WRONGPASS invalid username-password pair or user is disabled."),
    ] {
        assert_eq!(client.say(line).text(), answer);
        assert_eq!(client.say("get none"), Wrote::Bytes('$', None), "{line} changed the protocol");
    }
}

#[test]
fn info_tells_one_section_or_all() {
    let house = House::new();
    let mut client = house.sidecar.connect();
    assert_eq!(client.say("info clients").text(), "# Clients\r\nconnected_clients:1\r\n");
    let all = client.say("info").text();
    assert!(all.contains("# Server\r\n") && all.contains("# Keyspace\r\n") && all.contains("# Clients\r\n"), "{all}");
}

#[test]
fn a_protocol_chosen_in_the_middle_of_a_pipeline_counts_from_there() {
    let house = House::new();
    let mut client = house.sidecar.connect();
    client.send(b"get none\r\nhello 3\r\nget none\r\nreset\r\nget none\r\n");
    assert_eq!(client.read(), Wrote::Bytes('$', None));
    assert!(matches!(client.read(), Wrote::Many('%', _)));
    assert_eq!(client.read(), Wrote::Line("_".into()));
    assert_eq!(client.read().text(), "RESET");
    assert_eq!(client.read(), Wrote::Bytes('$', None));
}

#[test]
fn a_client_is_listed_under_its_name_until_it_leaves() {
    let house = House::new();
    let (mut one, mut two) = (house.sidecar.connect(), house.sidecar.connect());
    assert_eq!(one.say("client setname one").text(), "OK");
    assert_eq!(one.say("client setinfo lib-name tests").text(), "OK");
    assert_eq!(one.say("select notes").text(), "OK");
    let id = one.say("client id").text();
    let list = two.say("client list").text();
    let line = list.lines().find(|line| line.starts_with(&format!("id={id} "))).expect("a line for the first client");
    assert!(line.contains(" name=one ") && line.contains(" db=notes ") && line.contains(" lib-name=tests "), "{line}");
    assert_eq!(one.say("quit").text(), "OK");
    assert!(one.is_closed());
    assert!(!two.say("client list").text().contains("name=one"));
}

#[test]
fn databases_lie_side_by_side_and_number_0_is_the_default() {
    let house = House::new();
    let mut client = house.sidecar.connect();
    client.send(b"select 1\r\nset k one\r\nselect 0\r\nset k zero\r\nselect 1\r\nget k\r\nselect default\r\nget k\r\ndbsize\r\n");
    let answers: Vec<String> = (0..9).map(|_| client.read().text()).collect();
    assert_eq!(answers, ["OK", "OK", "OK", "OK", "OK", "one", "OK", "zero", "1"]);
}

#[test]
fn auth_answers_as_a_redis_without_a_password_does() {
    let house = House::new();
    let mut client = house.sidecar.connect();
    assert!(client.say("auth x").text().starts_with("ERR AUTH <password> called without any password configured"));
    assert_eq!(client.say("auth default x").text(), "OK");
    assert!(client.say("auth other x").text().starts_with("WRONGPASS "));
}

#[test]
fn shutdown_is_off_unless_it_is_allowed() {
    let server = Server::new();
    let sidecar = Sidecar::of(server.url());
    assert!(sidecar.connect().say("shutdown").text().contains("--allow-shutdown"));
    let mut sidecar = Sidecar::with_options(server.url(), &["--allow-shutdown"]);
    let mut client = sidecar.connect();
    client.command(&["shutdown"]);
    assert!(client.is_closed());
    assert!(sidecar.ends_well());
}

#[test]
fn sigterm_answers_what_was_asked_and_ends_cleanly() {
    let mut house = House::new();
    let mut client = house.sidecar.connect();
    assert_eq!(client.say("set k v").text(), "OK");
    house.sidecar.terminate();
    assert!(client.is_closed());
    assert!(house.sidecar.ends_well());
}

#[test]
fn a_server_that_goes_away_and_comes_back_is_used_again() {
    let mut server = Server::new();
    let url = server.url().to_owned();
    let sidecar = Sidecar::of(&url);
    let mut client = sidecar.connect();
    assert_eq!(client.say("set k v").text(), "OK");
    server.kill();
    let answer = client.say("get k").text();
    assert!(answer.starts_with("ERR "), "{answer}");
    let address = url.trim_start_matches("http://").to_owned();
    let again = Server::with_options(server.data(), &["--listen", &address]);
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    while client.say("get k").text() != "v" {
        assert!(std::time::Instant::now() < deadline, "the sidecar does not find the server again");
    }
    drop(again);
}

#[test]
fn a_sidecar_without_a_server_says_so_in_every_answer() {
    let sidecar = Sidecar::of("http://127.0.0.1:9");
    let mut client = sidecar.connect();
    assert_eq!(client.say("ping").text(), "PONG");
    let answer = client.say("get k").text();
    assert!(answer.contains("no server answers at http://127.0.0.1:9"), "{answer}");
}

#[test]
fn monitor_shows_the_commands_of_others_and_where_they_come_from() {
    let house = House::new();
    let (mut watcher, mut other) = (house.sidecar.connect(), house.sidecar.connect());
    assert_eq!(watcher.say("monitor").text(), "OK");
    let address = other.address().to_string();
    other.ask(&[&b"hset"[..], b"h", b"a \"quoted\" field", b"\xff\r\n"]);
    let line = watcher.read().text();
    let (_, shown) = line.split_once(" [").expect("a time before the database");
    assert_eq!(shown, format!("0 {address}] \"hset\" \"h\" \"a \\\"quoted\\\" field\" \"\\xff\\r\\n\""));
    other.ask(&[&b"bput"[..], &[b'x'; 1000]]);
    assert!(watcher.read().text().ends_with("\"bput\" \"1000\""));
    assert_eq!(watcher.say("reset").text(), "RESET");
    assert_eq!(watcher.say("hlen h").text(), "1");
}
