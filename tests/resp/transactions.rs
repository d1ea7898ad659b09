//! `MULTI` as in Redis, and `TXINIT` over several connections.

use crate::{House, support::resp::Wrote};

#[test]
fn multi_queues_and_exec_carries_out_whatever_goes_wrong_with_one() {
    let house = House::new();
    let mut client = house.sidecar.connect();
    assert_eq!(client.say("set s x").text(), "OK");
    client.send(b"multi\r\nset a 1\r\nhget s f\r\nset a b c\r\nping\r\nget a\r\nexec\r\n");
    let answers: Vec<String> = (0..6).map(|_| client.read().text()).collect();
    assert_eq!(answers, ["OK", "QUEUED", "QUEUED", "QUEUED", "QUEUED", "QUEUED"]);
    let parts: Vec<String> = client.read().parts().iter().map(Wrote::text).collect();
    let wrong_type = "WRONGTYPE Operation against a key holding the wrong kind of value";
    assert_eq!(parts, ["OK", wrong_type, "ERR syntax error", "PONG", "1"]);
}

#[test]
fn a_command_that_can_not_be_queued_aborts_the_transaction() {
    let house = House::new();
    let mut client = house.sidecar.connect();
    for (line, answer) in [
        ("get", "ERR wrong number of arguments for 'get' command"),
        ("bput x", "ERR Command not allowed inside a transaction"),
        ("nonsense", "ERR unknown command 'nonsense', with args beginning with: "),
    ] {
        assert_eq!(client.say("multi").text(), "OK");
        assert_eq!(client.say("set a 1").text(), "QUEUED");
        assert_eq!(client.say(line).text(), answer);
        assert_eq!(client.say("exec").text(), "EXECABORT Transaction discarded because of previous errors.");
    }
    assert_eq!(client.say("get a"), Wrote::Bytes('$', None));
    assert_eq!(client.say("exec").text(), "ERR EXEC without MULTI");
    assert_eq!(client.say("discard").text(), "ERR DISCARD without MULTI");
    assert!(client.say("watch a").text().starts_with("ERR WATCH is refused"));
    assert_eq!(client.say("multi").text(), "OK");
    assert_eq!(client.say("multi").text(), "ERR MULTI calls can not be nested");
    assert_eq!(client.say("watch a").text(), "ERR WATCH inside MULTI is not allowed");
    assert_eq!(client.say("exec"), Wrote::Many('*', Vec::new()));
}

#[test]
fn a_transaction_reads_its_own_writes_and_a_second_connection_may_join_it() {
    let house = House::new();
    let (mut one, mut two, mut other) = (house.sidecar.connect(), house.sidecar.connect(), house.sidecar.connect());
    let id = one.say("txinit").text();
    assert_eq!(two.say(&format!("txinit {id}")).text(), id);
    assert_eq!(one.say("set a 1").text(), "OK");
    assert_eq!(two.say("get a").text(), "1");
    assert_eq!(two.say("hset h f v").text(), "1");
    assert_eq!(other.say("get a"), Wrote::Bytes('$', None));
    assert_eq!(one.say("txcommit").text(), "OK");
    assert_eq!(other.say("get a").text(), "1");
    assert_eq!(other.say("hget h f").text(), "v");
    assert!(two.say("get a").is_error(), "the transaction has ended");
}

#[test]
fn a_lost_connection_leaves_nothing_of_its_transaction() {
    let house = House::new();
    let mut other = house.sidecar.connect();
    let id = {
        let mut client = house.sidecar.connect();
        let id = client.say("txinit").text();
        assert_eq!(client.say("set a 1").text(), "OK");
        id
    };
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    // The id is free again, and what it held is gone: a transaction of that name begins with nothing.
    loop {
        assert_eq!(other.say(&format!("txinit {id}")).text(), id);
        let value = other.say("get a");
        assert_eq!(other.say("txdiscard").text(), "OK");
        if value == Wrote::Bytes('$', None) {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "the transaction of the lost connection is still open");
    }
    assert_eq!(other.say("get a"), Wrote::Bytes('$', None));
}

#[test]
fn transactions_discard_and_survive_a_kill_whole_or_not_at_all() {
    let mut house = House::new();
    let mut client = house.sidecar.connect();
    client.say("txinit");
    client.say("set lost 1");
    assert_eq!(client.say("txdiscard").text(), "OK");
    client.say("txinit");
    client.say("set kept 1");
    client.say("sadd kept-set 1 2 3");
    assert_eq!(client.say("txcommit").text(), "OK");
    client.say("txinit");
    client.say("set half 1");
    house.server.kill();
    house.server.start();
    let sidecar = crate::Sidecar::of(house.server.url());
    let mut client = sidecar.connect();
    assert_eq!(
        client.say("mget lost kept half").parts(),
        [Wrote::Bytes('$', None), Wrote::Bytes('$', Some(b"1".to_vec())), Wrote::Bytes('$', None)]
    );
    assert_eq!(client.say("scard kept-set").text(), "3");
}
