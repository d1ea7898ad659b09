//! A stranger with `grpcurl` can look in: reflection lists the services, health says SERVING.

mod support;

use std::{path::PathBuf, process::Command};

use support::{
    place::scratch,
    processes::{Run, Server},
    tree::write,
};

/// The program that `make test` installs, named by `DATADB_GRPCURL`. Outside of CI the test is skipped without it.
fn grpcurl() -> Option<PathBuf> {
    let path = std::env::var_os("DATADB_GRPCURL").map(PathBuf::from).filter(|path| path.exists());
    assert!(path.is_some() || std::env::var_os("CI").is_none(), "DATADB_GRPCURL names no program: run `make test`");
    if path.is_none() {
        println!("skipped: DATADB_GRPCURL names no program (`make test` installs it)");
    }
    path
}

fn ask(grpcurl: &PathBuf, server: &Server, options: &[&str], words: &[&str]) -> Run {
    let address = server.url().trim_start_matches("http://");
    let output = Command::new(grpcurl).arg("-plaintext").args(options).arg(address).args(words).output();
    Run::from(output.expect("grpcurl runs"))
}

/// `grpcurl list`, `describe`, and calls without any `.proto` file at hand.
#[test]
fn grpcurl_finds_its_way_by_reflection() {
    let Some(grpcurl) = grpcurl() else { return };
    let (server, scratch) = (Server::new(), scratch());
    write(scratch.path().join("tree/file"), "x");
    server.client().on_host("alpha").backup(&scratch.path().join("tree"));
    let services = ask(&grpcurl, &server, &[], &["list"]).ok().text();
    for service in [
        "datadb.v1.Repository",
        "datadb.v1.Upload",
        "datadb.v1.Browse",
        "datadb.v1.Database",
        "datadb.v1.Monitor",
        "datadb.v1.Schedules",
        "grpc.health.v1.Health",
    ] {
        assert!(services.lines().any(|line| line == service), "{service} is not in\n{services}");
    }
    let described = ask(&grpcurl, &server, &[], &["describe", "datadb.v1.Browse"]).ok().text();
    assert!(described.contains("ListBackups"), "{described}");
    let stats = ask(&grpcurl, &server, &["-d", "{}"], &["datadb.v1.Repository/Stats"]).ok().text();
    assert!(stats.contains("\"backups\": \"1\""), "{stats}");
    let listed = ask(&grpcurl, &server, &["-d", "{}"], &["datadb.v1.Browse/ListBackups"]).ok().text();
    assert!(listed.contains("\"host\": \"alpha\""), "{listed}");
}

/// Health is what a supervisor asks: SERVING for the whole server.
#[test]
fn grpcurl_sees_a_healthy_server() {
    let Some(grpcurl) = grpcurl() else { return };
    let server = Server::new();
    let health = ask(&grpcurl, &server, &[], &["grpc.health.v1.Health/Check"]).ok().text();
    assert!(health.contains("SERVING") && !health.contains("NOT_SERVING"), "{health}");
}

/// The database shows words, not base64: its values travel as text where they are text.
#[test]
fn grpcurl_reads_keys_of_the_database() {
    let Some(grpcurl) = grpcurl() else { return };
    let (server, scratch) = (Server::new(), scratch());
    write(scratch.path().join("tree/file"), "x");
    server.client().on_host("alpha").backup(&scratch.path().join("tree"));
    let execute = |command: &str| ask(&grpcurl, &server, &["-d", command], &["datadb.v1.Database/Execute"]).ok().text();
    let listed = execute(r#"{"smembers":{"key":"snapshots"}}"#);
    let member = listed.lines().find_map(|line| line.trim().strip_prefix("\"text\": \"")).expect("a member as text");
    let member = member.trim_end_matches('"');
    assert!(member.len() == 40 && member.bytes().all(|byte| byte.is_ascii_hexdigit()), "{listed}");
    let newest = execute(&format!(r#"{{"llast":{{"key":"{member}"}}}}"#));
    assert!(newest.contains("backup:"), "{newest}");
    let set = execute(r#"{"hset":{"key":"h","pairs":[{"field":{"text":"a"},"value":{"text":"one"}}]}}"#);
    assert!(set.contains("\"integer\": \"1\""), "{set}");
    let refused = execute(r#"{"hset":{"key":"snapshots","pairs":[{"field":{"text":"a"}}]}}"#);
    assert!(refused.contains("\"ERR\""), "{refused}");
}
