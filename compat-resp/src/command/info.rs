//! `INFO [section]`: what the server tells of itself, and how many clients the sidecar has.

use bytes::Bytes;
use datadb::command::Reply;

use super::{Scene, is};
use crate::frame::Answer;

/// The answer that a server's reply makes.
pub fn answer(scene: Scene<'_>, sections: &[Bytes], reply: Reply) -> Answer {
    let Reply::Value(text) = reply else { return reply.into() };
    let text = String::from_utf8_lossy(&text);
    let all = format!("# Clients\r\nconnected_clients:{}\r\n\r\n{text}", scene.sidecar.clients.count());
    Answer::Text(chosen(&all, sections).into())
}

/// The sections that are asked for; without a name, all of them.
fn chosen(all: &str, sections: &[Bytes]) -> String {
    let is_asked = |part: &str| {
        let title = part.lines().next().and_then(|line| line.strip_prefix("# ")).unwrap_or_default();
        let names = |word: &Bytes| ["all", "default", "everything", title].iter().any(|name| is(word, name));
        sections.is_empty() || sections.iter().any(names)
    };
    let parts: Vec<&str> = all.split("\r\n\r\n").map(|part| part.trim_end()).filter(|part| is_asked(part)).collect();
    parts.iter().map(|part| format!("{part}\r\n")).collect::<Vec<_>>().join("\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_section_is_shown_by_its_name_in_any_case() {
        let all = "# Server\r\na:1\r\n\r\n# Keyspace\r\nb:2\r\n";
        assert_eq!(chosen(all, &[]), all);
        assert_eq!(chosen(all, &[Bytes::from("KEYSPACE")]), "# Keyspace\r\nb:2\r\n");
        assert_eq!(chosen(all, &[Bytes::from("everything")]), all);
        assert_eq!(chosen(all, &[Bytes::from("none")]), "");
    }
}
