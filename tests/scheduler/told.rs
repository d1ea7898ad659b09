//! Webhooks, checks and metrics.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpListener,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use serde_json::Value;

use crate::{
    scene::{Scene, wait_file, wait_until},
    support::{
        exposition,
        http::{ask, page},
        processes::{Run, count},
    },
};

/// What a listener got: paths and bodies, in their order.
type Letters = Arc<Mutex<Vec<(String, String)>>>;

/// Takes every POST; the first ones are refused, so that they have to come again.
fn listen(refuse: usize) -> (String, Letters) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let url = format!("http://{}", listener.local_addr().expect("an address"));
    let letters = Letters::default();
    let kept = Arc::clone(&letters);
    thread::spawn(move || {
        for (number, stream) in listener.incoming().map_while(Result::ok).enumerate() {
            let mut reader = BufReader::new(stream);
            let mut head = Vec::new();
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line).is_err() || line.trim().is_empty() {
                    break;
                }
                head.push(line.trim().to_owned());
            }
            let length =
                head.iter().find_map(|line| line.to_lowercase().strip_prefix("content-length: ")?.parse().ok());
            let mut body = vec![0; length.unwrap_or(0)];
            reader.read_exact(&mut body).expect("a body");
            let status = if number < refuse { "503 Later" } else { "200 OK" };
            write!(reader.get_mut(), "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                .expect("sent");
            let words: Vec<&str> = head.first().map(|line| line.split(' ').collect()).unwrap_or_default();
            assert_eq!(words[0], "POST", "{head:?}");
            if number >= refuse {
                kept.lock().expect("no panic").push((words[1].to_owned(), String::from_utf8(body).expect("UTF-8")));
            }
        }
    });
    (url, letters)
}

#[track_caller]
fn wait_letters(letters: &Letters, count: usize) -> Vec<(String, String)> {
    wait_until(&format!("{count} letters"), || {
        let letters = letters.lock().expect("no panic");
        (letters.len() >= count).then(|| letters.clone())
    })
}

/// A webhook gets an object for each event that it wants, also when it was not there at first; a check is pinged.
#[test]
fn a_webhook_and_a_check_are_told() {
    let scene = Scene::new();
    scene.tree("tree");
    let (hook, hooks) = listen(1);
    let (check, pings) = listen(0);
    scene.configure(&format!(
        "[notify]\nwebhook = \"{hook}/hook?key=secret\"\non = [\"start\", \"success\", \"failure\"]\nping = \"{check}/uuid\"\n\
         [[snapshot]]\nname = \"good\"\npaths = [\"SCRATCH/tree\"]\nschedule = \"@every 1h\"\n"
    ));
    let scheduler = scene.start();
    let got = wait_letters(&hooks, 2);
    let objects: Vec<Value> = got.iter().map(|(_, body)| serde_json::from_str(body).expect("JSON")).collect();
    assert!(got.iter().all(|(path, _)| path == "/hook?key=secret"), "{got:?}");
    assert_eq!((&objects[0]["event"], &objects[1]["event"]), (&"start".into(), &"success".into()), "{objects:?}");
    let done = &objects[1];
    assert_eq!((&done["entry"], &done["outcome"], count(done, "files")), (&"good".into(), &"success".into(), 1));
    assert_eq!(done["backups"][0], scene.client().backups()[0]["id"]);
    let got = wait_letters(&pings, 2);
    assert_eq!((&*got[0].0, &*got[1].0), ("/uuid/start", "/uuid"));
    scene.configure(&format!(
        "[[snapshot]]\nname = \"bad\"\npaths = [\"SCRATCH/gone\"]\nschedule = \"@every 1h\"\nretries = 1\nretry_delay = \"1s\"\n\
         notify = {{ webhook = \"{hook}/bad\", ping = \"{check}/bad\" }}\n"
    ));
    scheduler.wait_runs("bad", "failure", 2);
    let got = wait_letters(&hooks, 3);
    let last: Value = serde_json::from_str(&got[2].1).expect("JSON");
    assert_eq!(
        (&last["event"], count(&last, "attempt")),
        (&"failure".into(), 2),
        "one letter, when it is not tried again"
    );
    assert!(last["error"].as_str().is_some_and(|error| error.contains("gone")), "{last}");
    let got = wait_letters(&pings, 5);
    let paths: Vec<&str> = got[2..].iter().map(|(path, _)| &**path).collect();
    assert_eq!(paths, ["/bad/start", "/bad/start", "/bad/fail"]);
    assert!(!scheduler.stderr().contains("secret"), "addresses are secrets");
    scheduler.stop();
    assert_eq!(hooks.lock().expect("no panic").len(), 3);
}

/// `/metrics` keeps to the format, and moves with the configuration.
#[test]
fn metrics_tell_of_each_entry() {
    let scene = Scene::new();
    scene.tree("tree");
    let entries = "[[snapshot]]\nname = \"good\"\npaths = [\"SCRATCH/tree\"]\nschedule = \"@every 1h\"\n\
                   [[snapshot]]\nname = \"bad\"\npaths = [\"SCRATCH/gone\"]\nschedule = \"@every 1s\"\ngrace = \"0s\"\n";
    scene.configure(&format!("metrics = \"127.0.0.1:0\"\n{entries}"));
    let scheduler = scene.start();
    let address = std::cell::RefCell::new(String::new());
    scheduler.wait("its metrics are somewhere", |lines, _| {
        let url = lines[0]["metrics"].as_str().expect("a URL");
        url.split('/').nth(2).expect("an address").clone_into(&mut address.borrow_mut());
        true
    });
    let address = address.into_inner();
    let good = scheduler.wait_runs("good", "success", 1);
    scheduler.wait_runs("bad", "failure", 2);
    let samples = wait_until("it is overdue", || {
        let samples = exposition::check(&page(&address, "/metrics"));
        (samples["datadb_scheduler_overdue{entry=\"bad\"}"] == 1.0).then_some(samples)
    });
    let of = |name: &str, entry: &str| samples[&format!("datadb_scheduler_{name}{{entry=\"{entry}\"}}")];
    assert_eq!(of("last_success_timestamp_seconds", "good") as u64, count(&good[0], "start"));
    assert_eq!((of("last_bytes", "good"), of("last_ok", "good"), of("overdue", "good")), (4.0, 1.0, 0.0));
    assert!(
        of("failures", "bad") >= 2.0 && of("last_ok", "bad") == 0.0 && of("failures", "good") == 0.0,
        "{samples:?}"
    );
    assert!(!samples.contains_key("datadb_scheduler_last_success_timestamp_seconds{entry=\"bad\"}"));
    assert_eq!(ask(&address, "GET", "/", "").status, 404);
    assert_eq!(ask(&address, "POST", "/metrics", "Content-Length: 0\r\n").status, 405);
    // Silence must not look like success.
    let status = scene.run(&["status"]).code(1).text();
    assert!(status.contains("OVERDUE since"), "{status}");
    scene.configure(entries);
    wait_until("nobody listens any more", || std::net::TcpStream::connect(&address).err());
    scheduler.stop();
}

/// A server that answers over TLS, takes one POST, writes its body into a file, and ends.
const TLS: &str = "
import http.server, ssl, sys
class Hook(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers['Content-Length']))
        self.send_response(200); self.send_header('Content-Length', '0'); self.end_headers()
        open('body.new', 'wb').write(body + b'\\n')
        import os; os.rename('body.new', 'body')
server = http.server.HTTPServer(('127.0.0.1', 0), Hook)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain('cert.pem', 'key.pem')
server.socket = context.wrap_socket(server.socket, server_side=True)
print(server.server_port, flush=True)
server.handle_request()
";

/// Over https the webhook is whom this machine trusts, and nobody else.
#[test]
fn a_webhook_over_https_has_to_be_trusted() {
    let scene = Scene::new();
    scene.tree("tree");
    let dir = scene.tree("tls");
    let words = "req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout key.pem -out cert.pem -days 2 \
                 -subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1 \
                 -addext basicConstraints=critical,CA:FALSE";
    let made = Command::new("openssl").args(words.split_whitespace()).current_dir(&dir).output().expect("openssl runs");
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    for is_trusted in [false, true] {
        let mut python = Command::new("python3");
        let mut server = python
            .args(["-c", TLS])
            .current_dir(&dir)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("python runs");
        let mut port = String::new();
        BufReader::new(server.stdout.take().expect("piped")).read_line(&mut port).expect("a port");
        scene.configure(&format!(
            "[[snapshot]]\nname = \"tree\"\npaths = [\"SCRATCH/tree\"]\nschedule = \"@yearly\"\n\
             notify = {{ webhook = \"https://127.0.0.1:{}/hook\" }}\n",
            port.trim()
        ));
        let mut now = scene.command(&["now", "tree"]);
        if is_trusted {
            now.env("SSL_CERT_FILE", dir.join("cert.pem"));
        }
        let run = Run::from(now.output().expect("it starts")).ok();
        assert_eq!(dir.join("body").exists(), is_trusted, "{run:?}");
        assert_eq!(run.stderr.contains("could not be told"), !is_trusted, "{run:?}");
        server.kill().expect("a child can be killed");
        server.wait().expect("a child can be waited for");
    }
    let told: Value = serde_json::from_str(&wait_file(&dir.join("body"))).expect("JSON");
    assert_eq!(told["event"], "success");
}
