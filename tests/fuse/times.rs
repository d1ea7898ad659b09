//! Every form of a time leads to the nearest earlier backup.

use datadb::clock::{format_time, parse_time};
use datadb_client::clock::now;

use crate::{
    mounted::{Mounted, is_possible, text},
    support::{place::scratch, processes::Server, tree::write},
};

/// Each written time, and the backup that is the newest one then.
#[test]
fn every_form_of_a_time_finds_the_nearest_earlier_backup() {
    if !is_possible() {
        return;
    }
    let (server, scratch) = (Server::new(), scratch());
    let tree = scratch.path().join("writing");
    let client = server.client().on_host("desk");
    let zone = jiff::tz::TimeZone::posix(crate::mounted::ZONE).expect("a zone");
    let now = now().seconds;
    let ago = |hours: i64| format_time(now - hours * 3600, &zone);
    let yesterday = parse_time("yesterday", now, &zone).expect("a time");
    let backups = [
        ("2012", "2012-03-04T05:06:07Z".to_owned()),
        ("april", "2014-04-30T23:59:59+02:00".to_owned()),
        ("may", "2014-05-11T11:01:07+02:00".to_owned()),
        ("evening", "2014-05-12T18:36:07+02:00".to_owned()),
        ("ten days", ago(240)),
        ("yesterday", format_time(yesterday - 60, &zone)),
    ];
    for (what, time) in &backups {
        write(tree.join("file"), what);
        client.run(["snapshot", "--host", "desk", "--time", time, tree.to_str().expect("UTF-8")]).ok();
    }
    let mounted = Mounted::new(&server, &scratch.path().join("mnt"), &["--host", "desk"]);
    let found = [
        ("2012", "2012"),
        ("2013", "2012"),
        ("2014", "evening"),
        ("2014-04", "april"),
        ("2014-05", "evening"),
        ("2014-05-11", "may"),
        ("2014-05-12", "evening"),
        ("2014-05-12T17", "may"),
        ("2014-05-12T18", "evening"),
        ("2014-05-12T18:35", "may"),
        ("2014-05-12T18:36", "evening"),
        ("2014-05-12T18:36:06", "may"),
        ("2014-05-12T18:36:07", "evening"),
        ("2014-05-12T16:36:06Z", "may"),
        ("2014-05-12T16:36:07Z", "evening"),
        ("2014-05-12T18:36:07+02:00", "evening"),
        ("2014-05-12T18:36:07+03:00", "may"),
        ("2014-04-30", "april"),
        ("2014-05-01", "april"),
        ("2w", "evening"),
        ("9d", "ten days"),
        ("now", "yesterday"),
        ("today", "yesterday"),
        ("yesterday", "yesterday"),
        ("0h", "yesterday"),
    ];
    for (time, what) in found {
        assert_eq!(text(&mounted.path("at/writing").join(time).join("file")), what, "{time}");
    }
    for (what, time) in &backups {
        let time = format_time(parse_time(time, now, &zone).expect("a time"), &zone);
        assert_eq!(text(&mounted.path("snapshots/writing").join(time).join("file")), *what);
    }
    for nothing in ["2011", "2012-03-04T05:06:06Z", "2012-03-03", "100w0", "never", "2014-13", "2014-05-12T25", "1999w"]
    {
        assert!(!mounted.path("at/writing").join(nothing).exists(), "{nothing}");
    }
    mounted.end();
}
