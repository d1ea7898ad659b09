//! "Did you mean …?": the nearest of several names.

/// Names less alike than this are no help.
const ALIKE_MIN: f64 = 0.7;

/// The name most like what was written, if any is.
pub fn nearest<'a>(written: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let rated = names.into_iter().map(|name| (strsim::jaro_winkler(written, name), name));
    let best = rated.filter(|(alike, _)| *alike >= ALIKE_MIN).max_by(|(a, _), (b, _)| a.total_cmp(b));
    best.map(|(_, name)| name)
}

/// The nearest name as the end of a line, or nothing.
pub fn hint<'a>(written: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    nearest(written, names).map_or_else(String::new, |name| format!(": did you mean {name}?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_alike_is_offered() {
        assert_eq!(nearest("/ect", ["/etc", "/home"]), Some("/etc"));
        assert_eq!(hint("zzz", ["etc", "home"]), "");
        assert_eq!(hint("hoem", ["etc", "home"]), ": did you mean home?");
    }
}
