//! `status`: how the last runs went. It reads the history, so it works whether or not a scheduler runs.

use std::process::ExitCode;

use datadb::{Fault, clock::format_time, terminal::escape};
use datadb_client::{exit::FAILED, report::bytes};
use jiff::tz::TimeZone;
use serde_json::json;

use super::{Context, internal, output};
use crate::{
    clock,
    config::{Config, place},
    history::History,
    run::lock,
    status::{self, State},
};

/// A row for each entry; fails if one failed or is overdue.
pub fn run(context: &Context) -> Result<ExitCode, Fault> {
    let config = Config::read(&place::find(context.config.as_deref())?)?;
    let state = place::state()?;
    let history = History::open(&state).map_err(internal)?;
    let states = status::all(&config, &history, &state, clock::now()).map_err(internal)?;
    let is_bad = states.iter().any(State::is_bad);
    let is_running = lock::is_sole_held(&state);
    if context.json {
        states.iter().try_for_each(|state| output::json(&state.json()))?;
        output::json(&json!({
            "type": "summary", "scheduler": is_running, "ok": !is_bad, "entries": states.len(),
            "overdue": states.iter().filter(|state| state.is_overdue).count(),
        }))?;
    } else {
        let zone = config.zone();
        let mut rows = vec![["ENTRY", "LAST", "OUTCOME", "SIZE", "NEXT", ""].map(str::to_owned).to_vec()];
        rows.extend(states.iter().map(|state| row(state, &zone)));
        output::table(&rows)?;
        if !is_running {
            output::line("The scheduler does not run: nothing comes until it does.")?;
        }
    }
    Ok(if is_bad { ExitCode::from(FAILED) } else { ExitCode::SUCCESS })
}

fn row(state: &State, zone: &TimeZone) -> Vec<String> {
    let time = |seconds| format_time(seconds, zone);
    let (mut last, mut outcome, mut size) = ("never".to_owned(), String::new(), String::new());
    let mut notes = Vec::new();
    if let Some((run, end)) = state.last.as_ref().and_then(|run| Some((run, run.end.as_ref()?))) {
        (last, outcome) = (time(run.start), end.outcome.word().to_owned());
        size = if end.outcome.is_success() { bytes(end.bytes) } else { String::new() };
        notes.extend(end.error.clone());
    }
    if state.is_overdue {
        notes.insert(0, format!("OVERDUE since {}", state.due.map(time).unwrap_or_default()));
    }
    let next = match (&state.running, state.next) {
        (Some(running), _) => format!("running since {}", time(running.start)),
        (None, Some(next)) if next.is_retry => format!("{} (retry)", time(next.at)),
        (None, Some(next)) => time(next.at),
        (None, None) => "never".to_owned(),
    };
    vec![state.name.clone(), last, outcome, size, next, escape(notes.join("; ").replace('\n', " ").as_bytes())]
}
