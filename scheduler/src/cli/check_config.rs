//! `check-config`: reads the configuration as `run` would, and looks for what it names.

use std::process::ExitCode;

use datadb::Fault;
use serde_json::json;

use super::{Context, output};
use crate::{
    config::{Config, place},
    run::client,
};

/// Says that all is well, or what is not; what is only missing on this machine now is said, and no failure.
pub fn run(context: &Context) -> Result<ExitCode, Fault> {
    let file = place::find(context.config.as_deref())?;
    let config = Config::read(&file)?;
    let mut warnings = Vec::new();
    for entry in &config.entries {
        config.policy(entry)?;
        let absent = entry.paths.iter().filter(|path| !path.exists());
        warnings.extend(absent.map(|path| format!("{}: {} is not there now", entry.name(), path.display())));
        let missing = client::missing(entry).into_iter();
        warnings.extend(missing.map(|program| format!("{}: {program} is needed and can't be found", entry.name())));
    }
    if let Some(file) = config.token_file.as_ref().filter(|file| !file.exists()) {
        warnings.push(format!("token_file: {} is not there now", file.display()));
    }
    if context.json {
        let shown = file.to_string_lossy();
        output::json(
            &json!({"type": "summary", "file": shown, "snapshots": config.entries.len(), "warnings": warnings}),
        )?;
        return Ok(ExitCode::SUCCESS);
    }
    warnings.iter().for_each(|warning| eprintln!("datadb-scheduler: {warning}"));
    let (count, plural) = (config.entries.len(), if config.entries.len() == 1 { "" } else { "s" });
    output::line(&format!("{}: {count} snapshot{plural}, nothing wrong", file.display()))?;
    Ok(ExitCode::SUCCESS)
}
