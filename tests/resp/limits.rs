//! What a stranger may do to the sidecar: nothing that others notice.

use std::{io::Write as _, net::TcpStream, process::Command};

use crate::{
    House,
    support::{
        processes::Server,
        resp::{Resp, Sidecar, encoded},
    },
};

#[test]
fn a_frame_of_two_gigabytes_is_refused_and_not_allocated() {
    let house = House::new();
    for (claim, answer) in [
        (&b"*1\r\n$2147483647\r\n"[..], "ERR Protocol error: invalid bulk length"),
        (b"*2147483647\r\n", "ERR Protocol error: invalid multibulk length"),
        (b"*1\r\n*1\r\n", "ERR Protocol error: expected '$', got '*'"),
    ] {
        let mut client = house.sidecar.connect();
        client.send(claim);
        assert_eq!(client.read().text(), answer);
        assert!(client.is_closed());
    }
    assert!(house.sidecar.memory_peak_bytes() < 64 << 20, "{}", house.sidecar.memory_peak_bytes());
}

#[test]
fn a_value_that_is_too_large_is_refused_in_words_and_the_connection_goes_on() {
    let house = House::new();
    let mut client = house.sidecar.connect();
    let answer = client.ask(&[b"set".to_vec(), b"k".to_vec(), vec![b'x'; 1 << 20]]).text();
    assert!(answer.starts_with("ERR a value has at most 524288 bytes"), "{answer}");
    let id = client.ask(&[b"bput".to_vec(), vec![b'x'; 1 << 20]]).text();
    assert_eq!(client.ask(&["blen", &id]).text(), "1048576");
}

#[test]
fn two_thousand_connections_are_served_side_by_side() {
    let house = House::new();
    let mut clients: Vec<Resp<TcpStream>> = (0..2000).map(|_| house.sidecar.connect()).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        client.command(&["set", &format!("k{number}"), &number.to_string()]);
    }
    for client in &mut clients {
        assert_eq!(client.read().text(), "OK");
    }
    assert_eq!(clients[7].say("get k1999").text(), "1999");
    assert_eq!(clients[8].say("dbsize").text(), "2000");
    assert!(house.sidecar.memory_peak_bytes() < 256 << 20, "{}", house.sidecar.memory_peak_bytes());
}

#[test]
fn one_client_too_many_is_told_so() {
    let server = Server::new();
    let sidecar = Sidecar::with_options(server.url(), &["--clients-max", "2"]);
    let (mut one, mut two) = (sidecar.connect(), sidecar.connect());
    assert_eq!((one.say("ping").text(), two.say("ping").text()), ("PONG".to_owned(), "PONG".to_owned()));
    let mut three = sidecar.connect();
    assert_eq!(three.read().text(), "ERR max number of clients reached");
    assert!(three.is_closed());
}

/// Clients that ask for much and read nothing hold up neither others nor the server.
#[test]
fn clients_that_never_read_do_not_hold_up_others() {
    let house = House::new();
    let mut client = house.sidecar.connect();
    assert_eq!(client.ask(&[b"set".to_vec(), b"large".to_vec(), vec![b'x'; 500_000]]).text(), "OK");
    let mut deaf = Vec::new();
    for _ in 0..20 {
        let mut one = TcpStream::connect(("127.0.0.1", house.sidecar.port().parse().unwrap())).unwrap();
        one.write_all(&encoded(&["get", "large"]).repeat(50)).unwrap();
        deaf.push(one);
    }
    for number in 0..200 {
        assert_eq!(client.say(&format!("set k {number}")).text(), "OK");
    }
    assert!(house.sidecar.memory_peak_bytes() < 256 << 20, "{}", house.sidecar.memory_peak_bytes());
    assert!(house.server.memory_peak_bytes() < 512 << 20, "{}", house.server.memory_peak_bytes());
}

#[test]
fn a_long_pipeline_is_answered_in_order() {
    let house = House::new();
    let mut client = house.sidecar.connect();
    let requests: Vec<u8> = (0..5000)
        .flat_map(|number| {
            encoded(&["echo", &number.to_string()]).into_iter().chain(encoded(&["hset", "h", &number.to_string(), "v"]))
        })
        .collect();
    let mut writer = TcpStream::connect(("127.0.0.1", house.sidecar.port().parse().unwrap())).unwrap();
    writer.write_all(b"ping\r\n").unwrap();
    client.send(&requests);
    for number in 0..5000 {
        assert_eq!(client.read().text(), number.to_string());
        assert_eq!(client.read().text(), "1");
    }
    assert_eq!(client.say("hlen h").text(), "5000");
}

/// What a page in a browser can send: the head of HTTP, and then commands as its body.
#[test]
fn what_begins_like_http_is_hung_up_on_and_writes_nothing() {
    let house = House::new();
    let mut client = house.sidecar.connect();
    let url = format!("http://127.0.0.1:{}/", house.sidecar.port());
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--noproxy", "*", "--max-time", "30", "--data", "SET pwned 1\r\nSET pwned 2\r\n", &url]);
    let curl = curl.output().expect("curl runs");
    assert!(!curl.status.success() && curl.stdout.is_empty(), "{curl:?}");
    for head in [
        "POST / HTTP/1.1\r\n\r\n",
        "post /\r\n",
        "Host: 127.0.0.1:9736\r\n",
        "hOSt:x\r\n",
        "GET / HTTP/1.1\r\n",
        "\r\nOPTIONS /set HTTP/1.1\r\n",
    ] {
        let mut stranger = house.sidecar.connect();
        stranger.send(format!("{head}SET pwned 3\r\n").as_bytes());
        assert!(stranger.is_closed(), "{head:?}");
    }
    assert_eq!(client.say("exists pwned").text(), "0");
    assert_eq!(client.say("dbsize").text(), "0");
}

#[test]
fn a_person_may_ask_for_keys_that_look_like_paths() {
    let house = House::new();
    let mut client = house.sidecar.connect();
    client.send(b"set / root\r\nSET /foo HTTP/1.1\r\nGET /\r\nget /foo\r\n");
    let answers = [client.read().text(), client.read().text(), client.read().text(), client.read().text()];
    assert_eq!(answers, ["OK", "OK", "root", "HTTP/1.1"]);
}
