//! `cat BACKUP:PATH`

use expect_test::expect;

use crate::scene::Scene;

fn story() -> Scene {
    let scene = Scene::new();
    scene.backup("2014-05-12T10:00:00Z");
    scene
}

#[test]
fn the_help_tells_of_parts() {
    Scene::without_server().shows("cat --help", expect![[r#"
        Write a file of a backup to stdout

        Usage: datadb-client cat [OPTIONS] <BACKUP:PATH>

        Arguments:
          <BACKUP:PATH>  Which backup, and which file in it: BACKUP:PATH

        Options:
              --offset <SIZE>  Begin behind so many bytes; k, M, G and T are powers of 1024
              --bytes <SIZE>   Write no more than so many bytes
              --tail <SIZE>    Write the last so many bytes alone
              --host <HOST>    Only backups of this host
              --path <PATH>    Only backups of this path
          -h, --help           Print help

        Global options:
              --server <URL>           The server: http://HOST:PORT or unix:PATH [default: http://127.0.0.1:9735] [env: DATADB_SERVER]
          -P, --profile <NAME>         Use a profile of client.toml
              --json                   Print one JSON object a line
          -q, --quiet                  No progress and no closing words
              --limit-upload <RATE>    Send no faster than this many bytes a second (500k, 2M)
              --limit-download <RATE>  Fetch no faster than this many bytes a second
              --color <WHEN>           Colours: auto (on a terminal, unless NO_COLOR is set or TERM is dumb), always or never

        Every byte is verified before it is written. Of a part of a file only the chunks are fetched that it touches; the digest
        of the whole is not looked at then.

        Examples:
          datadb-client cat latest:/letters/draft.txt
          datadb-client cat databases.sql@yesterday:/ | psql
          datadb-client cat latest:/disk.img --offset 1M --bytes 512 | hexdump -C
          datadb-client cat latest:/log/syslog --tail 64k
    "#]]);
}

#[test]
fn a_file_comes_as_it_was() {
    let scene = story();
    scene.shows(
        "cat latest:/notes.txt",
        expect![[r#"
        to do: back up
        stderr:
        latest:/notes.txt is [ID1]: box:/home of 2014-05-12T10:00:00+00:00
    "#]],
    );
    scene.shows(
        "-q cat home@2014:/src/main.c --host box",
        expect![[r#"
        int main(void) { return 0; }
    "#]],
    );
    let path = scene.path("home").canonicalize().expect("a path");
    scene.shows(
        &format!("-q cat --path {} latest:/notes.txt", path.display()),
        expect![[r#"
        to do: back up
    "#]],
    );
    let bytes = scene.run_raw(&["-q", "cat", "latest:/photos/2013/sea.jpg"]).ok().stdout;
    assert!(bytes == [0xd8; 70_000]);
}

#[test]
fn parts_of_a_file() {
    let scene = story();
    scene.shows(
        "-q cat latest:/notes.txt --offset 7",
        expect![[r#"
        back up
    "#]],
    );
    scene.shows("-q cat latest:/src/main.c --offset 4 --bytes 4", expect!["main"]);
    scene.shows("-q cat latest:/src/main.c --bytes 8", expect!["int main"]);
    scene.shows(
        "-q cat latest:/notes.txt --tail 3",
        expect![[r#"
        up
    "#]],
    );
    scene.shows(
        "-q cat latest:/notes.txt --tail 1G",
        expect![[r#"
        to do: back up
    "#]],
    );
    scene.shows("-q cat latest:/notes.txt --offset 15", expect![[r#""#]]);
    scene.shows("-q cat latest:/notes.txt --offset 1k --bytes 1k", expect![[r#""#]]);
    let bytes = scene.run_raw(&["-q", "cat", "latest:/photos/2013/sea.jpg", "--offset", "1k"]).ok().stdout;
    assert_eq!(bytes.len(), 70_000 - 1024);
}

/// The file itself goes to stdout: what a program wants to know besides goes to stderr.
#[test]
fn a_program_is_told_on_stderr() {
    let scene = story();
    scene.shows(
        "-q --json cat latest:/notes.txt --offset 2 --bytes 3",
        expect![[r#"
         dostderr:
        {"bytes":3,"id":"[ID1]","offset":2,"type":"summary"}
    "#]],
    );
}

#[test]
fn failures_and_wrong_usage() {
    let scene = story();
    scene.shows(
        "-q cat latest:/src",
        expect![[r#"
        exit code 1
        stderr:
        datadb-client: /src is a dir, not a file: `datadb-client ls` lists it
    "#]],
    );
    scene.shows(
        "-q cat latest",
        expect![[r#"
        exit code 1
        stderr:
        datadb-client: / is a dir, not a file: `datadb-client ls` lists it
    "#]],
    );
    scene.shows(
        "-q cat latest:/todo",
        expect![[r#"
        exit code 1
        stderr:
        datadb-client: /todo is a symlink, not a file: `datadb-client ls` lists it
    "#]],
    );
    scene.shows(
        "-q cat latest:/nothing",
        expect![[r#"
        exit code 1
        stderr:
        datadb-client: /nothing is not in the backup of /home ([ID1])
    "#]],
    );
    scene.shows(
        "-q cat feed:/notes.txt",
        expect![[r#"
        exit code 1
        stderr:
        datadb-client: no backup begins with feed: `datadb-client snapshots` lists them
    "#]],
    );
    scene.shows("-q cat someday:/notes.txt", expect![[r#"
        exit code 1
        stderr:
        datadb-client: someday:/notes.txt means no backup: write the beginning of an id, latest, latest~N or NAME@TIME, such as someday@now (`datadb-client snapshots` lists them)
    "#]]);
    scene.shows(
        "-q cat latest:notes.txt",
        expect![[r#"
            exit code 1
            stderr:
            datadb-client: latest:notes.txt means no backup: a path in a backup begins with /, so write latest:/notes.txt
        "#]],
    );
    scene.shows(
        "cat",
        expect![[r#"
            exit code 2
            stderr:
            error: the following required arguments were not provided:
              <BACKUP:PATH>

            Usage: datadb-client cat <BACKUP:PATH>

            For more information, try '--help'.
        "#]],
    );
    scene.shows("cat latest:/notes.txt --offset much", expect![[r#"
        exit code 2
        stderr:
        error: invalid value 'much' for '--offset <SIZE>': "much" is not a size: write 500k, 10M, 2G or a number of bytes

        For more information, try '--help'.
    "#]]);
    scene.shows(
        "cat latest:/notes.txt --tail 2 --bytes 1",
        expect![[r#"
            exit code 2
            stderr:
            error: the argument '--tail <SIZE>' cannot be used with '--bytes <SIZE>'

            Usage: datadb-client cat --tail <SIZE> <BACKUP:PATH>

            For more information, try '--help'.
        "#]],
    );
    Scene::without_server().shows("cat latest:/notes.txt", expect![[r#"
        exit code 1
        stderr:
        datadb-client: no server answers at http://127.0.0.1:9: start one with `datadb-server --data-dir DIR`, or name another with --server
    "#]]);
}
